"""How well pictures fit their captions, by rankers: which pairs stay, and the score that each carries.

A score stands in the row's JSON as `scores.RANKER`, one for each caption. It is taken from there where the same ranker
with the same settings has given it in an earlier preparation.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

from t2icli.contract.kinds import Ranker, check_scores
from t2icli.ground.errors import T2IError
from t2icli.registry import discovery
from t2icli.registry.cosine import CosineRanker
from t2icli.registry.open import Choice, choose_several

if TYPE_CHECKING:
    from PIL.Image import Image

FIELD = "scores"
"""Of a row's JSON."""
REASON = "score-"
"""How the reason of a row that was dropped begins; the ranker follows."""
AT_ONCE = 64
"""Pictures given to a ranker in one call,"""
MOST_PIXELS = 64_000_000
"""if they do not have more than this between them: all are open at the same time."""
COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
CONDITION = re.compile(r"([^\s<>=]+)\s*(>=|<=|>|<)\s*([^\s<>=]+)")
AND = re.compile(r"\s+and\s+", re.IGNORECASE)
EXAMPLE = "write: brivl > 0.3, or several joined by and: brivl > 0.3 and clip >= 0.2"

Scores = dict[str, list[float]]
"""By the ranker's name, one for each caption."""


class Condition(NamedTuple):
    """What the score of a pair must be."""

    ranker: str
    comparison: str
    threshold: float

    def holds(self, score: float) -> bool:
        return COMPARISONS[self.comparison](score, self.threshold)

    def __str__(self) -> str:
        return f"{self.ranker} {self.comparison} {self.threshold:g}"


def parse(text: str) -> tuple[Condition, ...]:
    """The conditions of `brivl > 0.3 and clip >= 0.2`."""
    return tuple(map(_condition, AND.split(text.strip())))


def _condition(text: str) -> Condition:
    found = CONDITION.fullmatch(text.strip())
    if found is None:
        raise T2IError(f"--filter {text!r} is not a ranker, a comparison and a number", EXAMPLE)
    name, comparison, number = found.groups()
    try:
        threshold = float(number)
    except ValueError:
        threshold = math.nan
    if not math.isfinite(threshold):
        raise T2IError(f"--filter compares {name} with {number!r}, which is not a number", EXAMPLE)
    return Condition(name, comparison, threshold)


@dataclass(frozen=True)
class Scoring:
    """Which rankers score the pairs, and what their scores must be."""

    conditions: tuple[Condition, ...]
    rankers: Mapping[str, Choice]
    stored: frozenset[str] = frozenset()
    """Rankers whose scores the source's rows carry already."""

    @classmethod
    def of(
        cls,
        conditions: Sequence[Condition],
        noted: Iterable[str],
        options: Mapping[str, Any],
        stored: Mapping[str, str] | None = None,
    ) -> Scoring | None:
        """By the rankers of the conditions and those whose scores are only `noted`; None if there are none.

        `stored` has the identity of each ranker whose scores the source has.
        """
        names = [*(condition.ranker for condition in conditions), *noted]
        if options and not names:
            raise T2IError("ranker settings were given without a ranker", "add --filter or --score")
        rankers = {name: Choice.of("ranker", *each) for name, each in choose_several("ranker", names, options).items()}
        for condition in conditions:
            _check_range(condition)
        there = {name for name, choice in rankers.items() if (stored or {}).get(name) == choice.identity}
        return cls(tuple(conditions), rankers, frozenset(there)) if rankers else None

    @property
    def plan(self) -> dict[str, Any]:
        """What a plan notes of it."""
        rankers = ", ".join(f"{name} {identity[:16]}" for name, identity in self.identities.items())
        return {"filter": " and ".join(map(str, self.conditions)), "rankers": rankers}

    @property
    def identities(self) -> dict[str, str]:
        return {name: choice.identity for name, choice in self.rankers.items()}

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for two that ask for the same."""
        return self.conditions, tuple(self.identities.items()), self.stored

    def judge(self, scores: Scores, captions: int) -> tuple[list[int], str]:
        """The places of the captions that stay, and the ranker for which the first one does not."""
        failing = [self._failing(scores, place) for place in range(captions)]
        return [place for place, ranker in enumerate(failing) if not ranker], next(filter(None, failing), "")

    def _failing(self, scores: Scores, place: int) -> str:
        broken = (each.ranker for each in self.conditions if not each.holds(scores[each.ranker][place]))
        return next(broken, "")


def _check_range(condition: Condition) -> None:
    entry = condition.ranker.partition("/")[0]
    if entry in discovery.installed().offers["embedder"] and abs(condition.threshold) > 1:
        raise T2IError(f"--filter {str(condition)!r}: scores of {condition.ranker} are cosines, from -1 to 1")


class Pair(NamedTuple):
    """A picture and its captions."""

    image: Callable[[], Image]
    pixels: int
    captions: Sequence[str]
    extra: Mapping[str, Any]
    """What its row's JSON holds."""


class Scorer:
    """The rankers, loaded when the first of their scores is needed, and once however many threads ask."""

    def __init__(self, scoring: Scoring) -> None:
        self.scoring = scoring
        self._lock = Lock()
        self._loaded: dict[str, Ranker] = {}

    def __call__(self, pairs: Sequence[Pair]) -> list[Scores]:
        """The scores of every pair, and those that their rows carried before."""
        with self._lock:
            scores = [carried(pair.extra, len(pair.captions)) for pair in pairs]
            for name in self.scoring.rankers:
                lacking = [place for place, pair in enumerate(pairs) if not self._is_stored(name, scores[place])]
                new = self._scored(name, [pairs[place] for place in lacking]) if lacking else []
                for place, values in zip(lacking, new, strict=True):
                    scores[place][name] = values
        return scores

    def _is_stored(self, name: str, scores: Scores) -> bool:
        return name in self.scoring.stored and name in scores

    def _scored(self, name: str, pairs: Sequence[Pair]) -> list[list[float]]:
        if name not in self._loaded:
            self._loaded[name] = self.scoring.rankers[name].open().thing
        scores = [values for some in _together(pairs) for values in _scored(self._loaded[name], some)]
        for values, pair in zip(scores, pairs, strict=True):
            check_scores(name, values, len(pair.captions))
        return scores


def _scored(ranker: Ranker, pairs: Sequence[Pair]) -> list[list[float]]:
    return of_captions(ranker, [pair.captions for pair in pairs], [pair.image() for pair in pairs])


def _together(pairs: Iterable[Pair]) -> Iterator[list[Pair]]:
    """The pairs in lists whose pictures may be open at the same time."""
    some: list[Pair] = []
    for pair in pairs:
        if some and (len(some) == AT_ONCE or sum(each.pixels for each in some) + pair.pixels > MOST_PIXELS):
            yield some
            some = []
        some.append(pair)
    if some:
        yield some


def carried(extra: Mapping[str, Any], captions: int) -> Scores:
    """The scores that a row's JSON has for each of its captions."""
    scores = extra.get(FIELD)
    if not isinstance(scores, Mapping):
        return {}
    return {name: values for name, values in scores.items() if isinstance(values, list) and len(values) == captions}


def best(scores: Scores) -> list[tuple[str, float]]:
    """By ranker, the score of the caption that fits best."""
    return [(name, max(values)) for name, values in scores.items() if values]


def of_captions(ranker: Ranker, captions: Sequence[Sequence[str]], images: Sequence[Image]) -> list[list[float]]:
    """The score of each picture for each of its own captions."""
    if isinstance(ranker, CosineRanker):
        return ranker.score_captions(captions, images)
    asked: dict[str, list[int]] = {}
    for place, some in enumerate(captions):
        for caption in some:
            asked.setdefault(caption, []).append(place)
    found: dict[str, Iterator[float]] = {
        caption: iter(map(float, ranker.score(caption, [images[place] for place in places])))
        for caption, places in asked.items()
    }
    return [[next(found[caption], math.nan) for caption in some] for some in captions]
