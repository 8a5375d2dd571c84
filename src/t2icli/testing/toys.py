"""Toys for tests: small pictures, prepared data and one model of most kinds, without weights or a network.

The module is a plugin, so a test can set its own beside it:

    t2i.use(my_plugin, toys)
    t2i.ok("generate", "a red apple", "-m", "mine", "--rerank", "toy")

`generator`, `ranker` and `captioner` are called `toy`, the embedder `toy-vectors`, one of sounds `toy-audio`, and a
generator that takes every condition and draws mixed requests `toy-painter`. `Colours` is an embedder for a test to
announce itself, where it must be clear which picture fits which text.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import msgspec
from msgspec import Meta
from PIL import Image, ImageColor

from t2icli.contract.entries import Entry
from t2icli.contract.fields import PER_PICTURE
from t2icli.contract.hookspecs import hookimpl
from t2icli.contract.kinds import AudioClip
from t2icli.contract.requests import CONDITIONS, Abilities, Request, numbered
from t2icli.ground.watch import Watch, unwatched
from t2icli.registry import parts

if TYPE_CHECKING:
    from torch import Tensor

    from t2icli.data.dataset import PreparedDataset

SIZE = (20, 24)


def picture(colour: str | tuple[int, int, int], size: tuple[int, int] = SIZE) -> bytes:
    """A plain picture as the bytes of a PNG."""
    stream = io.BytesIO()
    Image.new("RGB", size, colour).save(stream, "PNG")
    return stream.getvalue()


def pictures(folder: Path, *colours: str, size: tuple[int, int] = SIZE) -> list[Path]:
    """A PNG of each colour in `folder`, named after it."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{colour}.png" for colour in colours]
    for path, colour in zip(paths, colours, strict=True):
        path.write_bytes(picture(colour, size))
    return paths


def prepared(
    folder: Path, captions: Mapping[str, Sequence[str]], size: tuple[int, int] = SIZE, **card: Any
) -> PreparedDataset:
    """A prepared dataset: a plain picture of each colour with its captions; `card` gives fields of the card."""
    from t2icli.data import dataset, shards

    rows = [dataset.SourceRow(colour, picture(colour, size), tuple(texts)) for colour, texts in captions.items()]
    return shards.write(folder, rows, **card)


class GeneratorSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    size: Annotated[int, Meta(description="width and height in pixels", ge=1)] = 8


class Generator:
    """Plain pictures: the seed decides how red they are, the prompt how green and blue."""

    def __init__(self, settings: GeneratorSettings) -> None:
        self.size = settings.size

    def generate(self, prompt: str, n: int, *, seed: int) -> Iterator[Image.Image]:
        green, blue = zlib.crc32(prompt.encode()).to_bytes(4, "big")[:2]
        for i in range(n):
            yield Image.new("RGB", (self.size, self.size), ((seed + i) % 256, green, blue))


class PainterSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    size: Annotated[int, Meta(description="width and height in pixels", ge=1)] = 8
    blue: Annotated[int, Meta(description="how blue, of 255", ge=0, le=255, extra=PER_PICTURE)] = 0


class Painter:
    """Plain pictures: the seed decides how red, the prompt, the picture of --like or an embedding how green.

    A picture of --from keeps its upper half, or what is black in --mask.
    """

    def __init__(self, settings: PainterSettings) -> None:
        self.size, self.blue = settings.size, settings.blue
        self.abilities = Abilities(frozenset(CONDITIONS), ((self.size, self.size),))
        self.embedder = Embedder(EmbedderSettings())
        self.space = parts.space("toy-vectors", EmbedderSettings())

    def generate(self, prompt: str, n: int, *, seed: int) -> Iterator[Image.Image]:
        return self.draw(numbered(Request(prompt, seed), n))

    def draw(self, requests: Iterable[Request], watch: Watch = unwatched) -> Iterator[Image.Image]:
        for index, request in enumerate(requests):
            painted = self.paint(request)
            watch.step(1, 2)
            watch.preview(index, painted.copy)
            watch.step(2, 2)
            yield painted

    def paint(self, request: Request) -> Image.Image:
        size = (self.size, self.size)
        if request.embedding is not None:
            green = round(abs(float(request.embedding[0])) * 255)
        elif request.like is not None:
            green = request.like.convert("RGB").resize((1, 1)).tobytes()[1]
        else:
            green = zlib.crc32(request.prompt.encode()) % 256
        painted = Image.new("RGB", size, (request.seed % 256, green, request.settings.get("blue", self.blue)))
        if request.source is None:
            return painted
        changed = Image.new("L", size)
        changed.paste(255, (0, self.size // 2, *size))
        if request.mask is not None:
            changed = request.mask.convert("L").resize(size, Image.Resampling.NEAREST)
        return Image.composite(painted, request.source.convert("RGB").resize(size), changed)


class NoSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing to set."""


class Ranker:
    """Prefers red pictures, whatever the prompt."""

    def __init__(self, settings: NoSettings) -> None: ...

    def score(self, prompt: str, images: Sequence[Image.Image]) -> list[float]:
        return [float(image.convert("RGB").resize((1, 1)).tobytes()[0]) for image in images]


class Captioner:
    """Says how large a picture is; the n captions differ."""

    def __init__(self, settings: NoSettings) -> None: ...

    def caption(self, images: Sequence[Image.Image], n: int, *, seed: int) -> list[list[str]]:
        return [[f"{image.width} by {image.height} pixels, caption {i}" for i in range(n)] for image in images]


class EmbedderSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    width: Annotated[int, Meta(description="numbers in an embedding", ge=1)] = 16


class Embedder:
    """Random unit vectors, always the same for the same text or picture."""

    def __init__(self, settings: EmbedderSettings) -> None:
        self.width = settings.width

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        return self._vectors(text.encode() for text in texts)

    def embed_images(self, images: Sequence[Image.Image]) -> Tensor:
        return self._vectors(image.convert("RGB").tobytes() for image in images)

    def _vectors(self, contents: Iterator[bytes]) -> Tensor:
        import torch

        vectors = [torch.empty(0, self.width)]
        for content in contents:
            random = torch.Generator().manual_seed(zlib.crc32(content))
            vectors.append(torch.randn(1, self.width, generator=random))
        return torch.nn.functional.normalize(torch.cat(vectors), dim=1)


class AudioEmbedder(Embedder):
    """Sounds among the vectors of texts: a sound of s seconds lies where the text "s seconds" does."""

    def __init__(self, settings: EmbedderSettings) -> None:
        super().__init__(settings)
        self.space = parts.space("toy-vectors", settings)

    def embed_audio(self, clips: Sequence[AudioClip]) -> Tensor:
        return self.embed_texts([f"{clip.seconds:g} seconds" for clip in clips])


class ColoursSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    shift: Annotated[float, Meta(description="added to red, green and blue")] = 0.0
    batch: Annotated[int, Meta(description="pictures at once", ge=1)] = 8


class Colours:
    """A text is a colour's name, a picture its mean colour, a sound is redder the louder it is."""

    width = 3
    space = "colours"
    loaded = 0
    """How often a test has loaded it,"""
    calls: ClassVar[list[int]] = []
    """and how many pictures it has embedded in each call; a fixture sets both back."""

    def __init__(self, settings: ColoursSettings) -> None:
        Colours.loaded += 1
        self.shift = settings.shift

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        return self._vectors(ImageColor.getrgb(text) for text in texts)

    def embed_images(self, images: Sequence[Image.Image]) -> Tensor:
        Colours.calls.append(len(images))
        return self._vectors(image.resize((1, 1)).getpixel((0, 0)) for image in images)

    def embed_audio(self, clips: Sequence[AudioClip]) -> Tensor:
        return self._vectors((255 * abs(clip.samples).max(), 0, 40) for clip in clips)

    def _vectors(self, colours: Iterable[Any]) -> Tensor:
        import torch

        vectors = torch.stack([torch.tensor(colour, dtype=torch.float32) for colour in colours])
        return torch.nn.functional.normalize(vectors + self.shift, dim=1)


@hookimpl
def t2i_generators() -> list[Entry[Any]]:
    return [
        Entry("toy", "plain pictures, redder with the seed", GeneratorSettings, Generator),
        Entry("toy-painter", "plain pictures, or changed ones", PainterSettings, Painter, conditions=CONDITIONS),
    ]


@hookimpl
def t2i_rankers() -> list[Entry[Any]]:
    return [Entry("toy", "prefers red pictures", NoSettings, Ranker)]


@hookimpl
def t2i_captioners() -> list[Entry[Any]]:
    return [Entry("toy", "says how large a picture is", NoSettings, Captioner)]


@hookimpl
def t2i_embedders() -> list[Entry[Any]]:
    return [
        Entry("toy-vectors", "random vectors, the same for the same content", EmbedderSettings, Embedder),
        Entry("toy-audio", "the same, and sounds by their length", EmbedderSettings, AudioEmbedder, embeds_audio=True),
    ]
