from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

import t2i_clipcap
from t2i_clipcap.caption import Config
from t2i_clipcap.convert import card, config_of, renamed
from t2i_clipcap.model import ClipCap, MapperShape, Shape
from t2i_clipcap.words import FILE, SPECIAL, open_words
from t2icli.contract.hookspecs import hookimpl
from t2icli.contract.kinds import Embedder, Entry
from t2icli.nn import weights
from t2icli.store import models
from t2icli.store.models import Model


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
    """The Chinese originals' 21,128 word pieces; they lie beside the golden data."""
    path = golden("clipcap").parents[1] / "data/clipcap/gpt2/vocab.txt"
    if not path.is_file():
        pytest.skip(f"no vocabulary at {path}")
    return path


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


class FakeEmbedder:
    """Vectors that tell images apart, without a network."""

    width = 16

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        return torch.stack([self.vector(text.encode()) for text in texts])

    def embed_images(self, images: Sequence[Image.Image]) -> Tensor:
        return torch.stack([self.vector(image.convert("RGB").tobytes()) for image in images])

    def vector(self, content: bytes) -> Tensor:
        random = torch.Generator().manual_seed(zlib.crc32(content))
        return F.normalize(torch.randn(self.width, generator=random), dim=0)


class FakeSettings(msgspec.Struct, frozen=True):
    width: Annotated[int, msgspec.Meta(description="numbers in an embedding")] = 16
    model: Annotated[Model | None, msgspec.Meta(description="looked at by nobody")] = None


class FakePlugin:
    @staticmethod
    @hookimpl
    def t2i_embedders() -> list[Entry[Embedder]]:
        def load(settings: FakeSettings) -> FakeEmbedder:
            embedder = FakeEmbedder()
            embedder.width = settings.width
            return embedder

        return [Entry("fake", "embeddings for tests", FakeSettings, load)]


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
    shape = Shape(
        mapper=MapperShape(condition=16, prefix=2), words=words.size, positions=32, width=32, layers=1, heads=2
    )
    weights.save(ClipCap(shape), folder)
    words.tokenizer.save(str(folder / FILE))
    models.seal(folder, card(Config(shape), about="for tests"))
    return folder
