"""What the parts of the tool promise each other: nine kinds of thing, and how a plugin announces one.

Tensors are float32 images in [0, 1] of shape (b, 3, h, w) and int64 codes of shape (b, n). At the outer
edge images are PIL, so that a plugin need not use torch at all.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image
    from pyarrow import Table
    from torch import Tensor, nn

    from t2icli.data.dataset import PreparedDataset, SourceRow
    from t2icli.store.models import Card

T = TypeVar("T")
Sample = TypeVar("Sample", covariant=True)
Size = Literal["tiny", "small", "base"]
"""How large a model to train: for two cores, for many cores, for one GPU."""


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
    """Settings in, the thing out. Heavy imports happen in here, see `lazily`."""
    convert: Callable[[Upstream, Path], None] | None = None
    """Turn upstream files into a model folder: `t2i models import FILE --as NAME`."""
    adopt: Callable[[Path], Card] | None = None
    """Use a repository of a model hub as it is: the card for a folder of its files, which keep the hub's names.

    It is asked before weights are downloaded: the small files are there, weights may be missing. So it reads the
    configuration, imports nothing heavy, and refuses with a `T2IError` what this backend cannot load. Source, licence
    and hashes are added by the caller. `t2i models pull hf:OWNER/NAME --as NAME`, `t2i models import FOLDER --as NAME`.
    """
    hears: bool = False
    """Of an embedder: it is an `AudioEmbedder`, and `--audio` may use it."""
    wanted: tuple[str, ...] = ()
    """Patterns of the files of a repository that `convert` takes, where those at its top are not the right ones; of
    `"this.safetensors|that.bin"` the first that is there."""
    sizes: Mapping[Size, Mapping[str, Any]] = field(default_factory=dict)
    """Of a recipe: the settings that make each size, in place of the defaults; those are `--size original`. No sizes
    mean one size. A setting whose default is none may not be among them, except for `loop.max_steps`."""
    conditions: Collection[str] = ()
    """Of a generator: the pictures it takes beside a prompt, names in `contract.requests.CONDITIONS`. They are in
    `Abilities.conditions` too; here they are known before anything is loaded."""


def lazily(place: str) -> Callable[..., Any]:
    """A function or class that is imported only when it is called: `load=lazily("t2i_noise.noise:Noise")`.

    So the module of a plugin stays quick to import, and what needs torch is in a module beside it.
    """
    return partial(_call, place)


def _call(place: str, *arguments: Any) -> Any:
    return pkgutil.resolve_name(place)(*arguments)


@dataclass(frozen=True)
class Command:
    """A command of `t2i`, listed by name without its module being imported."""

    name: str
    about: str
    """One line for the list of commands: the first of its help."""
    function: str
    """`module:name` of a function whose annotations Typer reads, or of a `typer.Typer` of several commands."""
    panel: str = "Commands of plugins"
    """The heading that it is listed under."""


@dataclass(frozen=True)
class RemoteFile:
    """A file a model is made from, and where it can be had."""

    urls: tuple[str, ...]
    sha256: str | None
    """None only where upstream never published one: then the first download is trusted and noted."""
    size: int | None = None
    name: str | None = None
    """What to call the file here, where its address does not say: `model.yaml`."""
    git: str | None = None
    """Git's own hash of the file, which a hub gives for those that it does not keep by sha256."""


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
    repository: str = ""
    """In place of `files`, a repository of a model hub: `hf:OWNER/NAME`, `hf:OWNER/NAME@REVISION`, `ms:OWNER/NAME`."""
    wanted: tuple[str, ...] = ()
    """Patterns of the files of the repository, where the usual ones are not the right ones."""
    variant: str | None = None
    """The number format of the weights, where the repository has several: `fp16`."""
    kind: str | None = None
    """What it becomes, for the list."""
    size: int | None = None
    """Bytes to download from the repository, about, where they are known."""
    chinese: bool | None = None
    """Whether it reads, or writes, Chinese; None where that is not known."""
    is_noncommercial: bool = False
    """Whether the licence forbids commercial use."""
    parts: Mapping[str, tuple[RemoteFile, ...]] | None = None
    words: Callable[[], Collection[str]] | None = None
    """The words, in lower case, of the captions it was trained on, where they are few enough to be listed: a prompt
    with others is drawn with a note."""

    @property
    def can_be_pulled(self) -> bool:
        """Whether there is an address; else its files have to be got by other means and imported."""
        return bool(self.files or self.repository)


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
class Clip:
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

    No kind of its own: it is announced as an embedder, with `Entry.hears`.
    """

    space: str
    """Whose vectors its own can be compared with: `registry.parts.space` of the embedder that it learnt from."""

    def embed_audio(self, clips: Sequence[Clip]) -> Tensor:
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


@dataclass(frozen=True)
class ParamGroup:
    """Parameters that are optimised alike; None means the loop's own setting."""

    parameters: Sequence[nn.Parameter]
    weight_decay: float | None = None
    lr_scale: float = 1.0
    hidden: bool = False
    """Matrices from hidden features to hidden features, which the optimizer muon takes; no embeddings, no outputs."""


Figures = Mapping[str, "float | Tensor"]
"""Numbers to log. Tensors are detached single values; leaving them as tensors spares a GPU the wait."""


@dataclass(frozen=True)
class Turn:
    """One optimizer's part of a training step: most recipes have one, a GAN two."""

    name: str
    groups: Sequence[ParamGroup]
    loss: Callable[[Any, int], tuple[Tensor, Figures]]
    """A batch and the number of the step in; the loss, a mean over the batch, and the figures to log out.

    Gradients reach this turn's parameters only, and are averaged over processes. The first turn's loss is
    also the one evaluated on held-out data: in eval mode, under `no_grad`.
    """
    after: Callable[[], None] | None = None
    """Called after this turn's optimizer step: to move a momentum encoder, fill a queue, clamp a scale."""


class Samples(Protocol[Sample]):
    """What training reads: a list, or a map-style dataset of torch's."""

    def __len__(self) -> int: ...
    def __getitem__(self, i: int, /) -> Sample: ...


@dataclass(frozen=True)
class Frozen:
    """A part that is not trained, run over the whole data once before the first step; results are cached."""

    name: str
    """How `Recipe.dataset` finds the results: `encoded["codes"]`."""
    identity: str
    """Whatever changes the results, in one string: the part's sha256, the transform and its size."""
    samples: Callable[[PreparedDataset], Samples[Any]]
    """What goes in, read by the loader's workers and collated into batches."""
    run: Callable[[Any], Tensor]
    """A batch in, (b, ...) results out, on any device, in the type they are to be stored in."""
    views: int = 1
    """How often each sample is read, with other random numbers each time (random crops); above 1 the
    results are (views, n, ...), else (n, ...)."""


@runtime_checkable
class Recipe(Protocol):
    """What training needs to know of a backend; the loop itself is `t2icli.training.loop`.

    The settings of a recipe's entry have a field `loop: LoopSettings` (`t2icli.training.settings`): by it `t2i train`
    distinguishes a `Recipe` from a `Fit` before it loads either.
    The loop seeds torch, `random` and numpy before each sample, from (seed, sample, epoch), and before each
    loss, from (seed, step, process): draw from the global generators, and a resumed run draws the same.
    """

    @property
    def model(self) -> nn.Module:
        """All that must survive a resume, as parameters and buffers: also a discriminator or a queue. The
        loop moves it to the device and switches it between train and eval. Parts that are not trained stay
        outside. Call `model(...)` itself in the loss, so that its hooks run (FSDP needs them); or its method `loss`
        (`LossModel`)."""
        ...

    def frozen(self) -> Sequence[Frozen]:
        """The parts to run once; an empty tuple where there are none."""
        ...

    def dataset(self, data: PreparedDataset, split: str, encoded: Mapping[str, Tensor]) -> Samples[Any]:
        """Map-style samples that torch's default collate can batch.

        `data` is already the part called `split` ("train" or "val"); `encoded` holds, by name, what
        `frozen()` gave for it: memory-mapped tensors in the order of its samples.
        """
        ...

    def turns(self) -> Sequence[Turn]:
        """Called once, when `model` is on its device."""
        ...

    def preview(self, batch: Any, *, seed: int) -> Sequence[Image]:
        """Pictures of how far it has come, drawn by the same code as `t2i generate`; may be empty.

        The batch is one of held-out samples, as the loss gets it. Called in eval mode, without gradients.
        """
        ...

    def save(self, folder: Path) -> None:
        """Write `model` as a sealed model folder, parts included. The loop adds source and versions."""
        ...


@runtime_checkable
class LossModel(Protocol):
    """A recipe's `model` with a method `loss` that is called in place of the module itself."""

    def loss(self, *args: Any, **kwargs: Any) -> Any: ...


@runtime_checkable
class CaptionedRecipe(Recipe, Protocol):
    """A recipe that learns from captions: refused without any; the number of pictures without one is reported.

    No kind of its own: such a recipe simply has this attribute too.
    """

    without_caption: str
    """What becomes of a picture without one, to be read after "they are": "left out"."""


@runtime_checkable
class Fit(Protocol):
    """A recipe without steps, for what is learnt by reading the captions once: a tokenizer.

    Its settings have no `loop`, and so none of the loop's flags.
    """

    def fit(self, captions: Iterable[str], folder: Path) -> None:
        """Learn, and write a sealed model folder."""
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
