from __future__ import annotations

import json
from collections.abc import Callable
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
class Original:
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
        config = convert.shape(data["hparams"], data["weights"], self.file)
        model = DallE(config)
        weights.fill(model, convert.network(data["weights"], config), str(self.file))
        return model.eval()


@pytest.fixture(params=CASES)
def original(request: pytest.FixtureRequest, golden: Callable[[str], Path]) -> Original:
    return Original(golden(f"dalle/{request.param}"))
