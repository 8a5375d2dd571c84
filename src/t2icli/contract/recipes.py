"""What training needs of a backend: a `Recipe`, or a `Fit` for what is trained without steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor, nn

    from t2icli.data.dataset import PreparedDataset

Sample = TypeVar("Sample", covariant=True)


@dataclass(frozen=True)
class ParamGroup:
    """Parameters with the same optimizer settings; None means the loop's own setting."""

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


@runtime_checkable
class Captioned(Protocol):
    """Samples that can also tell their captions without being read, which `loop.similar` compares."""

    def captions_of(self, i: int, /) -> Sequence[str]: ...


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


@dataclass(frozen=True)
class Estimate:
    """What a training takes, computed before anything is loaded."""

    trained: int
    """Parameters that are trained."""
    memory: Mapping[str, int]
    """Bytes at the moment that takes the most, by what takes them: "weights", "activations"."""
    without_caption: str
    """As a `CaptionedRecipe` has it."""


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
    """What happens to a picture without one, to be read after "they are": "left out"."""


@runtime_checkable
class Fit(Protocol):
    """A recipe without steps, for what is trained by reading the captions once: a tokenizer.

    Its settings have no `loop`, and so none of the loop's flags.
    """

    def fit(self, captions: Iterable[str], folder: Path) -> None:
        """Learn, and write a sealed model folder."""
        ...
