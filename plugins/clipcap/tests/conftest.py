from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest
import torch
from PIL.Image import Image
from safetensors.torch import load_file
from torch import Tensor

import t2i_clipcap
from t2i_clipcap.caption import Config
from t2i_clipcap.convert import card, config_of, renamed
from t2i_clipcap.model import ClipCap, ClipCapShape, MapperShape
from t2i_clipcap.words import FILE, SPECIAL, open_words
from t2icli.contract.entries import Entry
from t2icli.contract.hookspecs import hookimpl
from t2icli.contract.kinds import Embedder
from t2icli.nn import weights
from t2icli.nn.pixels import to_tensor
from t2icli.store import models
from t2icli.store.models import Model
from t2icli.testing import toys


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


@pytest.fixture(params=["mlp", "bert"])
def tiny(request: pytest.FixtureRequest, golden: Callable[[str], Path]) -> Golden:
    return Golden(golden(f"clipcap/{request.param}"))


@pytest.fixture(scope="session")
def vocabulary(golden: Callable[[str], Path]) -> Path:
    """The Chinese originals' 21,128 word pieces, which are those of bert-base-chinese."""
    return golden("chinese/vocab.txt")


@pytest.fixture
def shape_json(tiny: Golden, tmp_path: Path) -> Path:
    """What no checkpoint shows."""
    sizes = tiny.sizes
    table = {"heads": sizes["n_head"], "mapper": {"heads": sizes["bert_heads"]}, "unit": sizes["normalize"]}
    path = tmp_path / "shape.json"
    path.write_text(json.dumps(table))
    return path


@pytest.fixture
def clipcap(tiny: Golden, shape_json: Path, vocabulary: Path) -> ClipCap:
    checkpoint = tiny.folder / "checkpoint.pt"
    tensors = renamed(torch.load(checkpoint, weights_only=True))
    config = config_of(tensors, json.loads(shape_json.read_text()), open_words(vocabulary), checkpoint)
    model = ClipCap(config.shape)
    weights.fill(model, tensors, "golden")
    return model.eval()


class FakeSettings(toys.EmbedderSettings, frozen=True):
    model: Annotated[Model | None, msgspec.Meta(description="looked at by nobody")] = None


class Patches(toys.Embedder):
    """The mean colour of each quarter of a picture; its embedding says nothing of them."""

    patches = (4, 3)

    def embed_patches(self, images: Sequence[Image]) -> Tensor:
        quarters = [to_tensor(image.resize((2, 2))).flatten(1).T for image in images]
        return torch.stack(quarters) if quarters else torch.empty(0, *self.patches)


class FakePlugin:
    @staticmethod
    @hookimpl
    def t2i_embedders() -> list[Entry[Embedder]]:
        return [
            Entry("fake", "embeddings for tests", FakeSettings, toys.Embedder),
            Entry("fake-patches", "embeddings and patches for tests", FakeSettings, Patches),
        ]


@pytest.fixture
def fake(t2i: Any) -> Any:
    """The command line with ClipCap and the fake embedder."""
    t2i.use(t2i_clipcap, FakePlugin())
    return t2i


@pytest.fixture
def few_words(tmp_path: Path) -> Path:
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join([*SPECIAL, *"红绿蓝色圆方形一个的", "a", "red", "##s"]), encoding="utf-8")
    return path


@pytest.fixture
def tiny_model(tmp_path: Path, few_words: Path) -> Path:
    """Random weights and few words."""
    torch.manual_seed(0)
    folder = tmp_path / "model"
    words = open_words(few_words)
    shape = ClipCapShape(
        mapper=MapperShape(condition=16, prefix=2), words=words.size, positions=32, width=32, layers=1, heads=2
    )
    weights.save(ClipCap(shape), folder)
    words.tokenizer.save(str(folder / FILE))
    models.seal(folder, card(Config(shape), about="for tests"))
    return folder
