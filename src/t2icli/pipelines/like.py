"""A picture in place of a prompt: `t2i generate --like IMAGE`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from t2icli.contract.kinds import Generator, LikeGenerator
from t2icli.ground.errors import T2IError
from t2icli.registry.settings import is_utf8

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Example:
    """The picture others are to be like."""

    path: Path
    image: Image

    def record(self) -> dict[str, str]:
        """What every row and PNG says of it."""
        from t2icli.pictures.images import pixels_sha256

        return {"like": str(self.path), "like_pixels": pixels_sha256(self.image)}


@dataclass(frozen=True)
class Alike:
    """Draws pictures like one picture, whatever the prompt."""

    generator: LikeGenerator
    image: Image

    def generate(self, prompt: str, n: int, *, seed: int) -> Iterator[Image]:
        return self.generator.generate_like(self.image, n, seed=seed)


def open_example(path: Path) -> Example:
    from t2icli.pictures.images import open_image

    if not is_utf8(path.absolute()):
        raise T2IError(f"the path {str(path)!r} is not valid UTF-8 and cannot be noted in a picture", "rename the file")
    return Example(path.absolute(), open_image(path))


def alike(generator: Generator, example: Example, name: str) -> Alike:
    """A generator that goes by the picture, if this one can."""
    if not isinstance(generator, LikeGenerator):
        raise T2IError(f"{name!r} goes by words alone and cannot draw like a picture", "try: t2i generate -m clipgen")
    return Alike(generator, example.image)


def again(generator: Generator, path: str | None, pixels: str | None, name: str) -> Generator:
    """The generator that drew a picture: by its prompt, or like the picture `path`, whose pixels had this hash."""
    if path is None:
        return generator
    example = open_example(Path(path))
    if example.record()["like_pixels"] != pixels:
        raise T2IError(f"'{example.path}' has changed since pictures were drawn like it", code=1)
    return alike(generator, example, name)
