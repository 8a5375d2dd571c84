"""What a plugin's entry loads has all that its kind promises, or an error says what it lacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from PIL import Image

from t2icli.contract.entries import Entry
from t2icli.contract.hookspecs import hookimpl
from t2icli.testing import Runner
from t2icli.training.settings import LoopSettings


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class Looped(Settings, frozen=True, forbid_unknown_fields=True):
    loop: LoopSettings = LoopSettings()


class Learns:
    """Reads captions once."""

    def fit(self, captions: Any, folder: Path) -> None: ...


class Plugin:
    @hookimpl
    def t2i_rankers(self) -> list[Entry[Any]]:
        return [Entry("half", "ranks nothing", Settings, lambda settings: object())]

    @hookimpl
    def t2i_recipes(self) -> list[Entry[Any]]:
        return [
            Entry("half-recipe", "trains nothing", Looped, lambda settings: object()),
            Entry("no-steps", "has settings for the loop, and reads captions once", Looped, lambda settings: Learns()),
        ]


@pytest.fixture(autouse=True)
def plugin(t2i: Runner) -> None:
    t2i.use(Plugin())


def test_a_ranker_without_its_method_is_named_with_what_it_lacks(t2i: Runner) -> None:
    Image.new("RGB", (4, 4)).save("a.png")
    t2i.fails("rerank", "x", "a.png", "-r", "half", code=1, says="ranker 'half' lacks score (Ranker)")


def test_a_recipe_is_told_from_what_learns_without_steps(t2i: Runner) -> None:
    pytest.importorskip("torch")  # `make test-pythons` has none
    Path("pictures").mkdir()
    Image.new("RGB", (40, 40), "red").save("pictures/a.png")
    Path("pictures/a.txt").write_text("red\n")
    words = ("--train-data", "pictures", "--batch-size", 1)
    t2i.fails("train", "half-recipe", *words, code=1, says="recipe 'half-recipe' lacks")
    t2i.fails("train", "no-steps", *words, code=1, says="recipe 'no-steps' has settings for the loop, but no steps")
