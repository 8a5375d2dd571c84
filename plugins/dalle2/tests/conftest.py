from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, ClassVar

import msgspec
import pytest
import torch
from PIL import Image
from torch import Tensor

import t2i_dalle2
from t2i_dalle2 import folders
from t2i_dalle2.decoder.model import Decoder
from t2i_dalle2.prior.model import Prior
from t2i_dalle2.shapes import DecoderShape, PriorShape, UnetShape
from t2icli.contract.entries import Entry
from t2icli.contract.fields import Part
from t2icli.contract.hookspecs import hookimpl
from t2icli.contract.kinds import Embedder
from t2icli.data import shards
from t2icli.data.dataset import PreparedDataset, SourceRow
from t2icli.nn import weights
from t2icli.nn.shapes import VqganShape
from t2icli.nn.vqgan import Vqgan
from t2icli.store import models
from t2icli.store.models import Card
from t2icli.testing import toys


@pytest.fixture(scope="session")
def second_unet(
    golden: Callable[[str], Path],
    completed: Callable[[Mapping[str, Tensor], Path], dict[str, Tensor]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The original's decoder and what its second unet computed; the first has random weights."""
    reduced, folder = golden("dalle2/second_unet"), tmp_path_factory.mktemp("second_unet")
    shutil.copytree(reduced, folder, dirs_exist_ok=True)
    tensors = torch.load(reduced / "decoder.pth", weights_only=True)
    torch.save(completed(tensors, reduced), folder / "decoder.pth")
    return folder


class FakeEmbedder(toys.Embedder):
    """Reads the words of a text apart, too, and keeps what it was asked to embed."""

    asked: ClassVar[list[str]] = []

    def embed_images(self, images: Sequence[Image.Image]) -> Tensor:
        self.asked.append("images")
        return super().embed_images(images)

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        self.asked.append("texts")
        return super().embed_texts(texts)

    def embed_tokens(self, texts: Sequence[str]) -> Tensor:
        found = torch.zeros(len(texts), 6, self.width)
        for row, text in zip(found, texts, strict=True):
            for place, word in enumerate(text.split()[:6]):
                row[place] = self.embed_texts([word])[0]
        return found


class FakeSettings(toys.EmbedderSettings, frozen=True):
    taste: Annotated[str, msgspec.Meta(description="another embedder of this width")] = "plain"


class FakePlugin:
    @staticmethod
    @hookimpl
    def t2i_embedders() -> list[Entry[Embedder]]:
        return [Entry("fake", "embeddings for tests", FakeSettings, FakeEmbedder)]


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


LATENTS = DecoderShape(
    16,
    (msgspec.structs.replace(UNET, size=2, learned_variance=False, predicts="v"),),
    timesteps=8,
    text=16,
    text_length=4,
    channels=4,
    mean=(0.1, 0.2, 0.3, 0.4),
    deviation=(1.0, 2.0, 1.0, 0.5),
)
CODEC = VqganShape(
    resolution=16, patch=4, ch=8, ch_mult=(1, 1), num_res_blocks=1, attn_resolutions=(), z_channels=8, embed_dim=4,
    n_embed=32, groups=4, middle_attention=False,
)  # fmt: skip
"""16 pixels as 2 x 2 latents of 4 numbers."""


def make_codec(folder: Path) -> Path:
    torch.manual_seed(2)
    network = Vqgan(CODEC)
    torch.nn.init.normal_(network.quantize.embedding.weight)
    weights.save(network, folder)
    models.seal(folder, Card(kind="codec", backend="vqgan", about="for tests", config=msgspec.to_builtins(CODEC)))
    return folder


def make_decoder(
    folder: Path, shape: DecoderShape = DECODER, *, prior: PriorShape | None = PRIOR, codec: bool | None = None
) -> Path:
    torch.manual_seed(0)
    network = Decoder(shape)
    for unet in network.unets:
        torch.nn.init.normal_(unet.to_out.weight, std=0.2)  # else everything it says is zero
    weights.save(network, folder)
    if prior is not None:
        make_prior(folder / "prior", prior)
    own = {"embedder": {"name": "fake"}}
    if shape.mean if codec is None else codec:
        make_codec(folder / "codec")
    folders.seal_decoder(folder, shape, SPACE, own, about="for tests")
    return folder


@pytest.fixture
def make() -> SimpleNamespace:
    """Model folders with random weights, and the shapes they have unless told otherwise."""
    return SimpleNamespace(
        prior=make_prior, decoder=make_decoder, codec=make_codec, PRIOR=PRIOR, DECODER=DECODER, LATENTS=LATENTS
    )


@pytest.fixture
def fake(t2i: Any) -> Any:
    """The command line with DALL-E 2 and the fake embedder."""
    t2i.use(t2i_dalle2, FakePlugin())
    return t2i


@pytest.fixture
def asked() -> list[str]:
    """What the fake embedder is asked to embed from now on."""
    FakeEmbedder.asked.clear()
    return FakeEmbedder.asked


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
