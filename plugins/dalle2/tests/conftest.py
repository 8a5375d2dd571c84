from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import msgspec
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

import t2i_dalle2
from t2i_dalle2 import folders
from t2i_dalle2.decoder.model import Decoder
from t2i_dalle2.prior.model import Prior
from t2i_dalle2.shapes import DecoderShape, PriorShape, UnetShape
from t2icli.contract.hookspecs import hookimpl
from t2icli.contract.kinds import Embedder, Entry
from t2icli.data import shards
from t2icli.data.dataset import PreparedDataset, SourceRow
from t2icli.nn import weights
from t2icli.registry.settings import Part


class FakeEmbedder:
    """Unit vectors that tell texts and images apart, without a network."""

    def __init__(self, width: int) -> None:
        self.width = width

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        return torch.stack([self.vector(text.encode()) for text in texts])

    def embed_images(self, images: Sequence[Image.Image]) -> Tensor:
        return torch.stack([self.vector(image.convert("RGB").tobytes()) for image in images])

    def embed_tokens(self, texts: Sequence[str]) -> Tensor:
        found = torch.zeros(len(texts), 6, self.width)
        for row, text in zip(found, texts, strict=True):
            for place, word in enumerate(text.split()[:6]):
                row[place] = self.vector(word.encode())
        return found

    def vector(self, content: bytes) -> Tensor:
        random = torch.Generator().manual_seed(zlib.crc32(content))
        return F.normalize(torch.randn(self.width, generator=random), dim=0)


class FakeSettings(msgspec.Struct, frozen=True):
    width: Annotated[int, msgspec.Meta(description="numbers in an embedding")] = 16
    taste: Annotated[str, msgspec.Meta(description="another embedder of this width")] = "plain"


def load_fake(settings: FakeSettings) -> FakeEmbedder:
    return FakeEmbedder(settings.width)


class FakePlugin:
    @staticmethod
    @hookimpl
    def t2i_embedders() -> list[Entry[Embedder]]:
        return [Entry("fake", "embeddings for tests", FakeSettings, load_fake)]


SPACE = folders.space_of_part(Part("embedder", "fake", FakeSettings()), 16).embedder
UNET = UnetShape(
    size=8, width=8, multipliers=(1, 2), condition=8, groups=4, heads=2, head_width=4, cross_heads=2, cross_head_width=4
)
SECOND = msgspec.structs.replace(UNET, size=16, learned_variance=False)
PRIOR = PriorShape(width=16, encodings=16, text_length=6, layers=1, heads=2, head_width=8, timesteps=8)
DECODER = DecoderShape(16, (UNET, SECOND), timesteps=8)


def make_prior(folder: Path, shape: PriorShape = PRIOR, space: str = SPACE) -> Path:
    torch.manual_seed(1)
    weights.save(Prior(shape), folder)
    folders.seal_prior(folder, shape, space, about="for tests")
    return folder


def make_decoder(folder: Path, shape: DecoderShape = DECODER, *, prior: PriorShape | None = PRIOR) -> Path:
    torch.manual_seed(0)
    network = Decoder(shape)
    for unet in network.unets:
        torch.nn.init.normal_(unet.to_out.weight, std=0.2)  # else everything it says is zero
    weights.save(network, folder)
    if prior is not None:
        make_prior(folder / "prior", prior)
    own = {"embedder": {"name": "fake"}}
    folders.seal_decoder(folder, shape, SPACE, own, about="for tests")
    return folder


@pytest.fixture
def make() -> SimpleNamespace:
    """Model folders with random weights, and the shapes they have unless told otherwise."""
    return SimpleNamespace(prior=make_prior, decoder=make_decoder, PRIOR=PRIOR, DECODER=DECODER)


@pytest.fixture
def fake(t2i: Any) -> Any:
    """The command line with DALL-E 2 and the fake embedder."""
    t2i.use(t2i_dalle2, FakePlugin())
    return t2i


@pytest.fixture
def tiny_model(tmp_path: Path) -> Path:
    """A whole model with random weights: a prior, and unets of 8 and 16 pixels."""
    return make_decoder(tmp_path / "model")


@pytest.fixture
def data(tmp_path: Path) -> PreparedDataset:
    rows = []
    for i, colour in enumerate(("red", "green", "blue", "white")):
        Image.new("RGB", (20, 24), colour).save(tmp_path / f"{i}.png")
        rows.append(SourceRow(key=str(i), image=tmp_path / f"{i}.png", captions=(colour, f"all {colour}")))
    return shards.write(tmp_path / "data", rows).split("all")
