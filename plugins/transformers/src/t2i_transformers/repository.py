"""A model's folder, read without running anything of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from t2icli.ground.errors import T2IError
from t2icli.store.models import Card, Model

CONFIG = "config.json"
LARGEST = 1 << 24
"""Bytes of the largest configuration that is read."""
DUAL_ENCODERS = ("clip", "siglip", "siglip2", "metaclip_2", "altclip", "align", "chinese_clip")
PICKLES = (".bin", ".pt", ".pth", ".ckpt")


def locate(model: Model | None, source: Path | None, owner: str) -> Path:
    """The folder of a model, after its files have been verified, or the one that was named."""
    if model is not None:
        model.files()
        return model.folder
    if source is None:
        raise T2IError(f"{owner} needs a model", "name a folder with -o source=FOLDER, or see: t2i models list")
    return source


def config(folder: Path) -> dict[str, Any]:
    """What config.json says."""
    path = folder / CONFIG
    if not path.is_file():
        hint = "a repository of transformers has one" if folder.is_dir() else "there is no folder of that name"
        raise T2IError(f"'{folder}' holds no model: {CONFIG} is missing", hint)
    if path.stat().st_size > LARGEST:
        raise T2IError(f"'{path}' is too large to be a configuration")
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as error:
        raise T2IError(f"'{path}' is damaged: {error}", "download the repository again", code=1) from error


def model_type(folder: Path) -> str:
    return str(config(folder).get("model_type"))


def refuse_pickles(folder: Path) -> None:
    """Weights are read from safetensors alone."""
    if any(folder.glob("*.safetensors")):
        return
    pickles = [path.name for path in sorted(folder.glob("*")) if path.suffix in PICKLES]
    if pickles:
        raise T2IError(
            f"the weights in '{folder}' are a pickle, {pickles[0]!r}, which could run any code",
            "use a revision of the repository with safetensors files",
        )
    raise T2IError(f"there are no weights in '{folder}'", "download the repository again", code=1)


def adopt_clip(folder: Path) -> Card:
    kind = model_type(folder)
    if kind not in DUAL_ENCODERS:
        raise T2IError(f"'{folder}' is a {kind}, not a dual encoder", f"hub-clip takes: {', '.join(DUAL_ENCODERS)}")
    return Card(kind="embedder", backend="hub-clip", about=kind)


def adopt_vqa(folder: Path) -> Card:
    return Card(kind="ranker", backend="vqa", about=model_type(folder))


def adopt_vlm(folder: Path) -> Card:
    return Card(kind="captioner", backend="vlm", about=model_type(folder))
