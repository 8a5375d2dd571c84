from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from t2i_clipgen.convert import prior_tensors
from t2i_clipgen.model import Prior
from t2i_clipgen.model import Shape as PriorShape
from t2i_clipgen.vqgan.model import VQGAN, Shape
from t2icli.nn import weights

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Golden:
    """What CLIP-GEN's own code computed with one tiny model."""

    folder: Path

    @property
    def sizes(self) -> dict[str, Any]:
        return json.loads((self.folder / "config.json").read_text())["config"]

    @property
    def io(self) -> dict[str, Tensor]:
        return load_file(self.folder / "io.safetensors")

    def tensors(self, file: str) -> dict[str, Tensor]:
        return torch.load(self.folder / file, weights_only=True)["model"]


def golden_path(name: str) -> Path:
    places = [Path(os.environ.get("T2I_GOLDEN", "")), ROOT / "tests/golden", ROOT.parent / "shared/golden"]
    for place in places:
        if (place / name).exists():
            return place / name
    pytest.skip(f"no golden data for {name}: set T2I_GOLDEN")


@pytest.fixture
def golden_file() -> Callable[[str], Path]:
    return golden_path


@pytest.fixture(params=["tiny_a", "tiny_b"])
def golden(request: pytest.FixtureRequest) -> Golden:
    return Golden(golden_path(f"clipgen/{request.param}"))


@pytest.fixture
def vqgan(golden: Golden) -> VQGAN:
    sizes = golden.sizes
    shape = Shape(
        codes=sizes["codebook_size"],
        width=sizes["n_embed"],
        size=sizes["resolution"],
        base=sizes["ch"],
        multipliers=tuple(sizes["ch_mult"]),
        blocks=sizes["num_res_blocks"],
        attention=tuple(sizes["attn_resolutions"]),
    )
    model = VQGAN(shape)
    theirs = {k: v for k, v in golden.tensors("vqgan.pt").items() if not k.startswith("discriminator.")}
    weights.fill(model, theirs, "golden")
    return model.eval()


@pytest.fixture
def prior(golden: Golden) -> Prior:
    sizes = golden.sizes
    theirs = golden.tensors("gpt.pt")
    shape = PriorShape(
        codes=sizes["codebook_size"],
        length=theirs["pos_emb"].shape[1],
        condition=sizes["n_cond_embed"],
        width=sizes["gpt_n_embed"],
        layers=sizes["n_layer"],
        heads=sizes["n_head"],
    )
    model = Prior(shape)
    weights.fill(model, prior_tensors(theirs), "golden")
    return model.eval()
