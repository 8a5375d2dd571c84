"""Pictures that a generator goes by besides a prompt: `t2i generate --like IMAGE --from IMAGE --mask IMAGE`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t2icli.contract.requests import CONDITIONS, Request
from t2icli.ground.errors import T2IError
from t2icli.registry.settings import is_utf8

if TYPE_CHECKING:
    from PIL.Image import Image

    from t2icli.pipelines.provenance import Record


@dataclass(frozen=True)
class Example:
    """A picture to go by."""

    path: Path
    image: Image

    @property
    def pixels(self) -> str:
        """The hash of its pixels."""
        from t2icli.pictures.images import pixels_sha256

        return pixels_sha256(self.image)


Examples = Mapping[str, Example]
"""By the name of the condition, one of `CONDITIONS`."""


def opened(**paths: Path | None) -> Examples:
    return {name: _open(path) for name, path in paths.items() if path is not None}


def request(prompt: str, seed: int, examples: Examples) -> Request:
    images: dict[str, Any] = {name: example.image for name, example in examples.items()}
    return Request(prompt, seed, **images)


def record(examples: Examples) -> dict[str, str]:
    """What every row and PNG says of them."""
    fields: dict[str, str] = {}
    for name, example in examples.items():
        fields |= {name: str(example.path), f"{name}_pixels": example.pixels}
    return fields


def recorded(record: Record) -> Examples:
    """The pictures that a PNG says it was drawn with, if they are still the same."""
    examples = opened(**{name: Path(path) for name in CONDITIONS if (path := getattr(record, name)) is not None})
    for name, example in examples.items():
        if example.pixels != getattr(record, f"{name}_pixels"):
            raise T2IError(f"'{example.path}' has changed since it was given as {CONDITIONS[name]}", code=1)
    return examples


def _open(path: Path) -> Example:
    from t2icli.pictures.images import open_image

    if not is_utf8(path.absolute()):
        raise T2IError(f"the path {str(path)!r} is not valid UTF-8 and cannot be noted in a picture", "rename the file")
    return Example(path.absolute(), open_image(path))
