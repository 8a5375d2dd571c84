"""WavBriVL: sounds in the space of BriVL, or of any other embedder, by a small tower that learns from it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from t2icli.contract.entries import Entry, Size, lazily
from t2icli.contract.fields import ELSEWHERE, Part, Start, part
from t2icli.contract.hookspecs import hookimpl
from t2icli.contract.kinds import DatasetPreparer, Embedder
from t2icli.contract.recipes import Recipe
from t2icli.contract.sampling import Device
from t2icli.store.models import Model
from t2icli.training.settings import LoopSettings


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    model: Annotated[Model, Meta(description="a tower, trained with t2i or imported")]
    space: Annotated[Part[Embedder], Meta(description="embedder whose space sounds are embedded in")] = part(
        "embedder", "brivl"
    )
    device: Device = "auto"


class Wav2ClipSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    model: Annotated[Model, Meta(description="Wav2CLIP's tower: t2i models import ResNet_CX.ckpt --as wav2clip")]
    space: Annotated[Part[Embedder], Meta(description="CLIP ViT-B/32 of OpenAI")] = part("embedder", "clip")
    device: Device = "auto"


class ClapSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    model: Annotated[Model | None, Meta(description="a pulled or imported CLAP, instead of `source`")] = None
    source: Annotated[Path | None, Meta(description="a folder of transformers' ClapModel", extra=ELSEWHERE)] = None
    batch: Annotated[int, Meta(description="texts at a time", ge=1)] = 32
    device: Device = "auto"


class TowerShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The tower's sizes, as stored in a model's card."""

    bands: Annotated[int, Meta(description="mel bands", ge=8)] = 64
    width: Annotated[int, Meta(description="channels", ge=8, multiple_of=8)] = 192
    blocks: Annotated[int, Meta(description="depthwise blocks", ge=0)] = 4
    heads: Annotated[int, Meta(description="attention heads; they divide the width", ge=1)] = 4
    pools: Annotated[int, Meta(description="attention pools", ge=1)] = 4
    seconds: Annotated[float, Meta(description="longest segment that is embedded at once", gt=0, le=60)] = 10.0


class Speech(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How captions are spoken."""

    voice: Annotated[str, Meta(description="voice of espeak-ng; cmn-latn-pinyin reads Chinese characters")] = (
        "cmn-latn-pinyin"
    )
    variants: Annotated[tuple[str, ...], Meta(description="variants of the voice; none: 25 of them")] = ()
    speed: Annotated[tuple[int, int], Meta(description="words a minute, from and to")] = (120, 220)
    pitch: Annotated[tuple[int, int], Meta(description="pitch, 0 to 99, from and to")] = (25, 75)
    noise: Annotated[float, Meta(description="fraction of clips with noise or an echo", ge=0, le=1)] = 0.5
    language: Annotated[
        str | None, Meta(description="speak only captions in this language: zh, en, ja ...; none is all")
    ] = None


class SpokenSettings(Speech, frozen=True, forbid_unknown_fields=True):
    copies: Annotated[int, Meta(description="times each caption is spoken, each time differently", ge=1)] = 1
    pictures: Annotated[
        Literal["own", "spectrogram"], Meta(description="a dataset's own pictures, or what the sounds look like")
    ] = "own"
    seed: Annotated[int, Meta(description="another seed gives other voices")] = 0


class RecipeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The tower learns to say of a sound what a frozen embedder says of its caption, or of its picture."""

    space: Annotated[Part[Embedder], Meta(description="embedder to learn from")] = part("embedder", "brivl")
    start: Annotated[Start, Meta(description="a tower to continue from; its sizes and space are kept")] = None
    shape: Annotated[TowerShape, Meta(description="the tower's sizes")] = TowerShape()
    sounds: Annotated[
        Literal["auto", "data", "speech"],
        Meta(description="the data's own sounds, or its captions spoken by espeak-ng; auto: its own, if it has any"),
    ] = "auto"
    targets: Annotated[
        Literal["captions", "images"],
        Meta(description="what a sound's vector learns to match: captions, or pictures as in WavBriVL and Wav2CLIP"),
    ] = "captions"
    speech: Annotated[Speech, Meta(description="how captions are spoken")] = Speech()
    others: Annotated[int, Meta(description="negatives from other rows, besides those of the batch", ge=0)] = 8192
    cosine: Annotated[float, Meta(description="weight of 1 - cosine beside the contrast", ge=0)] = 1.0
    least_squares: Annotated[
        bool, Meta(description="fit the saved tower's last layer to the targets: better to draw from, but finds less")
    ] = False
    loop: Annotated[LoopSettings, Meta(description="how to train")] = LoopSettings(
        batch_size=64, lr=2e-3, weight_decay=0.02, clip=1.0, schedule="cosine", warmup=100, ema=0.999
    )


SIZES: dict[Size, dict[str, Any]] = {
    "tiny": {"shape": {"width": 96, "blocks": 3}, "loop": {"max_steps": 1500}},
    "small": {"loop": {"max_steps": 6000}},
    "base": {"shape": {"width": 384, "blocks": 8, "heads": 6}, "loop": {"batch_size": 256, "max_steps": 40_000}},
}


@hookimpl
def t2i_embedders() -> list[Entry[Embedder]]:
    about = "WavBriVL: sounds in the space of another embedder, which reads texts and pictures"
    of_wav2clip = "Wav2CLIP: sounds in the space of CLIP ViT-B/32"
    of_clap = "LAION's CLAP, or any ClapModel of transformers: sounds and English texts, no pictures"
    wav2clip = (lazily("t2i_wavbrivl.wav2clip:load"), lazily("t2i_wavbrivl.wav2clip:convert"))
    return [
        Entry("wavbrivl", about, Settings, lazily("t2i_wavbrivl.embed:load"), embeds_audio=True),
        Entry("wav2clip", of_wav2clip, Wav2ClipSettings, *wav2clip, embeds_audio=True),
        Entry(
            "clap",
            of_clap,
            ClapSettings,
            lazily("t2i_wavbrivl.clap:load"),
            adopt=lazily("t2i_wavbrivl.clap:adopt"),
            embeds_audio=True,
        ),
    ]


@hookimpl
def t2i_recipes() -> list[Entry[Recipe]]:
    about = "WavBriVL: an audio tower, distilled from an embedder of texts or pictures"
    return [Entry("wavbrivl", about, RecipeSettings, lazily("t2i_wavbrivl.train:AudioRecipe"), sizes=SIZES)]


@hookimpl
def t2i_datasets() -> list[Entry[DatasetPreparer]]:
    about = "captions spoken by espeak-ng; SOURCE is a prepared dataset, or a file with a caption on each line"
    return [Entry("spoken", about, SpokenSettings, lazily("t2i_wavbrivl.spoken:SpokenSource"))]
