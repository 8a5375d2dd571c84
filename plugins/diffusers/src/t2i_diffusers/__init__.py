"""Pipelines of diffusers: every folder with a model_index.json is a generator."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from t2i_diffusers.presets import LORA_SIZES, suited
from t2icli.contract.entries import Entry, lazily
from t2icli.contract.fields import ELSEWHERE, FILE_PER_PICTURE, PER_PICTURE, base_of
from t2icli.contract.hookspecs import hookimpl
from t2icli.contract.kinds import Generator, LatentCodec
from t2icli.contract.recipes import Recipe
from t2icli.contract.sampling import Device
from t2icli.store.models import Model
from t2icli.training.settings import LoopSettings

Steps = Annotated[int, Meta(description="denoising steps; none is the pipeline's default", ge=1, extra=PER_PICTURE)]
Guidance = Annotated[
    float,
    Meta(
        description="guidance, as defined on the model's own page; none is the pipeline's default",
        ge=0,
        extra=PER_PICTURE,
    ),
]
Size = Annotated[
    str, Meta(description="width x height in pixels, as in 1024x768", pattern=r"^\d+x\d+$", extra=PER_PICTURE)
]
Lora = Annotated[str, Meta(pattern=r"[^\W\d]")]
BASE = base_of("diffusers")


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    model: Annotated[Model | None, Meta(description="a pulled or trained pipeline, instead of `source`")] = None
    source: Annotated[Path | None, Meta(description="a folder with a model_index.json", extra=ELSEWHERE)] = None
    steps: Steps | None = None
    cfg_scale: Guidance | None = None
    negative: Annotated[
        str | None, Meta(description="what the picture must not show, where there is guidance", extra=PER_PICTURE)
    ] = None
    size: Size | None = None
    strength: Annotated[
        float,
        Meta(
            description="with --from: how much of the picture is drawn again; 1 is all of it",
            gt=0,
            le=1,
            extra=PER_PICTURE,
        ),
    ] = 0.6
    scheduler: Annotated[
        Literal["auto", "euler", "euler-a", "heun", "dpm++", "dpm++-karras", "unipc", "ddim", "lcm"],
        Meta(description="scheduler that removes the noise; auto is the pipeline's own", extra=PER_PICTURE),
    ] = "auto"
    lora: Annotated[
        tuple[Lora, ...],
        Meta(description="LoRAs with their weights: a model, folder or file, as in NAME:0.8", extra=FILE_PER_PICTURE),
    ] = ()
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"],
        Meta(description="number format; auto is bf16 if the processor supports it"),
    ] = "auto"
    quantize: Annotated[
        Literal["none", "int8"], Meta(description="weights of denoiser and text encoders in int8, by torchao")
    ] = "none"
    gguf: Annotated[
        Path | None, Meta(description="a GGUF file of the denoiser, instead of the folder's own weights")
    ] = None
    offload: Annotated[
        Literal["none", "model", "group"],
        Meta(description="keep on the GPU only the network in use, or only its layer in use"),
    ] = "none"
    tiling: Annotated[bool, Meta(description="decode large pictures tile by tile, in less memory")] = False
    batch: Annotated[
        int, Meta(description="pictures drawn at once on a GPU; recorded, since it affects the last bits", ge=1)
    ] = 4
    device: Device = "auto"


class AutoencoderSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    model: Annotated[Model | None, Meta(description="a pulled autoencoder, instead of `source`")] = None
    source: Annotated[
        Path | None, Meta(description="the folder of an autoencoder, or of a pipeline with one", extra=ELSEWHERE)
    ] = None
    size: Annotated[
        str, Meta(description="width x height of its pictures in pixels", pattern=r"^[1-9]\d*x[1-9]\d*$")
    ] = "256x256"
    batch: Annotated[int, Meta(description="pictures at a time; does not change the result", ge=1)] = 8
    device: Device = "auto"


class LoraRecipeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is trained beside which base, and the loop."""

    base: Annotated[Model, Meta(description="the pipeline to train the LoRA for: `t2i train lora -m NAME`", extra=BASE)]
    rank: Annotated[
        int, Meta(description="of the LoRA's matrices: a higher rank learns more and needs more memory", ge=1)
    ] = 16
    targets: Annotated[
        tuple[str, ...], Meta(description="layers it adapts, by name suffix; none at all: the usual ones")
    ] = ()
    pixels: Annotated[int, Meta(description="width and height of the pictures it learns from", ge=16)] = 512
    text_length: Annotated[int, Meta(description="tokens of a caption; longer ones are cut", ge=8)] = 256
    checkpointing: Annotated[
        bool, Meta(description="recompute activations instead of keeping them: slower, in less memory")
    ] = False
    quantize: Annotated[Literal["none", "int8"], Meta(description="weights of the base in int8, by torchao")] = "none"
    base_precision: Annotated[
        Literal["auto", "fp32", "bf16"], Meta(description="number format of the base; the LoRA's is fp32")
    ] = "auto"
    preview_steps: Annotated[int, Meta(description="denoising steps of a preview", ge=1)] = 20
    loop: Annotated[LoopSettings, Meta(description="how to train")] = LoopSettings(
        epochs=100, batch_size=1, lr=1e-4, weight_decay=0.01, clip=1.0, max_steps=2000, warmup=50
    )


adopt = lazily("t2i_diffusers.folder:adopt")
adopt_autoencoder = lazily("t2i_diffusers.folder:adopt_autoencoder")


@hookimpl
def t2i_codecs() -> list[Entry[LatentCodec]]:
    about = "autoencoders of diffusers, of Stable Diffusion, FLUX, Sana ...: pictures as continuous latents"
    return [
        Entry(
            "autoencoder", about, AutoencoderSettings, lazily("t2i_diffusers.autoencoder:load"), adopt=adopt_autoencoder
        )
    ]


@hookimpl
def t2i_recipes() -> list[Entry[Recipe]]:
    about = "a LoRA for Z-Image, Qwen-Image, FLUX.2 klein or SDXL: from pairs of text and image"
    return [
        Entry(
            "lora",
            about,
            LoraRecipeSettings,
            lazily("t2i_diffusers.train:LoraRecipe"),
            sizes=LORA_SIZES,
            suited=suited,
            estimate=lazily("t2i_diffusers.estimate:estimate"),
        )
    ]


@hookimpl
def t2i_generators() -> list[Entry[Generator]]:
    about = "pipelines of diffusers: Z-Image, Qwen-Image, FLUX.2, SDXL and every other folder with a model_index.json"
    return [
        Entry(
            "diffusers",
            about,
            Settings,
            lazily("t2i_diffusers.generate:load"),
            adopt=adopt,
            conditions={"source", "mask"},
        )
    ]
