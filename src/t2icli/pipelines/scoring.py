"""Judging pictures with one ranker or several: each score is taken as a distance from its ranker's mean."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from t2icli.contract.kinds import Ranker, check_scores
from t2icli.ground.errors import T2IError
from t2icli.pipelines import mixture
from t2icli.registry.cosine import CosineRanker
from t2icli.registry.open import Choice, Opened, choose_several
from t2icli.store.models import Model

if TYPE_CHECKING:
    from PIL.Image import Image

    from t2icli.pipelines.mixture import EmbeddedAudio


class Weighed(Protocol):
    """A ranker's name and weight."""

    @property
    def name(self) -> str: ...
    @property
    def weight(self) -> float: ...


class Weight(NamedTuple):
    """That of a ranker which is not loaded."""

    name: str
    weight: float


AT_ONCE = 16
"""Pictures given to a ranker in one call."""


@dataclass(frozen=True)
class Judge:
    """A ranker, its name and weight."""

    name: str
    ranker: Ranker
    weight: float = 1.0
    settings: Mapping[str, Any] = field(default_factory=dict)
    """As plain tables, for the record."""
    model: Model | None = None
    space: str = ""
    """`parts.space`, for an embedder."""

    def score(self, prompt: str, images: Sequence[Image]) -> list[float]:
        scores = [float(score) for score in self.ranker.score(prompt, images)]
        check_scores(self.name, scores, len(images))
        return scores


def judges(words: Iterable[str], options: Mapping[str, Any] | None = None, **flags: Any) -> list[Judge]:
    """`["clip=2", "brivl"]` or `["clip=2,brivl"]`: the rankers, loaded, with their weights.

    `options` and `flags` are as in `open_several`.
    """
    return opened(chosen(words, options, **flags))


def chosen(
    words: Iterable[str], options: Mapping[str, Any] | None = None, **flags: Any
) -> dict[str, tuple[float, Choice]]:
    """The same rankers with their weights, not loaded, by name."""
    named = weights(words)
    if options and not named:
        raise T2IError("ranker settings were given without a ranker", "add --rerank RANKER")
    several = choose_several("ranker", named, options, **flags)
    return {name: (named[name], Choice.of("ranker", *which)) for name, which in several.items()}


def opened(chosen: Mapping[str, tuple[float, Choice]]) -> list[Judge]:
    loaded = {name: (weight, choice.open()) for name, (weight, choice) in chosen.items()}
    return [_judge(name, each, each.thing, weight) for name, (weight, each) in loaded.items()]


def _judge(name: str, source: Opened[Any], ranker: Ranker, weight: float = 1.0) -> Judge:
    return Judge(name, ranker, weight, source.tables, source.model, mixture.space_of(source))


def by_listener(name: str, sound: EmbeddedAudio) -> Judge:
    """The embedder of a sound as a judge by that sound."""
    return _judge(name, sound.listener, CosineRanker(sound.listener.thing, sound.vector))


def plan(chosen: Mapping[str, tuple[float, Choice]]) -> dict[str, Any]:
    """What a job's plan notes of them."""
    return {name: {"weight": weight, **choice.plan} for name, (weight, choice) in chosen.items()}


def by_sound(judges: Iterable[Judge], sound: EmbeddedAudio) -> list[Judge]:
    """The same judges comparing pictures with a sound in place of a prompt."""
    return [_by_sound(judge, sound) for judge in judges]


def _by_sound(judge: Judge, sound: EmbeddedAudio) -> Judge:
    if isinstance(judge.ranker, CosineRanker) and judge.space == sound.space:
        return replace(judge, ranker=CosineRanker(judge.ranker.embedder, sound.vector))
    name = mixture.shown(sound.space)
    raise T2IError(
        f"ranker {judge.name!r} cannot compare pictures with the sound, which is a vector of {name}",
        f"add a prompt that says what the pictures show, or rank by {name.partition(' ')[0]}",
    )


def weights(words: Iterable[str]) -> dict[str, float]:
    """`["clip=2", "brivl"]` or `["clip=2,brivl"]`: how much each ranker counts, by its name."""
    named = dict(_named(word) for several in words for word in several.split(",") if word.strip())
    if named and not any(named.values()):
        raise T2IError("the weights of the rankers are all 0")
    return named


def _named(word: str) -> tuple[str, float]:
    name, equals, number = word.strip().partition("=")
    try:
        weight = float(number) if equals else 1.0
    except ValueError:
        weight = math.nan
    if not (math.isfinite(weight) and weight >= 0):
        raise T2IError(f"the weight {number!r} of ranker {name!r} is not a number from 0 upwards", "write: clip=2")
    return name, weight


def combined(judges: Sequence[Weighed], scores: Sequence[Mapping[str, float]]) -> list[float]:
    """One figure for each picture: the only judge's score, or the weighted mean of the z-scores of all."""
    if len(judges) == 1:
        return [each[judges[0].name] for each in scores]
    total = sum(judge.weight for judge in judges)
    columns = [_standard([each[judge.name] for each in scores]) for judge in judges]
    weights = [judge.weight / total for judge in judges]
    return [sum(w * z for w, z in zip(weights, row, strict=True)) for row in zip(*columns, strict=True)]


def _standard(values: Sequence[float]) -> list[float]:
    """Distances from the mean in standard deviations; all 0 where there is no difference."""
    mean = math.fsum(values) / len(values) if values else 0.0
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / max(1, len(values)))
    return [(value - mean) / deviation if deviation > 1e-12 else 0.0 for value in values]
