"""What the parts of the tool promise each other: the nine kinds.

Tensors are float32 images in [0, 1] of shape (b, 3, h, w) and int64 codes of shape (b, n). At the outer
edge images are PIL, so that a plugin need not use torch at all.
"""

from __future__ import annotations

import contextlib
import gc
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from t2icli.contract.entries import Entry
from t2icli.contract.recipes import Fit, Recipe
from t2icli.ground.errors import T2IError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image
    from pyarrow import Table
    from torch import Tensor

    from t2icli.data.dataset import SourceRow


@runtime_checkable
class Tokenizer(Protocol):
    """Text to ids and back."""

    vocabulary: int
    padding: int

    def encode(self, texts: Sequence[str], length: int) -> Tensor:
        """(b, length) ids, padded; a text that had to be cut is reported by a warning."""
        ...

    def decode(self, tokens: Tensor) -> list[str]: ...


@runtime_checkable
class Embedder(Protocol):
    """Texts and images to unit vectors in one space."""

    width: int

    def embed_texts(self, texts: Sequence[str]) -> Tensor: ...
    def embed_images(self, images: Sequence[Image]) -> Tensor: ...


@runtime_checkable
class FeatureEmbedder(Embedder, Protocol):
    """An embedder that also gives its image features before they are brought to length 1.

    No kind of its own: models of other projects that were trained on such features ask for this method.
    """

    def image_features(self, images: Sequence[Image]) -> Tensor: ...


@runtime_checkable
class TokenEmbedder(Embedder, Protocol):
    """An embedder that also gives its text tower's output for each token.

    No kind of its own: a model that reads more of a text than one vector asks for this method.
    """

    def embed_tokens(self, texts: Sequence[str]) -> Tensor:
        """(b, length, any width), zeros from where a text has ended."""
        ...


@runtime_checkable
class PatchEmbedder(Embedder, Protocol):
    """An embedder that also gives its image tower's features of each patch, before they are pooled.

    No kind of its own: a model that reads more of a picture than one vector asks for this method.
    """

    patches: tuple[int, int]
    """How many patches a picture has, and the width of their features."""

    def embed_patches(self, images: Sequence[Image]) -> Tensor:
        """(b, patches, width) in raster order, on any scale."""
        ...


Box = Sequence[float]
"""x1 y1 x2 y2, in pixels of its picture."""


@runtime_checkable
class BoxEmbedder(Embedder, Protocol):
    """An embedder that also looks at parts of a picture.

    No kind of its own: what is measured on data with boxes asks for this method.
    """

    def embed_boxes(self, images: Sequence[Image], boxes: Sequence[Sequence[Box]]) -> Tensor:
        """As `embed_images`, with the boxes of every picture, of which there may be none."""
        ...


@dataclass(frozen=True, eq=False)
class AudioClip:
    """A sound of one channel; `t2icli.sounds.clips` opens and resamples them."""

    samples: NDArray[np.float32]
    """(n,), about [-1, 1]."""
    rate: int
    """Samples a second."""

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate


@runtime_checkable
class AudioEmbedder(Embedder, Protocol):
    """An embedder in whose space sounds have a place too.

    No kind of its own: it is announced as an embedder, with `Entry.embeds_audio`.
    """

    space: str
    """Whose vectors its own can be compared with: `registry.parts.space` of the embedder that it was trained with."""

    def embed_audio(self, clips: Sequence[AudioClip]) -> Tensor:
        """Unit vectors (b, width), each of its own clip alone."""
        ...


@runtime_checkable
class Codec(Protocol):
    """Images to a grid of discrete codes and back."""

    codes: int
    """How many different codes there are."""
    grid: tuple[int, int]
    """Rows and columns of codes in one image."""
    size: tuple[int, int]
    """Height and width of an image in pixels."""

    def encode(self, images: Tensor) -> Tensor:
        """(b, 3, h, w) in [0, 1] -> (b, n) codes in raster order."""
        ...

    def decode(self, codes: Tensor) -> Tensor: ...


@runtime_checkable
class LatentCodec(Protocol):
    """Images to a map of continuous latents and back.

    No kind of its own: a `Codec` that has a latent space offers these methods too, a codec without codes offers them
    alone. Generators that draw latents ask for them.
    """

    size: tuple[int, int]
    """Height and width of an image in pixels."""
    latent_shape: tuple[int, int, int]
    """Channels, rows and columns of one image's latents."""

    def encode_latents(self, images: Tensor) -> Tensor:
        """(b, 3, h, w) in [0, 1] -> (b, channels, rows, columns), on any scale."""
        ...

    def decode_latents(self, latents: Tensor) -> Tensor:
        """Also of latents that no image has: a generator's come near its own only."""
        ...


@runtime_checkable
class Generator(Protocol):
    """A prompt to images."""

    def generate(self, prompt: str, n: int, *, seed: int) -> Iterator[Image]:
        """Exactly n images; image i depends on the prompt, the settings and `seed + i` alone."""
        ...


@runtime_checkable
class PreciseGenerator(Generator, Protocol):
    """A generator that says which number format it computes in, so that `t2i replay` can set its `precision` to that.

    No kind of its own: a generator that can compute in several has this attribute, and a setting of the same name.
    """

    precision: str


@runtime_checkable
class Ranker(Protocol):
    """How well images fit a prompt."""

    def score(self, prompt: str, images: Sequence[Image]) -> list[float]:
        """One finite number per image, higher fits better, whatever the order of the images."""
        ...


@runtime_checkable
class Captioner(Protocol):
    """Images to sentences."""

    def caption(self, images: Sequence[Image], n: int, *, seed: int) -> list[list[str]]:
        """n captions for each image; those of image i depend on that image, the settings and `seed + i` alone."""
        ...


@runtime_checkable
class DatasetPreparer(Protocol):
    """Where picture-text pairs come from."""

    def rows(self, source: Path) -> Iterator[SourceRow]: ...


@runtime_checkable
class ColumnPreparer(DatasetPreparer, Protocol):
    """A source that can also hand over whole columns, without an object for every row.

    No kind of its own: `t2i prepare` reads millions of rows a minute from a source with this method.
    """

    def columns(self, source: Path) -> Iterator[Table | list[SourceRow]]:
        """The same rows: arrow tables with the texts `image` (an address or a path) and `caption`, or lists."""
        ...


@runtime_checkable
class Metric(Protocol):
    """How unlike two pictures look; differentiable, so that networks can be trained to make it small."""

    name: str
    """What figures made with it are called in logs and tables."""

    def distance(self, images: Tensor, others: Tensor) -> Tensor:
        """Two batches (b, 3, h, w), about [0, 1] -> (b,); 0 for equal ones."""
        ...


KINDS: Mapping[str, type | tuple[type, ...]] = {
    "tokenizer": Tokenizer,
    "embedder": Embedder,
    "codec": (Codec, LatentCodec),
    "generator": Generator,
    "ranker": Ranker,
    "captioner": Captioner,
    "recipe": (Recipe, Fit),
    "dataset": DatasetPreparer,
    "metric": Metric,
}
"""Every kind by the name used in commands; its hook is `t2i_` + name + `s`."""


def loaded(kind: str, entry: Entry[Any], chosen: Any) -> Any:
    """What `entry.load` gives; an error names what a plugin's thing lacks, before it is used."""
    with _uncollected():
        thing = entry.load(chosen)
    if missing := lacking(kind, thing):
        raise T2IError(
            f"{kind} {entry.name!r} lacks {missing}", "a bug in the plugin: see t2icli.contract.kinds", code=1
        )
    return thing


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Importing and loading make many objects that stay, and next to no garbage: looking for it takes 0.3 s."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def check_scores(ranker: str, scores: Sequence[float], images: int) -> None:
    """Whether a ranker has kept its promise: one finite number for each image."""
    if len(scores) != images or not all(map(math.isfinite, scores)):
        raise T2IError(f"ranker {ranker!r} did not give one number per image: {scores[:8]}", code=1)


def lacking(kind: str, thing: object) -> str:
    """What a thing does not have of its kind: `score (Ranker)`; empty where it has all."""
    known = KINDS[kind]
    if isinstance(thing, known):
        return ""
    promises = known if isinstance(known, tuple) else (known,)
    missing = {promise: [name for name in _members(promise) if not hasattr(thing, name)] for promise in promises}
    nearest = min(promises, key=lambda promise: len(missing[promise]))
    return f"{', '.join(missing[nearest])} ({nearest.__name__})"


def _members(promise: type) -> list[str]:
    """The attributes and methods that a protocol declares."""
    declared = [name for each in promise.__mro__[:-1] for name in (*vars(each).get("__annotations__", ()), *vars(each))]
    return sorted({name for name in declared if not name.startswith("_")})
