from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from t2icli.data import shards
from t2icli.data.dataset import SourceRow
from t2icli.testing import Runner

sys.path.insert(0, str(Path(__file__).parent))
import tiny

TINY = Path(tiny.__file__)


def picture(i: int) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(i).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten pictures to train on and four held out, prepared."""
    rows = [
        SourceRow(f"p{i}", picture(i), (f"picture {i}",), {"split": "train" if i < 10 else "val"}) for i in range(14)
    ]
    return shards.write(tmp_path_factory.mktemp("data"), rows).folder


@pytest.fixture
def tiny_t2i(t2i: Runner) -> Runner:
    t2i.use(tiny.Plugin())
    return t2i
