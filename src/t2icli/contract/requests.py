"""What a generator is asked for: pictures, each with its own prompt, seed, settings and conditions, many in one call.

A generator that can draw pictures of different prompts together offers `draw` (`BatchGenerator`). A plugin that only
offers `generate(prompt, n, *, seed)` takes part through `drawing`, which turns runs of requests into such calls.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, runtime_checkable

from t2icli.contract.kinds import Embedder, Generator
from t2icli.ground.errors import T2IError
from t2icli.ground.watch import Watch, unwatched

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

T = TypeVar("T")
CONDITIONS: Mapping[str, str] = {"like": "--like", "source": "--from", "mask": "--mask", "embedding": "--audio"}
"""What a picture may depend on besides its prompt: the field of `Request`, and the flag of `t2i generate`."""


@dataclass(frozen=True)
class Request:
    """One picture. It depends on these values and on the generator's settings alone, whatever else is drawn with it."""

    prompt: str
    seed: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    """In place of the generator's own, for this picture alone: settings marked with `PER_PICTURE`, already converted
    (`registry.settings.for_one_picture`)."""
    like: Image | None = None
    """A picture that takes the place of the prompt."""
    source: Image | None = None
    """A picture to start from."""
    mask: Image | None = None
    """White where `source` is to be changed."""
    embedding: Tensor | None = None
    """A unit vector, (width,), that takes the place of the prompt and of `like`: see `EmbeddingGenerator`."""

    @property
    def conditions(self) -> frozenset[str]:
        return frozenset(name for name in CONDITIONS if getattr(self, name) is not None)

    @property
    def own_settings(self) -> tuple[tuple[str, Any], ...]:
        """The same for requests that may be drawn in one batch."""
        return tuple(sorted(self.settings.items()))


@dataclass(frozen=True)
class Abilities:
    """What a generator can draw."""

    conditions: frozenset[str] = frozenset()
    """Names among `CONDITIONS`."""
    sizes: tuple[tuple[int, int], ...] = ()
    """Width and height of its pictures; the first is the usual one. Empty if they are not known in advance."""


@runtime_checkable
class BatchGenerator(Generator, Protocol):
    """A generator that draws pictures of different prompts together."""

    @property
    def abilities(self) -> Abilities: ...

    def draw(self, requests: Iterable[Request], watch: Watch = unwatched) -> Iterator[Image]:
        """One picture for each request, in their order; requests are read as they are needed.

        `watch` follows steps and previews, and may raise to cancel: the generator is then as good as new.
        """
        ...


@runtime_checkable
class EmbeddingGenerator(BatchGenerator, Protocol):
    """A generator that draws what an embedding says, be it that of a text, a picture, a sound, or a mixture.

    No kind of its own: such a generator has these attributes, and "embedding" among its conditions.
    """

    embedder: Embedder
    """The embedder whose vectors it was trained to draw from."""
    space: str
    """`registry.parts.space` of the embedder: vectors of another space are refused."""


def drawing(generator: Generator) -> BatchGenerator:
    """Any generator as one that takes requests."""
    return generator if isinstance(generator, BatchGenerator) else _OnePromptAtATime(generator)


@dataclass(frozen=True)
class _OnePromptAtATime:
    """A generator that offers `generate` alone. Each of its pictures is one step."""

    generator: Generator
    abilities: Abilities = Abilities()

    def generate(self, prompt: str, n: int, *, seed: int) -> Iterator[Image]:
        return self.generator.generate(prompt, n, seed=seed)

    def draw(self, requests: Iterable[Request], watch: Watch = unwatched) -> Iterator[Image]:
        for first, n in _runs(requests):
            watch.step(0, 1)
            images = self._begun(first, n)
            for done in range(n):
                image = next(images, None)
                if image is None:
                    raise T2IError(f"the generator gave {done} pictures instead of {n}", code=1)
                watch.step(1, 1)
                yield image
            if next(images, None) is not None:
                raise T2IError(f"the generator gave more than {n} pictures", code=1)

    def _begun(self, first: Request, n: int) -> Iterator[Image]:
        """The pictures to come, or an error that names what is wrong with the generator's method."""
        try:
            return iter(self.generator.generate(first.prompt, n, seed=first.seed))
        except TypeError as error:
            raise T2IError(
                f"the generator does not do what its kind promises: {error}", "add --debug to see where", code=1
            ) from error


RUN = 64
"""Pictures asked of `generate` in one call at most, so that a run of any length needs no more memory."""


def _runs(requests: Iterable[Request]) -> Iterator[tuple[Request, int]]:
    """The first of each run of one prompt whose seeds count upwards, and how many there are."""
    first, n = None, 0
    for request in requests:
        check(request, Abilities(), "this generator")
        if request.settings:
            raise T2IError(f"this generator cannot set {', '.join(request.settings)} for one picture", code=1)
        if first is not None and n < RUN and (request.prompt, request.seed) == (first.prompt, first.seed + n):
            n += 1
            continue
        if first is not None:
            yield first, n
        first, n = request, 1
    if first is not None:
        yield first, n


def numbered(request: Request, n: int) -> Iterator[Request]:
    """n requests like this one, with seeds counting upwards from its own."""
    return (replace(request, seed=request.seed + i) for i in range(n))


def check(
    request: Request,
    abilities: Abilities,
    owner: str,
    generators: Callable[[str], Collection[str]] = lambda condition: (),
) -> None:
    """Whether a generator can draw this at all; `generators` names those that take a condition."""
    for name in sorted(request.conditions - abilities.conditions):
        known = " and ".join(flag for each, flag in CONDITIONS.items() if each in abilities.conditions)
        takes = f"{owner} takes {known} besides a prompt" if known else f"{owner} takes only a prompt"
        if others := ", ".join(sorted(generators(name))):
            hint = f"{takes}; generators that take {CONDITIONS[name]}, to choose with -m: {others}"
        else:
            hint = f"{takes}; no installed generator takes {CONDITIONS[name]}"
        raise T2IError(f"{owner} cannot draw with {CONDITIONS[name]}", hint)
    if request.mask is not None and request.source is None:
        raise T2IError("--mask needs a picture to change", "add --from IMAGE")


class Readings(Generic[T]):
    """A generator's encodings of prompts and conditions, once for requests that share them in neighbouring blocks.

    Pictures are compared by identity. Nothing older than the last block is kept.
    """

    def __init__(self, read: Callable[[Request], T]) -> None:
        self.read = read
        self.last: dict[tuple[Any, ...], tuple[Request, T]] = {}  # the request keeps its pictures, and so their ids

    def __call__(self, requests: Sequence[Request]) -> list[T]:
        keys = [(request.prompt, *(id(getattr(request, name)) for name in CONDITIONS)) for request in requests]
        readings: dict[tuple[Any, ...], tuple[Request, T]] = {}
        for key, request in zip(keys, requests, strict=True):
            if key not in readings:
                readings[key] = self.last.get(key) or (request, self.read(request))
        self.last = readings
        return [readings[key][1] for key in keys]
