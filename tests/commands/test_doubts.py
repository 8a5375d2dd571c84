"""`t2i generate` says which prompts may be beyond a model: by its words, and by the scores of its best."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest
from PIL import Image

from t2icli.contract.entries import Entry
from t2icli.contract.hookspecs import hookimpl
from t2icli.contract.kinds import Generator, Ranker
from t2icli.store import models
from t2icli.store.models import Card, Model
from t2icli.store.sources import ModelSource
from t2icli.testing import Runner


class OfModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    model: Model


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True): ...


class Reds:
    """Picture i of a prompt has `seed + i` of red, a hundred more where the prompt is of noodles."""

    def __init__(self, settings: OfModel) -> None: ...

    def generate(self, prompt: str, n: int, *, seed: int) -> Iterator[Image.Image]:
        more = 100 if "noodles" in prompt else 0
        yield from (Image.new("RGB", (8, 8), (seed + i + more, 0, 0)) for i in range(n))


class Red:
    def __init__(self, scale: float = 1) -> None:
        self.scale = scale

    def score(self, prompt: str, images: Sequence[Image.Image]) -> list[float]:
        return [image.getpixel((0, 0))[0] * self.scale for image in images]  # type: ignore[index,operator]


class Plugin:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @hookimpl
    def t2i_generators(self) -> list[Entry[Generator]]:
        return [Entry("reds", "draws", OfModel, Reds)]

    @hookimpl
    def t2i_rankers(self) -> list[Entry[Ranker]]:
        return [
            Entry("red", "judges", Nothing, lambda settings: Red()),
            Entry("other", "judges", Nothing, lambda settings: Red(2)),
        ]

    @hookimpl
    def t2i_models(self) -> list[ModelSource]:
        words = {"noodles", "beef", "面"}
        return [ModelSource("reds/small", "", "MIT", folder=self.folder, words=lambda: words)]


@pytest.fixture(autouse=True)
def model(t2i: Runner, tmp_path: Path) -> Path:
    folder = tmp_path / "small"
    folder.mkdir()
    models.seal(folder, Card(kind="generator", backend="reds"))
    t2i.use(Plugin(folder))
    return folder


def calibrate(t2i: Runner, ranker: str = "red", *more: str) -> None:
    Path("known.txt").write_text("noodles\nbeef noodles\n")
    words = ("known.txt", "-n", 4, "-m", "reds", "-r", ranker, *more, "--calibrate")
    assert "stored in the card of reds/small" in t2i.ok("evaluate", "generation", *words).stderr


def doubts(t2i: Runner, *words: object) -> list[str]:
    result = t2i.ok("generate", *words, "-m", "reds", "--seed", 0, "--json", "--force", "--output", "out")
    found: list[str] = result.json()["doubts"]
    assert [line for line in result.stderr.splitlines() if "may be beyond" in line] == found
    return found


def test_words_that_a_model_has_not_learnt_are_named(t2i: Runner) -> None:
    assert doubts(t2i, "beef noodles", "a cat", "外星人吃面") == [
        "'a cat' may be beyond reds/small: it has not learnt cat",
        "'外星人吃面' may be beyond reds/small: it has not learnt 外星人吃",
    ]


def test_scores_below_those_of_known_prompts_are_named(t2i: Runner) -> None:
    calibrate(t2i)
    least = "where 49 of 50 prompts it knows reach"
    assert doubts(t2i, "beef noodles", "beef", "-n", 4, "--rerank", "red") == [
        f"'beef' may be beyond reds/small: the best of 4 scores 3.00 with red, {least} 103.00"
    ]
    assert doubts(t2i, "beef", "-n", 2, "--rerank", "red")[0].endswith(
        f"the best of 2 scores 1.00 with red, {least} 100.00"
    )


def test_what_was_not_measured_is_not_judged(t2i: Runner, model: Path) -> None:
    assert doubts(t2i, "beef", "-n", 4, "--rerank", "red") == []
    calibrate(t2i)
    assert doubts(t2i, "beef", "-n", 4, "--rerank", "other") == []
    assert doubts(t2i, "beef", "-n", 4) == []
    sha256 = models.open_model(model).sha256
    calibrate(t2i, "other")
    assert [usual.ranker for usual in models.open_model(model).card.usual] == ["red", "other"]
    assert models.open_model(model).sha256 == sha256


def test_one_drawing_calibrates_for_the_judge_as_well(t2i: Runner, model: Path) -> None:
    calibrate(t2i, "red", "--judge", "other")
    usual = {each.ranker: each.least for each in models.open_model(model).card.usual}
    assert usual == {"red": {"1": 100.0, "4": 103.0}, "other": {"1": 200.0, "4": 206.0}}


def test_calibrating_needs_a_card(t2i: Runner) -> None:
    import t2i_noise

    t2i.use(t2i_noise)
    Path("known.txt").write_text("a\nb\n")
    words = ("known.txt", "-n", 1, "-m", "noise", "-r", "colours", "--calibrate")
    t2i.fails("evaluate", "generation", *words, says="'noise' has no model whose card could keep it")
