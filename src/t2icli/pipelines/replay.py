"""Make a picture again from what its PNG says, and compare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t2icli.errors import T2IError
from t2icli.pipelines import like, provenance

if TYPE_CHECKING:
    from PIL.Image import Image

NEEDED = ("prompt", "seed", "backend", "settings", "pixels")
COMPARED = {"model": "model", "sha256": "model sha256", "plugin": "plugin", "device": "device"}


@dataclass(frozen=True)
class Replay:
    """A picture made a second time."""

    record: dict[str, Any]
    """What the PNG says of the first time."""
    image: Image
    agrees: bool
    """Every pixel is the same as when it was first made."""
    edited: bool
    """The file no longer holds the pixels it was written with."""
    changed_pixels: int
    """How many differ between the file and the new picture."""
    differences: dict[str, tuple[Any, Any]]
    """What is not as it was: then and now."""


def replay(path: Path, *, word: str | None = None, device: str | None = None) -> Replay:
    """Draw the picture in `path` again. `word` names another model, should its own have moved."""
    from t2icli import images

    record = images.read_record(path)
    if missing := [key for key in NEEDED if key not in record]:
        raise T2IError(f"'{path}' does not say its {missing[0]}", "only PNGs written by t2i generate can be replayed")
    source = _source(record, word, device)
    generator = like.again(source.thing, record, source.name)
    image = images.to_rgb(next(iter(generator.generate(record["prompt"], 1, seed=record["seed"]))))
    before, now = images.open_image(path), images.pixels_sha256(image)
    return Replay(
        record=record,
        image=image,
        agrees=now == record["pixels"],
        edited=images.pixels_sha256(before) != record["pixels"],
        changed_pixels=_changed(before, image),
        differences=differences(record, source.record()),
    )


def _source(record: Mapping[str, Any], word: str | None, device: str | None) -> provenance.Source[Any]:
    options = dict(record["settings"])
    if word is not None:
        options.pop("model", None)
    options = provenance.with_flags("generator", word or record["backend"], options, device=device)
    try:
        return provenance.load("generator", word or record["backend"], options)
    except T2IError as error:
        raise T2IError(
            f"it was made by {record.get('model')} of {record.get('plugin')}, and {error.message}",
            error.hint or "name the model: t2i replay IMAGE -m MODEL",
            error.code,
        ) from error


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Everything that may explain different pixels, by name: as it was and as it is."""
    found = {about: (then.get(key), now.get(key)) for key, about in COMPARED.items()}
    for table, about in (("settings", "setting"), ("versions", "version of")):
        before, after = then.get(table) or {}, now.get(table) or {}
        found |= {f"{about} {name}": (before.get(name), after.get(name)) for name in {**before, **after}}
    return {about: pair for about, pair in found.items() if pair[0] != pair[1]}


def _changed(before: Image, after: Image) -> int:
    import numpy as np

    if before.size != after.size:
        return after.width * after.height
    return int((np.asarray(before) != np.asarray(after)).any(axis=-1).sum())
