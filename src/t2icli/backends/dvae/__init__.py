"""DALLE-pytorch's discrete VAE."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from t2icli.contract.entries import Entry, Size, lazily
from t2icli.contract.hookspecs import hookimpl
from t2icli.contract.kinds import Codec
from t2icli.contract.recipes import Recipe
from t2icli.contract.sampling import Device
from t2icli.store.models import Model
from t2icli.training.settings import LoopSettings


class DvaeShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The shape of a discrete VAE, in the words of DALLE-pytorch."""

    image_size: Annotated[int, Meta(description="pixels of a side", ge=1)] = 256
    num_layers: Annotated[int, Meta(description="number of downsampling steps", ge=1)] = 3
    num_tokens: Annotated[int, Meta(description="how many codes there are", ge=2)] = 512
    codebook_dim: Annotated[int, Meta(description="width of a code's vector", ge=1)] = 512
    hidden_dim: Annotated[int, Meta(description="width of the convolutions", ge=1)] = 64
    num_resnet_blocks: Annotated[int, Meta(description="residual blocks at the smallest size", ge=0)] = 0
    channels: Annotated[int, Meta(description="3 for RGB, 4 with transparency", ge=3, le=4)] = 3
    mean: Annotated[tuple[float, ...], Meta(description="mean of each channel")] = (
        0.5,
        0.5,
        0.5,
        0.0,
    )
    std: Annotated[tuple[float, ...], Meta(description="standard deviation of each channel")] = (0.5, 0.5, 0.5, 1.0)


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    model: Annotated[Model, Meta(description="a discrete VAE, imported or trained with t2i")]
    height: Annotated[int | None, Meta(description="pixels; none is what it was trained for")] = None
    width: Annotated[int | None, Meta(description="pixels; none is what it was trained for")] = None
    batch: Annotated[int, Meta(description="pictures at once; does not change the result", ge=1)] = 16
    device: Device = "auto"
    precision: Annotated[
        Literal["auto", "fp32", "bf16"],
        Meta(description="number format; auto is bf16 where the device computes in it, but fp32 for codes on a CPU"),
    ] = "auto"


LOOP = LoopSettings(batch_size=32, lr=1e-3, optimizer="adam", schedule="exponential", lr_decay=0.98, lr_decay_every=100)


class TrainSettings(DvaeShape, frozen=True, forbid_unknown_fields=True):
    """The shape, how the codes are drawn while training, and the loop."""

    smooth_l1: Annotated[bool, Meta(description="smooth L1 pixel loss instead of squared error")] = False
    kl_weight: Annotated[
        float, Meta(description="weight of the loss that evens out code use, summed over a batch", ge=0)
    ] = 0.0
    straight_through: Annotated[bool, Meta(description="sample hard codes instead of soft mixtures")] = False
    reinmax: Annotated[bool, Meta(description="with straight_through: gradients exact to second order")] = False
    temperature: Annotated[float, Meta(description="Gumbel temperature at the start", gt=0)] = 1.0
    temperature_min: Annotated[float, Meta(description="Gumbel temperature at the end", gt=0)] = 0.5
    anneal_rate: Annotated[float, Meta(description="rate at which it falls; see docs/codecs.md", ge=0)] = 1e-6
    crop_from: Annotated[float, Meta(description="smallest random crop by area; 1: the centre crop", gt=0, le=1)] = 1.0
    loop: Annotated[LoopSettings, Meta(description="how long, how fast: -o loop.NAME=...")] = LOOP


SIZES: dict[Size, dict[str, Any]] = {
    "tiny": {
        "image_size": 64,
        "num_tokens": 256,
        "codebook_dim": 128,
        "hidden_dim": 32,
        "loop": {"batch_size": 16, "max_steps": 1500},
    },
    "small": {
        "image_size": 128,
        "num_tokens": 1024,
        "codebook_dim": 256,
        "num_resnet_blocks": 1,
        "loop": {"batch_size": 16, "max_steps": 5000},
    },
    "base": {"num_layers": 4, "num_tokens": 4096, "num_resnet_blocks": 2, "hidden_dim": 128},
}


load = lazily("t2icli.backends.dvae.codec:load")
load_recipe = lazily("t2icli.backends.dvae.train:VaeRecipe")
import_files = lazily("t2icli.backends.dvae.convert:convert")


@hookimpl
def t2i_codecs() -> list[Entry[Codec]]:
    return [
        Entry(
            "dvae",
            "discrete VAE: soft pictures as codes; from DALLE-pytorch or trained with t2i",
            Settings,
            load,
            import_files,
        )
    ]


@hookimpl
def t2i_recipes() -> list[Entry[Recipe]]:
    about = "discrete VAE: a codec, the first half of a DALL-E"
    return [Entry("vae", about, TrainSettings, load_recipe, sizes=SIZES)]
