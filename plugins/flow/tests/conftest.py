from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from torch import Tensor

import t2i_flow
from t2i_flow.model import Flow, FlowShape
from t2icli.contract.entries import Entry
from t2icli.contract.hookspecs import hookimpl
from t2icli.contract.kinds import Embedder, Tokenizer
from t2icli.data.dataset import PreparedDataset
from t2icli.nn import weights
from t2icli.nn.shapes import VqganShape
from t2icli.nn.vqgan import Vqgan
from t2icli.store import models
from t2icli.store.models import Card
from t2icli.testing import toys

CODEC = VqganShape(
    resolution=16,
    patch=4,
    ch=8,
    ch_mult=(1, 1),
    num_res_blocks=1,
    attn_resolutions=(),
    z_channels=8,
    embed_dim=4,
    n_embed=32,
    groups=4,
    middle_attention=False,
)
"""16 pixels as 2 x 2 latents of 4 numbers."""


class NoSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class Letters:
    """A tokenizer of the letters."""

    vocabulary, padding = 60, 0

    def __init__(self, settings: NoSettings) -> None: ...

    def encode(self, texts: Sequence[str], length: int) -> Tensor:
        rows = [[1 + ord(letter) % 59 for letter in text][:length] for text in texts]
        return torch.tensor([row + [0] * (length - len(row)) for row in rows])

    def decode(self, tokens: Tensor) -> list[str]:
        return [" ".join(map(str, row)) for row in tokens.tolist()]


class TokenEmbedder(toys.Embedder):
    """Also gives an encoding for each letter, of 6 numbers."""

    def embed_tokens(self, texts: Sequence[str]) -> Tensor:
        encodings = torch.zeros(len(texts), 12, 6)
        for row, text in zip(encodings, texts, strict=True):
            for place, letter in enumerate(text[:12]):
                row[place] = torch.randn(6, generator=torch.Generator().manual_seed(ord(letter)))
        return encodings


class Plugin:
    @staticmethod
    @hookimpl
    def t2i_tokenizers() -> list[Entry[Tokenizer]]:
        return [Entry("letters", "letters", NoSettings, Letters)]

    @staticmethod
    @hookimpl
    def t2i_embedders() -> list[Entry[Embedder]]:
        return [Entry("fake", "vectors and encodings", toys.EmbedderSettings, TokenEmbedder)]


@pytest.fixture
def front(t2i: Any) -> Any:
    """The command line with the flow, a tokenizer and an embedder."""
    t2i.use(t2i_flow, Plugin())
    return t2i


@pytest.fixture
def codec(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    folder, network = tmp_path / "codec", Vqgan(CODEC)
    torch.nn.init.normal_(network.quantize.embedding.weight)
    weights.save(network, folder)
    config = dict(msgspec.to_builtins(CODEC))
    models.seal(folder, Card(kind="codec", backend="vqgan", about="for tests", config=config))
    return folder


@pytest.fixture
def make_model(tmp_path: Path, codec: Path) -> Callable[..., Path]:
    """`make_model(embedding=16)`: a flow of random weights, its codec inside, of a `FlowShape` with these changes."""

    def make(**changes: Any) -> Path:
        folder = tmp_path / "model"
        read = {} if "encodings" in changes else {"vocabulary": 60}
        spread = {"mean": (0.1, 0.2, 0.3, 0.4), "deviation": (1.0, 2.0, 1.0, 0.5)}
        sizes = {"latents": (4, 2, 2), "text_length": 12, "width": 32, "layers": 2, "heads": 2}
        shape = FlowShape(**{**sizes, **spread, **read, **changes})
        network = Flow(shape)
        for parameter in network.parameters():  # what begins with zeros would hide mistakes
            torch.nn.init.normal_(parameter, std=0.2)
        weights.save(network, folder)
        models.copy(models.open_model(codec), folder / "codec")
        models.seal(folder, Card(kind="generator", backend="flow", config=msgspec.to_builtins(shape)))
        return folder

    return make


@pytest.fixture
def data(tmp_path: Path) -> PreparedDataset:
    captions = {colour: (colour, f"all {colour}") for colour in ("red", "green", "blue", "white")}
    return toys.prepared(tmp_path / "data", captions, size=(16, 16)).split("all")
