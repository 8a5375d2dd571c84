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

from t2icli.contract.kinds import Generator, Ranker
from t2icli.pipelines.evaluate.distances import frechet

RANDOM = "random"
"""Stands for no ranker: the first candidate is taken."""


@dataclass(frozen=True)
class Shown:
    """What pictures show of what they were asked for, one number for each."""

    vessel: NDArray[np.float64]
    look: NDArray[np.float64]
    visible: NDArray[np.float64]
    """The share of the named ingredients that can be seen."""
    every: NDArray[np.float64]
    """1 where the vessel is right and every named ingredient can be seen."""
    fits: NDArray[np.float64]
    """1 where the picture fits its own name better than every other."""
    features: NDArray[np.float32]

    def __getitem__(self, rows: Any) -> Shown:
        return Shown(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


def shown(request: Request, others: Sequence[Request], seen: Seen) -> Shown:
    """Compare what the checker saw in pictures with what one request asked for."""
    dish, scores = request.dish, seen.scores
    named = [data.ingredients().index(key) for key in dish.ingredients]
    vessel = np.asarray([each == data.vessel(dish) for each in seen.vessels], float)
    look = (seen.looks.argmax(1) == list(data.looks()).index(data.look(dish))).astype(float)
    visible = (scores[:, named] > 0).mean(1)
    fits = _fits(request, others, seen)
    return Shown(vessel, look, visible, vessel * (visible == 1), fits, seen.features)


def _fits(request: Request, others: Sequence[Request], seen: Seen) -> NDArray[np.float64]:
    """By the likelihood of all that each dish shows and does not show, up to what is the same for every dish."""

    def likelihood(dish: Any) -> NDArray[np.float64]:
        look, present = data.labels(dish)
        return seen.looks[:, look] + seen.scores[:, present].sum(1)

    own = likelihood(request.dish)
    rest = [likelihood(other.dish) for other in others if _composition(other) != _composition(request)]
    return (own > np.max(rest, axis=0)).astype(float)


def _composition(request: Request) -> tuple[object, ...]:
    look, present = data.labels(request.dish)
    return look, *np.flatnonzero(present)


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


def percentages(chosen: Sequence[Shown]) -> dict[str, float]:
    """Every request counts once, however many pictures of it there are."""
    names = {"vessel": "vessel", "look": "look", "visible": "visible", "every": "every", "r_precision": "fits"}
    return {name: 100 * float(np.mean([getattr(each, of).mean() for each in chosen])) for name, of in names.items()}


def best_of(counts: Sequence[int], n: int) -> list[int]:
    return [k for k in counts if k <= n]


def pairs(rankers: Sequence[str], counts: Sequence[int]) -> list[tuple[str, int]]:
    """Who chooses, from how many: without a ranker there is nothing to choose from more than one."""
    return [(RANDOM, 1), *itertools.product(rankers, [k for k in counts if k > 1])]
