"""What made a picture: written into every PNG, and compared when it is drawn again."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from t2icli.contract.kinds import PreciseGenerator
from t2icli.ground import machine
from t2icli.ground.errors import T2IError
from t2icli.registry import settings
from t2icli.registry.open import Opened

NOTED = ("torch", "numpy", "PIL", "transformers", "tokenizers", "open_clip", "timm", "diffusers", "peft", "torchao")
"""Packages whose version may change a picture; noted when they were used."""


class Record(msgspec.Struct, frozen=True):
    """How a PNG was made. Keys of later versions are ignored; earlier ones lack some."""

    prompt: str
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    backend: str
    settings: dict[str, Any]
    pixels: str
    """The hash of the picture as it was first made."""
    model: str | None = None
    sha256: str | None = None
    """Of the model."""
    plugin: str | None = None
    device: str | None = None
    precision: str | None = None
    """The number format that the generator computed in: what `auto` was."""
    versions: dict[str, str] = {}
    machine: dict[str, str | Annotated[int, Meta(ge=1, le=1024)]] = {}
    """What else decides the last bits: processor, instruction_set, threads."""
    like: str | None = None
    """The picture given as --like, and the hash of its pixels; so the others."""
    like_pixels: str | None = None
    source: str | None = None
    source_pixels: str | None = None
    mask: str | None = None
    mask_pixels: str | None = None
    audio: str | None = None
    """The sound given as --audio, and the hash of its samples."""
    audio_sha256: str | None = None
    weights: dict[str, float] = {}
    """How much words, picture and sound counted."""
    listener: str | None = None
    """The backend that turned the sound into a vector, and its settings."""
    listener_settings: dict[str, Any] = {}

    @property
    def threads(self) -> int | None:
        """How many computed it; None where that is not recorded, or torch took no part."""
        threads = self.machine.get("threads")
        return threads if isinstance(threads, int) else None


def decoded(record: Mapping[str, Any], path: Path) -> Record:
    """The record of the PNG `path`, with every type checked: it may be from an untrusted source."""
    try:
        return msgspec.convert(record, Record)
    except msgspec.ValidationError as error:
        raise T2IError(
            f"what '{path}' says about how it was made is damaged: {str(error).lower()}",
            "only PNGs written by t2i generate can be replayed",
        ) from error


def record(opened: Opened[Any]) -> dict[str, Any]:
    """The generator recorded in a PNG."""
    versions = _versions()
    return {
        "backend": opened.entry,
        "plugin": opened.distribution,
        "model": opened.name,
        "sha256": opened.model.sha256 if opened.model else None,
        "settings": opened.tables,
        "device": _device(opened.settings),
        "precision": opened.thing.precision if isinstance(opened.thing, PreciseGenerator) else None,
        "versions": versions,
        "machine": {name: fact for name, fact in machine.decisive().items() if name not in versions},
    }


def _device(chosen: Any) -> str:
    """Where it was computed, as far as the settings say; the kind of GPU matters to the last bit."""
    word = str(settings.value(chosen, "device", "cpu"))
    if "torch" not in sys.modules:
        return "cpu" if word == "auto" else word
    import torch

    from t2icli.nn.devices import pick_device

    device = pick_device(word)
    return str(torch.cuda.get_device_name(device) if device.type == "cuda" else device.type)


def _versions() -> dict[str, str]:
    used = {name: sys.modules[name].__version__ for name in NOTED if name in sys.modules}
    torch = sys.modules.get("torch")
    if torch is not None and torch.version.cuda:
        used |= {"cuda": torch.version.cuda, "cudnn": str(torch.backends.cudnn.version())}
    return {"t2icli": version("t2icli"), "python": platform.python_version(), **used}
