"""A picture in place of a prompt: `t2i generate --like IMAGE`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t2icli.errors import T2IError
from t2icli.kinds import Generator, LikeGenerator

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Example:
    """The picture others are to be like."""

    path: Path
    image: Image

    def record(self) -> dict[str, str]:
        """What every row and PNG says of it."""
        from t2icli.images import pixels_sha256

        return {"like": str(self.path), "like_pixels": pixels_sha256(self.image)}


@dataclass(frozen=True)
class Alike:
    """Draws pictures like one picture, whatever the prompt."""

    generator: LikeGenerator
    image: Image

    def generate(self, prompt: str, n: int, *, seed: int) -> Iterator[Image]:
        return self.generator.generate_like(self.image, n, seed=seed)


def open_example(path: Path) -> Example:
    from t2icli.images import open_image

    return Example(path.absolute(), open_image(path))


def alike(generator: Generator, example: Example, name: str) -> Alike:
    """A generator that goes by the picture, if this one can."""
    if not isinstance(generator, LikeGenerator):
        raise T2IError(f"{name!r} goes by words alone and cannot draw like a picture", "try: t2i generate -m clipgen")
    return Alike(generator, example.image)


def again(generator: Generator, record: Mapping[str, Any], name: str) -> Generator:
    """The generator that drew a picture with this record: by its prompt, or like the picture it names."""
    if "like" not in record:
        return generator
    example = open_example(Path(record["like"]))
    if example.record()["like_pixels"] != record.get("like_pixels"):
        raise T2IError(f"'{example.path}' has changed since pictures were drawn like it", code=1)
    return alike(generator, example, name)
