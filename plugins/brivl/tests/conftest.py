from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from t2i_brivl.convert import convert
from t2icli.contract.kinds import Upstream
from t2icli.store import models
from t2icli.store.models import Model


@pytest.fixture(scope="session")
def brivl(golden: Callable[[str], Path]) -> Path:
    """What BriVL's own scripts computed with a tiny model."""
    return golden("brivl/brivl_tiny.pth").parent


@pytest.fixture(scope="session")
def imported(brivl: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """That tiny model, imported from the original's checkpoint."""
    folder = tmp_path_factory.mktemp("brivl")
    files = [brivl / name for name in ("brivl_tiny.pth", "vocab.txt", "config.yml", "bert_config.json")]
    convert(Upstream(tuple(files), {}), folder)
    return models.open_model(folder)
