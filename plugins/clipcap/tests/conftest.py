from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from t2i_clipcap.convert import renamed
from t2i_clipcap.model import ClipCap, MapperShape, Shape
from t2icli.nn import weights

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Golden:
    """What the original's code computed with one tiny model."""

    folder: Path

    def json(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text(encoding="utf-8"))

    @property
    def sizes(self) -> dict[str, Any]:
        return self.json("config.json")["config"]

    @property
    def io(self) -> dict[str, Tensor]:
        return load_file(self.folder / "io.safetensors")


def golden_folder(name: str) -> Path:
    places = [Path(os.environ.get("T2I_GOLDEN", "")), ROOT / "tests/golden", ROOT.parent / "shared/golden"]
    for place in places:
        if (place / name).is_dir():
            return place / name
    pytest.skip(f"no golden data for {name}: set T2I_GOLDEN")


@pytest.fixture(params=["mlp", "bert"])
def golden(request: pytest.FixtureRequest) -> Golden:
    return Golden(golden_folder(f"clipcap/{request.param}"))


@pytest.fixture
def clipcap(golden: Golden) -> ClipCap:
    sizes = golden.sizes
    mapper = MapperShape(
        name=sizes["mapping"],
        condition=sizes["clip_size"],
        prefix=sizes["prefix_len"],
        given=sizes["constant_len"],
        layers=sizes["bert_layers"],
        heads=sizes["bert_heads"],
        hidden=sizes["bert_inter"],
        positions=sizes["bert_pos"],
    )
    shape = Shape(
        mapper=mapper,
        positions=sizes["n_positions"],
        width=sizes["n_embd"],
        layers=sizes["n_layer"],
        heads=sizes["n_head"],
    )
    model = ClipCap(shape)
    weights.fill(model, renamed(torch.load(golden.folder / "checkpoint.pt", weights_only=True)), "golden")
    return model.eval()
