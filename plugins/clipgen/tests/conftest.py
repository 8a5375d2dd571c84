from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import t2i_clipgen
from t2i_clipgen.convert import card as prior_card
from t2i_clipgen.convert import prior_tensors
from t2i_clipgen.model import Prior, PriorShape
from t2i_clipgen.vqgan.convert import ENDS, INSIDE, CodecShape, layers, renamed, without_discriminator
from t2i_clipgen.vqgan.convert import card as codec_card
from t2icli.contract.entries import Entry
from t2icli.contract.hookspecs import hookimpl
from t2icli.contract.kinds import Embedder
from t2icli.data.dataset import PreparedDataset
from t2icli.nn import weights
from t2icli.nn.vqgan import Vqgan
from t2icli.store import models
from t2icli.testing import toys


@dataclass(frozen=True)
class Golden:
    """What CLIP-GEN's own code computed with one tiny model."""

    find: Callable[[str], Path]
    """A file of the set, or a skip: the repository holds the prior's alone."""

    @property
    def sizes(self) -> dict[str, Any]:
        return json.loads(self.find("config.json").read_text())["config"]

    @property
    def io(self) -> dict[str, Tensor]:
        return load_file(self.find("io.safetensors"))

    @property
    def codec_shape(self) -> CodecShape:
        sizes = self.sizes
        return CodecShape(
            codes=sizes["codebook_size"],
            width=sizes["n_embed"],
            size=sizes["resolution"],
            base=sizes["ch"],
            multipliers=tuple(sizes["ch_mult"]),
            blocks=sizes["num_res_blocks"],
            attention=tuple(sizes["attn_resolutions"]),
        )

    def tensors(self, file: str) -> dict[str, Tensor]:
        return torch.load(self.find(file), weights_only=True)["model"]


@pytest.fixture(params=["tiny_a", "tiny_b"])
def tiny(request: pytest.FixtureRequest, golden: Callable[[str], Path]) -> Golden:
    return Golden(lambda file: golden(f"clipgen/{request.param}/{file}"))


@pytest.fixture
def vqgan(tiny: Golden) -> Vqgan:
    shape = tiny.codec_shape
    model = Vqgan(shape.network)
    weights.fill(model, renamed(without_discriminator(tiny.tensors("vqgan.pt")), shape), "golden")
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


@pytest.fixture
def codec_file(tiny: Golden, tmp_path: Path) -> Path:
    """A checkpoint of that model's VQGAN, with random weights."""
    path, shape = tmp_path / "vqgan.pt", tiny.codec_shape
    torch.save({"model": as_released(Vqgan(shape.network).state_dict(), shape)}, path)
    return path


def as_released(ours: dict[str, Tensor], shape: CodecShape) -> dict[str, Tensor]:
    """The network's weights by CLIP-GEN's names: what `renamed` undoes."""
    starts = {mine: theirs for theirs, mine in (dict(layers(shape)) | ENDS).items()}
    released = {}
    for mine, tensor in ours.items():
        start = next((start for start in starts if mine.startswith(start)), "")
        name = starts.get(start, "") + mine.removeprefix(start)
        for theirs, inner in INSIDE.items():
            name = name.replace(inner, theirs)
        if ".q." in name:
            third = [ours[mine.replace(".q.", f".{x}.")].squeeze() for x in "qkv"]
            released[name.replace("q.", "attn.in_proj_")] = torch.cat(third)
        elif ".k." not in name and ".v." not in name:
            released[name] = tensor.squeeze() if ".out_proj." in name else tensor
    return released


class FakePlugin:
    @staticmethod
    @hookimpl
    def t2i_embedders() -> list[Entry[Embedder]]:
        return [Entry("fake", "embeddings for tests", toys.EmbedderSettings, toys.Embedder)]


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
    codec = CodecShape(codes=32, width=8, size=16, base=32, multipliers=(1, 1, 1), blocks=1, attention=(4,))
    network = Vqgan(codec.network)
    torch.nn.init.normal_(network.quantize.embedding.weight)
    weights.save(network, folder / "codec")
    models.seal(folder / "codec", codec_card(codec, "for tests"))
    shape = PriorShape(codes=32, length=16, condition=16, width=32, layers=2, heads=2)
    weights.save(Prior(shape), folder)
    models.seal(folder, prior_card(shape, "for tests"))
    return folder


@pytest.fixture
def data(tmp_path: Path) -> PreparedDataset:
    captions = {colour: (colour, f"all {colour}") for colour in ("red", "green", "blue", "white")}
    return toys.prepared(tmp_path / "data", captions).split("all")
