"""CLIP-GEN: text-to-image models trained on images alone, with their own VQGAN."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from t2icli.contract.entries import Entry, Size, lazily
from t2icli.contract.fields import Part, Start, part
from t2icli.contract.hookspecs import hookimpl
from t2icli.contract.kinds import Codec, Embedder, Generator, Metric
from t2icli.contract.recipes import Recipe
from t2icli.contract.sampling import Batch, CfgScale, CodePrecision, Device, Temperature, TopK, TopP
from t2icli.nn.shapes import VqganShape
from t2icli.store.models import Model
from t2icli.store.sources import ModelSource, RemoteFile
from t2icli.training.settings import LoopSettings


class CodecSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    model: Annotated[Model, Meta(description="a CLIP-GEN VQGAN, imported or trained with t2i")]
    batch: Annotated[int, Meta(description="images at a time", ge=1)] = 16
    device: Device = "auto"


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    model: Annotated[Model, Meta(description="a CLIP-GEN prior, imported or trained with t2i")]
    embedder: Annotated[Part[Embedder], Meta(description="embedder it is conditioned on")] = part("embedder", "clip")
    codec: Annotated[Part[Codec], Meta(description="codec that decodes images")] = part("codec", "clipgen-vqgan")
    temperature: Temperature = 1.0
    top_k: TopK | None = 500
    top_p: TopP | None = 0.95
    cfg_scale: CfgScale = 1.0
    batch: Batch = 16
    precision: CodePrecision = "auto"
    device: Device = "auto"


class CodecShape(msgspec.Struct, frozen=True):
    """The VQGAN's sizes, as stored in a model's card."""

    codes: Annotated[int, Meta(description="entries of the codebook", ge=1)] = 16384
    width: Annotated[int, Meta(description="numbers per code", ge=1)] = 256
    size: Annotated[int, Meta(description="pixels of an image's side", ge=1)] = 256
    base: Annotated[int, Meta(description="channels at full size, a multiple of 32", ge=32, multiple_of=32)] = 128
    multipliers: Annotated[
        tuple[int, ...], Meta(description="of the base at each level; each but the first halves the size", min_length=1)
    ] = (1, 1, 2, 2, 4)
    blocks: Annotated[int, Meta(description="residual blocks per level", ge=1)] = 2
    attention: Annotated[tuple[int, ...], Meta(description="sizes of feature maps that get attention")] = (16,)

    @property
    def network(self) -> VqganShape:
        """The same in the words of taming-transformers, whose network this is but for its norms."""
        return VqganShape(
            resolution=self.size,
            ch=self.base,
            ch_mult=self.multipliers,
            num_res_blocks=self.blocks,
            attn_resolutions=self.attention,
            z_channels=self.width,
            embed_dim=self.width,
            n_embed=self.codes,
            eps=1e-5,
        )


class CodecRecipeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The original's own numbers, for 16 images a step; its learning rate is 4.5e-6 for each of them."""

    shape: Annotated[CodecShape, Meta(description="the network's sizes")] = CodecShape()
    perceptual: Annotated[Part[Metric], Meta(description="perceptual metric of the loss, beside L1")] = part(
        "metric", "lpips"
    )
    perceptual_weight: Annotated[float, Meta(description="weight of the perceptual metric", ge=0)] = 1.0
    commitment: Annotated[float, Meta(description="weight of latents keeping near their codes", ge=0)] = 1.0
    attraction: Annotated[float, Meta(description="weight of codes moving to their latents", ge=0)] = 0.2
    adversary_weight: Annotated[float, Meta(description="weight of the discriminator; 0 trains without one", ge=0)] = (
        0.8
    )
    adversary_start: Annotated[
        int | None, Meta(description="step from which the discriminator takes part; none is after one pass")
    ] = None
    adversary_width: Annotated[int, Meta(description="channels of its first layer", ge=1)] = 64
    adversary_layers: Annotated[int, Meta(description="downsampling steps", ge=1)] = 3
    begin: Annotated[
        int, Meta(description="steps without codes, after which k-means finds the first; the original has none", ge=0)
    ] = 0
    reseed_every: Annotated[
        int, Meta(description="steps after which unused codes begin again; 0, as in the original, is never", ge=0)
    ] = 0
    loop: Annotated[LoopSettings, Meta(description="how to train")] = LoopSettings(
        epochs=800, batch_size=16, lr=7.2e-5, betas=(0.5, 0.9), optimizer="adam"
    )


class RecipeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The original's own numbers, for 64 images a step; its `large` is width 1280, 36 layers and 20 heads."""

    codec: Annotated[Part[Codec], Meta(description="codec whose codes it learns")] = part("codec", "clipgen-vqgan")
    embedder: Annotated[Part[Embedder], Meta(description="embedder it is conditioned on")] = part("embedder", "clip")
    start: Annotated[Start, Meta(description="a prior to continue from; its sizes are kept")] = None
    width: Annotated[int, Meta(description="numbers per position; 1280 for large", ge=1)] = 1024
    layers: Annotated[int, Meta(description="36 for large", ge=1)] = 24
    heads: Annotated[int, Meta(description="must divide width; 20 for large", ge=1)] = 16
    dropout: Annotated[float, Meta(description="in training", ge=0, lt=1)] = 0.1
    whiten: Annotated[
        bool,
        Meta(
            description="rescale embeddings so that all directions vary alike, and small differences count; "
            "the original does not"
        ),
    ] = False
    noise: Annotated[
        float,
        Meta(description="length of the noise added to an image embedding, to bridge the gap to text embeddings", ge=0),
    ] = 0.0
    text_share: Annotated[
        float,
        Meta(description="probability of using a caption's embedding instead of the image's", ge=0, le=1),
    ] = 0.0
    null_condition: Annotated[
        float,
        Meta(description="fraction of embeddings dropped in training, so that cfg_scale can be used", ge=0, le=1),
    ] = 0.0
    views: Annotated[int, Meta(description="random crops of each image to learn from; 1 takes the middle", ge=1)] = 1
    loop: Annotated[LoopSettings, Meta(description="how to train")] = LoopSettings(
        epochs=200,
        batch_size=64,
        lr=1.25e-4,
        betas=(0.9, 0.95),
        weight_decay=0.01,
        schedule="cosine",
        warmup_part=0.1,
    )


CODEC_SIZES: dict[Size, dict[str, Any]] = {
    "tiny": {
        "shape": {"codes": 512, "width": 64, "size": 64, "base": 32, "multipliers": [1, 1, 2, 2], "attention": []},
        "perceptual": {"name": "laplacian"},
        "adversary_weight": 0.0,
        "begin": 100,
        "reseed_every": 50,
        "loop": {"lr": 5e-4, "betas": [0.9, 0.99], "batch_size": 8, "max_steps": 1200, "schedule": "cosine"},
    },
    "small": {
        "shape": {"codes": 1024, "width": 64, "size": 128, "base": 32, "attention": []},
        "perceptual": {"name": "laplacian"},
        "adversary_weight": 0.0,
        "begin": 200,
        "reseed_every": 50,
        "loop": {"lr": 5e-4, "betas": [0.9, 0.99], "batch_size": 8, "max_steps": 5000, "schedule": "cosine"},
    },
    "base": {"shape": {"codes": 4096, "base": 64}, "loop": {"max_steps": 40_000}},
}
MUON: dict[str, Any] = {
    "optimizer": "muon",
    "lr": 2e-3,
    "betas": [0.9, 0.96],
    "weight_decay": 0.03,
    "clip": 1.0,
}
SIZES: dict[Size, dict[str, Any]] = {
    "tiny": {
        "width": 128,
        "layers": 4,
        "heads": 4,
        "dropout": 0.0,
        "noise": 0.3,
        "loop": {**MUON, "batch_size": 16, "max_steps": 1200},
    },
    "small": {
        "width": 256,
        "layers": 6,
        "heads": 4,
        "noise": 0.3,
        "loop": {**MUON, "batch_size": 32, "max_steps": 6000},
    },
    "base": {
        "width": 768,
        "layers": 12,
        "heads": 12,
        "noise": 0.3,
        "loop": {**MUON, "lr": 1e-3, "max_steps": 40_000},
    },
}


load_prior = lazily("t2i_clipgen.generate:load")
import_prior = lazily("t2i_clipgen.convert:convert")
load_recipe = lazily("t2i_clipgen.train:PriorRecipe")
load_codec_recipe = lazily("t2i_clipgen.vqgan.train:VQGANRecipe")
load_codec = lazily("t2i_clipgen.vqgan.codec:load")
import_codec = lazily("t2i_clipgen.vqgan.convert:convert")


@hookimpl
def t2i_generators() -> list[Entry[Generator]]:
    about = "CLIP-GEN: a CLIP embedding to an image, code by code"
    return [Entry("clipgen", about, Settings, load_prior, import_prior, conditions={"like", "embedding"})]


@hookimpl
def t2i_recipes() -> list[Entry[Recipe]]:
    about = "CLIP-GEN's prior: learns from images alone to draw an embedding"
    of_codec = "CLIP-GEN's VQGAN: L1, perceptual and adversarial losses, codes learned by gradient"
    return [
        Entry("clipgen", about, RecipeSettings, load_recipe, sizes=SIZES),
        Entry("clipgen-vqgan", of_codec, CodecRecipeSettings, load_codec_recipe, sizes=CODEC_SIZES),
    ]


@hookimpl
def t2i_codecs() -> list[Entry[Codec]]:
    about = "CLIP-GEN's VQGAN: 256 x 256 pixels as 16 x 16 of 16384 codes"
    return [Entry("clipgen-vqgan", about, CodecSettings, load_codec, import_codec)]


RELEASE = "https://github.com/HFAiLab/clip-gen/releases/download/v0.1.0/"


def released(name: str) -> tuple[RemoteFile, ...]:
    return (RemoteFile((RELEASE + name,), sha256=None),)


@hookimpl
def t2i_models() -> list[ModelSource]:
    return [
        ModelSource(
            "clipgen/coco",
            "CLIP-GEN trained on COCO's images, by its authors",
            licence="MIT",
            files=released("gpt_coco.pt"),
            parts={"codec": released("vqgan_coco.pt"), "embedder": released("clip_vit_b32.pt")},
        ),
        ModelSource(
            "clipgen-vqgan/coco",
            "the VQGAN of CLIP-GEN trained on COCO's images, by its authors",
            licence="MIT",
            files=released("vqgan_coco.pt"),
        ),
    ]
