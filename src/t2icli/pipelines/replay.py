"""Make a picture again from the record in its PNG, and compare."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t2icli.contract.requests import drawing
from t2icli.ground.errors import T2IError
from t2icli.pictures import prompts
from t2icli.pipelines import conditions, provenance
from t2icli.registry.open import Opened, open_one

if TYPE_CHECKING:
    from PIL.Image import Image

FACTS = {"model": "model", "sha256": "model sha256", "plugin": "plugin", "device": "device"}
TABLES = {"settings": "setting", "versions": "version of", "machine": ""}
"""Tables of a record, and what stands before their keys where a difference is named."""


@dataclass(frozen=True)
class Replay:
    """A picture made a second time."""

    record: dict[str, Any]
    """The record in the PNG."""
    image: Image
    agrees: bool
    """Every pixel is the same as when it was first made."""
    edited: bool
    """The file no longer holds the pixels it was written with."""
    changed_pixels: int
    """How many differ between the file and the new picture."""
    differences: dict[str, tuple[Any, Any]]
    """What is not as it was: then and now."""
    not_recorded: list[str]
    """What may not be as it was, but the file does not say how it was."""


def replay(path: Path, *, word: str | None = None, device: str | None = None) -> Replay:
    """Draw the picture in `path` again. `word` names another model, should its own have moved."""
    from t2icli.pictures import images

    written = images.read_record(path)
    record = provenance.decoded(written, path)
    # A picture drawn like another, or from a sound, has that file's name in place of a prompt, whatever it is made of.
    prompt = (
        record.prompt
        if record.like is not None or record.audio is not None
        else prompts.clean(record.prompt, f"the prompt in '{path}'")
    )
    with _threads(record.threads):
        source = _source(record, word, device)
        generator = drawing(source.thing)
        request = conditions.request(prompt, record.seed, conditions.recorded(record, source))
        conditions.check(request, generator.abilities, repr(source.name))
        image = images.to_rgb(next(iter(generator.draw([request]))))
        now = provenance.record(source)
    before, pixels = images.open_image(path), images.pixels_sha256(image)
    return Replay(
        record=written,
        image=image,
        agrees=pixels == record.pixels,
        edited=images.pixels_sha256(before) != record.pixels,
        changed_pixels=_changed(before, image),
        differences=differences(record, now),
        not_recorded=not_recorded(record, now),
    )


@contextlib.contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """As many as drew the picture: sums are added up in another order by another number of them."""
    if count is None:
        yield
        return
    from t2icli.nn import devices

    with devices.threads(count):
        yield


def _source(record: provenance.Record, word: str | None, device: str | None) -> Opened[Any]:
    options = dict(record.settings)
    if record.precision is not None and "precision" in options:
        options["precision"] = record.precision
    if word is not None:
        options.pop("model", None)
    try:
        return open_one("generator", word or record.backend, options, device=device)
    except T2IError as error:
        raise T2IError(
            f"the picture was drawn by {record.model} of {record.plugin}: {error.message}",
            error.hint or "name the model: t2i replay IMAGE -m MODEL",
            error.code,
        ) from error


def differences(then: provenance.Record, now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Everything that may explain different pixels, by name: as it was and as it is.

    Of settings all count, of the rest what both know: a package that only a ranker used has drawn nothing.
    """
    facts = {about: (getattr(then, key), now.get(key)) for key, about in FACTS.items()}
    if then.precision is not None:
        facts["precision"] = (then.precision, now.get("precision"))
    for table, about in TABLES.items():
        before, after = getattr(then, table), now.get(table) or {}
        names = before.keys() | after.keys() if table == "settings" else before.keys() & after.keys()
        facts |= {f"{about} {_spaced(name)}".strip(): (before.get(name), after.get(name)) for name in sorted(names)}
    if "precision" in facts:  # the setting may say auto, or by now what that was
        facts.pop("setting precision", None)
    return {about: pair for about, pair in facts.items() if pair[0] != pair[1]}


def not_recorded(then: provenance.Record, now: Mapping[str, Any]) -> list[str]:
    """What decides pixels, and earlier versions of t2i did not write into their pictures."""
    missing = ["precision"] if then.precision is None and now.get("precision") is not None else []
    return missing + [_spaced(name) for name in now.get("machine") or {} if name not in then.machine]


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def _changed(before: Image, after: Image) -> int:
    import numpy as np

    if before.size != after.size:
        return after.width * after.height
    return int((np.asarray(before) != np.asarray(after)).any(axis=-1).sum())
