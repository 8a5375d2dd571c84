from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from PIL.Image import Image

from t2icli.contract.entries import Entry
from t2icli.contract.hookspecs import hookimpl
from t2icli.ground.errors import T2IError
from t2icli.pipelines.scoring import Judge, combined
from t2icli.testing import Runner, toys


class Fixed:
    def __init__(self, *scores: float) -> None:
        self.scores = list(scores)

    def score(self, prompt: str, images: Sequence[Image]) -> list[float]:
        return self.scores


def test_one_judge_keeps_its_own_scores() -> None:
    assert combined([Judge("a", Fixed())], [{"a": 3.0}, {"a": 1.0}]) == [3.0, 1.0]


def test_several_judges_are_weighed_as_distances_from_their_means() -> None:
    judges = [Judge("a", Fixed(), 3.0), Judge("b", Fixed(), 1.0)]
    scores = combined(judges, [{"a": 0.0, "b": 1000.0}, {"a": 2.0, "b": 0.0}])
    assert scores == [-0.5, 0.5]


def test_a_judge_that_sees_no_difference_decides_nothing() -> None:
    judges = [Judge("a", Fixed()), Judge("b", Fixed())]
    assert combined(judges, [{"a": 7.0, "b": 1.0}, {"a": 7.0, "b": 3.0}]) == [-0.5, 0.5]


@pytest.mark.parametrize("scores", [(1.0,), (1.0, math.nan), (1.0, math.inf)])
def test_scores_must_be_finite_and_one_for_each_picture(scores: tuple[float, ...]) -> None:
    with pytest.raises(T2IError, match="ranker 'a' did not give one number per image"):
        Judge("a", Fixed(*scores)).score("x", [None, None])  # type: ignore[list-item]


def test_commas_and_repetition_mean_the_same(t2i: Runner) -> None:
    from t2icli.pipelines.scoring import judges

    assert [(each.name, each.weight) for each in judges(["colours=2"])] == [("colours", 2.0)]
    assert [each.name for each in judges(["colours,colours"])] == ["colours"]
    assert judges([]) == []


class Settings(msgspec.Struct, frozen=True):
    batch: int = 1
    device: str = "auto"


class Plugin:
    """Two rankers, and what they were loaded with."""

    def __init__(self) -> None:
        self.loaded: dict[str, Settings] = {}

    def load(self, name: str, settings: Settings) -> Fixed:
        self.loaded[name] = settings
        return Fixed(0.0)

    @hookimpl
    def t2i_rankers(self) -> list[Entry[Any]]:
        return [Entry(name, "sees no difference", Settings, partial(self.load, name)) for name in ("two-words", "one")]


@pytest.mark.parametrize("key", ["two_words", "two-words"])
def test_a_ranker_whose_name_has_a_hyphen_gets_its_settings(t2i: Runner, key: str) -> None:
    t2i.use(plugin := Plugin())
    (picture,) = toys.pictures(Path("in"), "red")
    t2i.ok("rerank", "x", picture, "-r", "two-words,one", "-o", f"{key}.batch=2", "-o", "device=cpu")
    assert plugin.loaded == {"two-words": Settings(2, "cpu"), "one": Settings(1, "cpu")}
