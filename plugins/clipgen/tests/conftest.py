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

import t2i_clipgen
from t2i_clipgen.convert import card as prior_card
from t2i_clipgen.convert import prior_tensors
from t2i_clipgen.model import Prior
from t2i_clipgen.model import Shape as PriorShape
from t2i_clipgen.vqgan.convert import card as codec_card
from t2i_clipgen.vqgan.model import VQGAN, Shape
from t2icli.contract.hookspecs import hookimpl
from t2icli.contract.kinds import Embedder, Entry
from t2icli.data import shards
from t2icli.data.dataset import PreparedDataset, SourceRow
from t2icli.nn import weights
from t2icli.store import models


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


@pytest.fixture(params=["tiny_a", "tiny_b"])
def tiny(request: pytest.FixtureRequest, golden: Callable[[str], Path]) -> Golden:
    return Golden(golden(f"clipgen/{request.param}"))


@pytest.fixture
def vqgan(tiny: Golden) -> VQGAN:
    sizes = tiny.sizes
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
    theirs = {k: v for k, v in tiny.tensors("vqgan.pt").items() if not k.startswith("discriminator.")}
    weights.fill(model, theirs, "golden")
    return model.eval()


@pytest.fixture
def prior(tiny: Golden) -> Prior:
    sizes = tiny.sizes
    theirs = tiny.tensors("gpt.pt")
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


class FakeEmbedder:
    """Unit vectors that tell texts and images apart, without a network."""

    width = 24

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        return torch.stack([self.vector(text.encode()) for text in texts])

    def embed_images(self, images: Sequence[Image.Image]) -> Tensor:
        return torch.stack([self.vector(image.convert("RGB").tobytes()) for image in images])

    def vector(self, content: bytes) -> Tensor:
        random = torch.Generator().manual_seed(zlib.crc32(content))
        return F.normalize(torch.randn(self.width, generator=random), dim=0)


class FakeSettings(msgspec.Struct, frozen=True):
    width: Annotated[int, msgspec.Meta(description="numbers in an embedding")] = 24


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
    """The command line with CLIP-GEN and the fake embedder."""
    t2i.use(t2i_clipgen, FakePlugin())
    return t2i


@pytest.fixture
def tiny_model(tmp_path: Path) -> Path:
    """A prior with its codec inside, with random weights: 16 pixels of 4 x 4 codes."""
    torch.manual_seed(0)
    folder = tmp_path / "model"
    codec = Shape(codes=32, width=8, size=16, base=32, multipliers=(1, 1, 1), blocks=1, attention=(4,))
    network = VQGAN(codec)
    torch.nn.init.normal_(network.quantizer.embedding.weight)
    weights.save(network, folder / "codec")
    models.seal(folder / "codec", codec_card(codec, "for tests"))
    shape = PriorShape(codes=32, length=16, condition=24, width=32, layers=2, heads=2)
    weights.save(Prior(shape), folder)
    models.seal(folder, prior_card(shape, "for tests"))
    return folder


@pytest.fixture
def data(tmp_path: Path) -> PreparedDataset:
    rows = []
    for i, colour in enumerate(("red", "green", "blue", "white")):
        Image.new("RGB", (20, 24), colour).save(tmp_path / f"{i}.png")
        rows.append(SourceRow(key=str(i), image=tmp_path / f"{i}.png", captions=(colour, f"all {colour}")))
    return shards.write(tmp_path / "data", rows).split("all")
