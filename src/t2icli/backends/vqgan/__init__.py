"""The VQGAN of taming-transformers, VQ and Gumbel, f4 to f32, and small ones for CPUs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from t2icli.contract.entries import Entry, Size, lazily
from t2icli.contract.fields import Part, Start, part
from t2icli.contract.hookspecs import hookimpl
from t2icli.contract.kinds import Codec, Metric
from t2icli.contract.recipes import Recipe
from t2icli.contract.sampling import Device
from t2icli.nn.shapes import VqganShape
from t2icli.store.models import Model
from t2icli.store.sources import ModelSource, RemoteFile
from t2icli.training.settings import LoopSettings


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    model: Annotated[Model, Meta(description="a VQGAN, imported or trained with t2i")]
    height: Annotated[int | None, Meta(description="pixels; none is what it was trained for")] = None
    width: Annotated[int | None, Meta(description="pixels; none is what it was trained for")] = None
    batch: Annotated[int, Meta(description="pictures at once; does not change the result", ge=1)] = 16
    device: Device = "auto"
    precision: Annotated[
        Literal["auto", "fp32", "bf16"],
        Meta(description="number format; auto is bf16 where the device computes in it, but fp32 for codes on a CPU"),
    ] = "auto"


load = lazily("t2icli.backends.vqgan.codec:load")
import_files = lazily("t2icli.backends.vqgan.convert:convert")


@hookimpl
def t2i_codecs() -> list[Entry[Codec]]:
    return [
        Entry(
            "vqgan",
            "VQGAN: sharp pictures as codes; from taming-transformers or trained with t2i",
            Settings,
            load,
            import_files,
        )
    ]


class Adversary(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The discriminator a VQGAN is trained against."""

    weight: Annotated[
        float, Meta(description="weight of the adversarial loss; 0 trains without a discriminator", ge=0)
    ] = 0.8
    start: Annotated[int, Meta(description="step from which it takes part", ge=0)] = 20_000
    width: Annotated[int, Meta(description="features of its first layer", ge=1)] = 64
    layers: Annotated[int, Meta(description="halvings; more see larger patches", ge=1)] = 3
    act_norm: Annotated[bool, Meta(description="normalise each channel by itself rather than by the batch")] = False


class Care(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the codebook is kept in use. taming does none of it: learning=gradient, begin=0, reseed_every=0."""

    learning: Annotated[
        Literal["average", "gradient"], Meta(description="codes are averages of their latents, or learnt by gradient")
    ] = "average"
    decay: Annotated[float, Meta(description="decay of the codebook's moving averages", ge=0, lt=1)] = 0.99
    begin: Annotated[int, Meta(description="steps without codes, after which k-means finds the first ones", ge=0)] = 200
    reseed_every: Annotated[int, Meta(description="steps after which unused codes begin again; 0 never", ge=0)] = 50


class RecipeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A VQGAN from pictures: L1, a perceptual metric, the codebook's own loss, and an adversary later on."""

    shape: Annotated[VqganShape, Meta(description="the network; resolution, ch, ch_mult ...; not with `start`")] = (
        VqganShape()
    )
    start: Annotated[Start, Meta(description="a VQGAN to continue from")] = None
    tune: Annotated[
        Literal["all", "decoder"],
        Meta(description="decoder keeps the codes unchanged, so that generators trained on them still fit"),
    ] = "all"
    perceptual: Annotated[Part[Metric], Meta(description="perceptual metric of the loss, beside L1")] = part(
        "metric", "lpips"
    )
    perceptual_weight: Annotated[float, Meta(description="weight of the perceptual metric", ge=0)] = 1.0
    squared_weight: Annotated[
        float, Meta(description="weight of squared differences, beside L1: more PSNR, softer pictures", ge=0)
    ] = 0.0
    commitment: Annotated[float, Meta(description="weight of the commitment loss", ge=0)] = 1.0
    attraction: Annotated[float, Meta(description="weight of the same for codes learnt by gradient", ge=0)] = 0.25
    codebook: Annotated[Care, Meta(description="how the codes are learnt")] = Care()
    adversary: Annotated[Adversary, Meta(description="the discriminator")] = Adversary()
    temperature: Annotated[float, Meta(description="gumbel: temperature at the start", gt=0)] = 1.0
    cold: Annotated[float, Meta(description="gumbel: temperature at the end", gt=0)] = 0.1
    cooling: Annotated[int, Meta(description="gumbel: steps from the first to the last", ge=1)] = 50_000
    kl_weight: Annotated[float, Meta(description="gumbel: weight of even use of all codes", ge=0)] = 5e-4
    loop: Annotated[LoopSettings, Meta(description="how long, how fast and how carefully")] = LoopSettings(
        lr=1e-4, betas=(0.5, 0.9), optimizer="adam", batch_size=16
    )


PATCHES = {"patch": 4, "num_res_blocks": 1, "attn_resolutions": [], "middle_attention": False, "groups": 8}
"""Pixels cut into patches first, and no attention: what a CPU can train."""
NARROW = {"z_channels": 64, "embed_dim": 16}
CAREFUL: dict[str, Any] = {
    "optimizer": "adamw",
    "lr": 1e-3,
    "betas": [0.9, 0.99],
    "schedule": "cosine",
    "warmup": 50,
    "clip": 1.0,
}
QUICK: dict[str, Any] = {"perceptual": {"name": "laplacian"}, "commitment": 0.25, "adversary": {"weight": 0.0}}
SIZES: dict[Size, dict[str, Any]] = {
    "tiny": {
        **QUICK,
        "shape": {**PATCHES, **NARROW, "resolution": 64, "ch": 48, "ch_mult": [1, 2], "n_embed": 512},
        "codebook": {"begin": 100},
        "loop": {**CAREFUL, "batch_size": 16, "max_steps": 2000},
    },
    "small": {
        **QUICK,
        "shape": {**PATCHES, **NARROW, "resolution": 128, "ch": 64, "ch_mult": [1, 2, 4], "n_embed": 1024},
        "loop": {**CAREFUL, "batch_size": 16, "max_steps": 6000},
    },
    "base": {
        "shape": {"ch": 64, "n_embed": 4096, "z_channels": 128, "embed_dim": 32},
        "adversary": {"start": 10_000},
        "loop": {"optimizer": "adamw", "lr": 2e-4, "max_steps": 40_000},
    },
}


load_training = lazily("t2icli.backends.vqgan.train:VqganRecipe")


@hookimpl
def t2i_recipes() -> list[Entry[Recipe]]:
    about = "a VQGAN from pictures: the codes that DALL-E draws"
    return [Entry("vqgan", about, RecipeSettings, load_training, sizes=SIZES)]


HOST = "https://heibox.uni-heidelberg.de/f/"
PUBLISHED = {
    "imagenet-f16-1024": ("140747ba53464f49b476", "6ecf2af6c658432c8298", "ImageNet, 16 x 16 codes of 1,024"),
    "imagenet-f16-16384": ("867b05fc8c4841768640", "274fb24ed38341bfa753", "ImageNet, 16 x 16 codes of 16,384"),
    "gumbel-f8": ("34a747d5765840b5a99d", "b24d14998a8d4f19a34f", "OpenImages, 32 x 32 codes of 8,192"),
}
"""Where taming-transformers' authors keep weights and configuration; they published no hashes."""


@hookimpl
def t2i_models() -> list[ModelSource]:
    def remote(place: str, name: str) -> RemoteFile:
        return RemoteFile((f"{HOST}{place}/?dl=1",), sha256=None, name=name)

    return [
        ModelSource(
            f"vqgan/{name}",
            f"taming-transformers' VQGAN: {about}",
            "MIT",
            files=(remote(weights, "last.ckpt"), remote(configuration, "model.yaml")),
        )
        for name, (weights, configuration, about) in PUBLISHED.items()
    ]
