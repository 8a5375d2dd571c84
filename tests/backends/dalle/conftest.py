from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from t2icli import upstream
from t2icli.backends.dalle import convert
from t2icli.backends.dalle.model import DallE
from t2icli.nn import weights

ROOT = Path(__file__).parents[3]
CASES = [
    "full_axial",
    "rotary_shift",
    "mixed_attn",
    "mixed_attn_rotary_shift",
    "stable_shared",
    "text2img_fork_dvae",
    "vqgan_full_axial",
]


@dataclass(frozen=True)
class Golden:
    """One of DALLE-pytorch's own checkpoints, and what DALLE-pytorch computed with it."""

    folder: Path

    @cached_property
    def meta(self) -> dict[str, Any]:
        return json.loads((self.folder / "meta.json").read_text())

    @cached_property
    def expected(self) -> dict[str, Tensor]:
        return {name: torch.from_numpy(value) for name, value in np.load(self.folder / "expected.npz").items()}

    @property
    def file(self) -> Path:
        return self.folder / "dalle.pt"

    def model(self) -> DallE:
        data = upstream.read(self.file).data
        config = convert.shape(data["hparams"], data["weights"])
        model = DallE(config)
        weights.fill(model, convert.network(data["weights"], config), str(self.file))
        return model.eval()


def golden_folder(name: str) -> Path:
    places = [Path(os.environ.get("T2I_GOLDEN", "")), ROOT / "tests/golden", ROOT.parent / "shared/golden"]
    for place in places:
        if (place / name).is_dir():
            return place / name
    pytest.skip(f"no golden data for {name}: set T2I_GOLDEN")


@pytest.fixture(params=CASES)
def golden(request: pytest.FixtureRequest) -> Golden:
    return Golden(golden_folder(f"dalle/{request.param}"))
