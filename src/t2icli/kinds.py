"""What the parts of the tool promise each other: eight kinds of thing, and how a plugin announces one.

Tensors are float32 images in [0, 1] of shape (b, 3, h, w) and int64 codes of shape (b, n). At the outer
edge images are PIL, so that a plugin need not use torch at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, runtime_checkable

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor, nn
    from torch.utils.data import Dataset

    from t2icli.dataset import PreparedDataset, SourceRow

T = TypeVar("T")


@dataclass(frozen=True)
class Upstream:
    """Files of another project that are to become a model of ours."""

    files: tuple[Path, ...]
    parts: Mapping[str, tuple[Path, ...]]
    """Files of the parts that travel separately, by the part's name: `--codec FILE`."""


@dataclass(frozen=True)
class Entry(Generic[T]):
    """One thing a plugin offers: how it is called, how it is set, how it is loaded."""

    name: str
    """What the user types: `dalle`."""
    about: str
    """One line for lists and help."""
    settings: type
    """A frozen `msgspec.Struct`; importing it must stay cheap."""
    load: Callable[[Any], T]
    """Settings in, the thing out. Heavy imports happen in here."""
    convert: Callable[[Upstream, Path], None] | None = None
    """Turn upstream files into a model folder: `t2i models import FILE --as NAME`."""


@dataclass(frozen=True)
class RemoteFile:
    """A file a model is made from, and where it can be had."""

    urls: tuple[str, ...]
    sha256: str | None
    """None only where upstream never published one: then the first download is trusted and noted."""
    size: int | None = None


@dataclass(frozen=True)
class ModelSource:
    """A model a plugin knows where to find: shipped in a folder of its own, or to be downloaded."""

    name: str
    """`backend/what`: `clipgen/coco`."""
    about: str
    licence: str
    folder: Path | None = None
    """A finished model folder inside the plugin."""
    files: tuple[RemoteFile, ...] = ()
    """Upstream files, converted after download."""
    parts: Mapping[str, tuple[RemoteFile, ...]] | None = None


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
class Codec(Protocol):
    """Images to a grid of discrete codes and back."""

    codes: int
    """How many different codes there are."""
    grid: tuple[int, int]
    """Rows and columns of codes in one image."""

    def encode(self, images: Tensor) -> Tensor:
        """(b, 3, h, w) in [0, 1] -> (b, n) codes in raster order."""
        ...

    def decode(self, codes: Tensor) -> Tensor: ...


@runtime_checkable
class Generator(Protocol):
    """A prompt to images."""

    def generate(self, prompt: str, n: int, *, seed: int) -> Iterator[Image]:
        """Exactly n images; image i depends on the prompt, the settings and `seed + i` alone."""
        ...


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
        """n captions for each image."""
        ...


@runtime_checkable
class DatasetPreparer(Protocol):
    """Where picture-text pairs come from."""

    def rows(self, source: Path) -> Iterator[SourceRow]: ...


@dataclass(frozen=True)
class ParamGroup:
    """Parameters that are optimised alike; None means the loop's own setting."""

    parameters: Sequence[nn.Parameter]
    weight_decay: float | None = None
    lr_scale: float = 1.0


@dataclass(frozen=True)
class Turn:
    """One optimizer's part of a training step: most recipes have one, a GAN two."""

    name: str
    groups: Sequence[ParamGroup]
    loss: Callable[[Any], tuple[Tensor, dict[str, float]]]
    """A batch in; the loss and the figures to log out."""


@runtime_checkable
class Recipe(Protocol):
    """What training needs to know of a backend; the loop itself is `t2icli.training.loop`."""

    model: nn.Module

    def dataset(self, data: PreparedDataset, split: str) -> Dataset[Any]: ...
    def turns(self) -> Sequence[Turn]: ...

    def preview(self, batch: Any, *, seed: int) -> Sequence[Image]:
        """Pictures of how far it has come; may be empty."""
        ...

    def save(self, folder: Path) -> None:
        """Write `model` as a model folder."""
        ...


KINDS: Mapping[str, type] = {
    "tokenizer": Tokenizer,
    "embedder": Embedder,
    "codec": Codec,
    "generator": Generator,
    "ranker": Ranker,
    "captioner": Captioner,
    "recipe": Recipe,
    "dataset": DatasetPreparer,
}
"""Every kind by the name used in commands; its hook is `t2i_` + name + `s`."""
