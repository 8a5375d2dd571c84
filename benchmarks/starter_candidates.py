"""Candidates of a generator in the eyes of rankers and of the checker, and what choosing the best of them comes to."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import starter_data as data
from numpy.typing import NDArray
from PIL import Image
from starter_checker import Judge, Seen
from starter_data import Request

from t2i_starter.servings import Serving
from t2icli.contract.kinds import Generator, Ranker
from t2icli.pipelines.evaluate.distances import frechet

RANDOM = "random"
"""Stands for no ranker: the first candidate is taken."""


@dataclass(frozen=True)
class Shown:
    """What pictures show of what they were asked for, one number for each."""

    vessel: NDArray[np.float64]
    colour: NDArray[np.float64]
    """1 where the vessel has the colour that was asked for, or none was."""
    count: NDArray[np.float64]
    visible: NDArray[np.float64]
    """The share of the named ingredients that can be seen."""
    every: NDArray[np.float64]
    """1 where all of this is right and every named ingredient can be seen."""
    strange: NDArray[np.float64]
    """How many ingredients can be seen that nobody asked for."""
    fits: NDArray[np.float64]
    """1 where the picture fits its own name better than every other."""
    features: NDArray[np.float32]

    def __getitem__(self, rows: Any) -> Shown:
        return Shown(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


def shown(request: Request, others: Sequence[Request], seen: Seen) -> Shown:
    """Compare what the checker saw in pictures with what one request asked for."""
    serving, found = request.serving, seen.scores > 0
    named = [data.ingredients().index(key) for key in serving.dish.ingredients]
    there = [data.ingredients().index(key) for key in data.drawn(serving.dish)]
    vessel = _is(seen, "vessel", data.vessel(serving))
    colour = _is(seen, "colour", serving.colour) if serving.colour else np.ones_like(vessel)
    count = _is(seen, "count", str(serving.count))
    visible = found[:, named].mean(1)
    every = vessel * colour * count * (visible == 1)
    strange = np.delete(found, there, axis=1).sum(1).astype(float)
    return Shown(vessel, colour, count, visible, every, strange, _fits(request, others, seen), seen.features)


def _is(seen: Seen, aspect: str, value: str) -> NDArray[np.float64]:
    return np.asarray([each == value for each in seen.which(aspect)], float)


def _fits(request: Request, others: Sequence[Request], seen: Seen) -> NDArray[np.float64]:
    """By the likelihood of all that each dish shows and does not show, up to what is the same for every dish."""

    def likelihood(serving: Serving) -> NDArray[np.float64]:
        places, present = data.labels(serving)
        said = [name for name in places if name != "colour" or serving.colour]
        return sum(seen.aspects[name][:, places[name]] for name in said) + seen.scores[:, present].sum(1)

    own = likelihood(request.serving)
    rest = [likelihood(other.serving) for other in others if _composition(other) != _composition(request)]
    return (own > np.max(rest, axis=0)).astype(float)


def _composition(request: Request) -> tuple[object, ...]:
    places, present = data.labels(request.serving)
    return (*places.values(), *np.flatnonzero(present))


@dataclass
class Clock:
    """CPU seconds, which a busy machine changes little, by what they were spent on."""

    seconds: dict[str, float] = field(default_factory=dict)

    def time(self, name: str, work: Callable[[], Any]) -> Any:
        begun = time.process_time()
        done = work()
        self.seconds[name] = self.seconds.get(name, 0) + time.process_time() - begun
        return done


@dataclass(frozen=True)
class Candidates:
    """Those of one request."""

    shown: Shown
    by_ranker: Mapping[str, NDArray[np.float64]]
    images: Sequence[Image.Image] = ()

    def chosen(self, ranker: str, k: int) -> list[int]:
        """The best of the first k, of the next k, and so on."""
        starts = range(0, len(self.shown.vessel) - k + 1, k)
        if ranker == RANDOM:
            return list(starts)
        scores = self.by_ranker[ranker]
        return [start + int(np.argmax(scores[start : start + k])) for start in starts]


def candidates(
    generator: Generator,
    request: Request,
    others: Sequence[Request],
    n: int,
    rankers: Mapping[str, Ranker],
    judge: Judge,
    *,
    clock: Clock,
    seed: int = 0,
    keep: bool = False,
) -> Candidates:
    """n pictures of one request, scored and judged; the pictures themselves are kept on request."""
    prompt = request.prompt
    images = clock.time("drawing", lambda: list(generator.generate(prompt, n, seed=seed)))
    scores = {
        name: np.asarray(clock.time(name, lambda ranker=ranker: ranker.score(prompt, images)))
        for name, ranker in rankers.items()
    }
    return Candidates(shown(request, others, judge.see(images)), scores, images if keep else ())


def distance(drawn: Sequence[Candidates], ranker: str, k: int, real: NDArray[np.float32]) -> float:
    """The Frechet distance from true renderings of one picture for each request: the ranker's best of its first k."""
    first = [each.shown.features[each.chosen(ranker, k)[0]] for each in drawn]
    return frechet(np.stack(first), real)


FIGURES = {"vessel": "vessel", "visible": "visible", "every": "every", "r_precision": "fits"}


def percentages(chosen: Sequence[Shown]) -> dict[str, float]:
    """Every request counts once, however many pictures of it there are."""

    def mean(name: str) -> float:
        return float(np.mean([getattr(each, name).mean() for each in chosen]))

    return {name: 100 * mean(of) for name, of in FIGURES.items()} | {"strange": mean("strange")}


def obeyed(asked: Sequence[Request], chosen: Sequence[Shown]) -> dict[str, float]:
    """How often the colour is right where one was asked for, and the count where it is not one."""
    pairs = list(zip(asked, chosen, strict=True))
    colours = [each.colour.mean() for request, each in pairs if request.serving.colour]
    counts = [each.count.mean() for request, each in pairs if request.serving.count > 1]
    return {name: 100 * float(np.mean(each)) for name, each in (("colour", colours), ("count", counts)) if each}


def best_of(counts: Sequence[int], n: int) -> list[int]:
    return [k for k in counts if k <= n]


def pairs(rankers: Sequence[str], counts: Sequence[int]) -> list[tuple[str, int]]:
    """Who chooses, from how many: without a ranker there is nothing to choose from more than one."""
    return [(RANDOM, 1), *itertools.product(rankers, [k for k in counts if k > 1])]
