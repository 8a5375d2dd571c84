from __future__ import annotations

import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from PIL.Image import Image

from t2icli.ground.errors import T2IError
from t2icli.pipelines import scoring
from t2icli.pipelines.scoring import Judge, combined
from t2icli.testing import Runner


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


@pytest.mark.parametrize("key", ["chinese_clip", "chinese-clip"])
def test_a_ranker_whose_name_has_a_hyphen_gets_its_settings(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    asked: dict[str, Any] = {}

    def open_one(kind: str, name: str, options: dict[str, Any]) -> Any:
        asked[name] = options
        return SimpleNamespace(thing=Fixed(), tables={}, model=None)

    monkeypatch.setattr("t2icli.registry.open.open_one", open_one)
    scoring.judges(["chinese-clip", "clip"], {key: {"batch": "2"}, "device": "cpu"})
    assert asked == {"chinese-clip": {"device": "cpu", "batch": "2"}, "clip": {"device": "cpu"}}
