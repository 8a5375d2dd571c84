"""Models that stand in until there are others say so, wherever they are used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest
from PIL import Image

from t2icli.contract.entries import Entry
from t2icli.contract.fields import Part, part
from t2icli.contract.hookspecs import hookimpl
from t2icli.contract.kinds import Captioner, Generator, Ranker
from t2icli.contract.recipes import Recipe
from t2icli.store import models
from t2icli.store.models import Card, Model
from t2icli.store.sources import ModelSource, RemoteFile
from t2icli.testing import Runner

WORDS = "a small model of drawn dishes"


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    model: Model


class Training(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    judge: Part[Ranker] = part("ranker", "judges")


class Thing:
    """Draws, judges and describes."""

    def __init__(self, settings: Settings) -> None: ...

    def generate(self, prompt: str, n: int, *, seed: int) -> Iterator[Image.Image]:
        yield from (Image.new("RGB", (8, 8), (seed + i, 0, 0)) for i in range(n))

    def score(self, prompt: str, images: Sequence[Image.Image]) -> list[float]:
        return [1.0 for _ in images]

    def caption(self, images: Sequence[Image.Image], n: int, *, seed: int) -> list[list[str]]:
        return [["a dish"] * n for _ in images]


class Plugin:
    def __init__(self, *sources: ModelSource) -> None:
        self.sources = sources

    @hookimpl
    def t2i_generators(self) -> list[Entry[Generator]]:
        return [Entry(name, "draws", Settings, Thing) for name in ("also", "draws")]

    @hookimpl
    def t2i_rankers(self) -> list[Entry[Ranker]]:
        return [Entry("judges", "judges", Settings, Thing)]

    @hookimpl
    def t2i_captioners(self) -> list[Entry[Captioner]]:
        return [Entry("names", "names", Settings, Thing)]

    @hookimpl
    def t2i_recipes(self) -> list[Entry[Recipe]]:
        return [Entry("learns", "learns", Training, lambda settings: None)]  # type: ignore[arg-type,return-value]

    @hookimpl
    def t2i_models(self) -> list[ModelSource]:
        return list(self.sources)


class Importing(Plugin):
    @hookimpl
    def t2i_generators(self) -> list[Entry[Generator]]:
        return [Entry("learns", "draws", Settings, Thing, convert=lambda upstream, folder: None)]


def put(folder: Path, name: str, **card: str) -> Path:
    place = folder / name
    place.mkdir(parents=True)
    models.seal(place, Card(kind="any", backend=name.split("/")[0], **card))
    return place


@pytest.fixture(autouse=True)
def plugin(t2i: Runner, tmp_path: Path) -> None:
    names = ("draws/starter", "also/starter", "judges/starter", "names/starter")
    shipped = [ModelSource(name, "", "MIT", folder=put(tmp_path, name, stand_in=WORDS)) for name in names]
    t2i.use(Plugin(*shipped))


@pytest.fixture
def picture() -> Path:
    Image.new("RGB", (8, 8), "red").save("dish.png")
    return Path("dish.png")


def said(stderr: str) -> list[str]:
    return [line for line in stderr.splitlines() if WORDS in line]


TRAIN = "t2i train learns --train-data FOLDER"


def test_generate_says_so_in_one_line_for_all(t2i: Runner) -> None:
    done = t2i.ok("generate", "x", "-n", 2, "--rerank", "judges", "--output", "out")
    assert said(done.stderr) == [f"draws/starter and judges/starter: {WORDS}"]


@pytest.mark.parametrize("word", ["draws", "draws/starter"])
def test_a_model_that_was_named_says_so_too(t2i: Runner, word: str) -> None:
    assert said(t2i.ok("generate", "x", "-m", word).stderr) == [f"draws/starter: {WORDS}"]


def test_a_folder_says_so_too(t2i: Runner, tmp_path: Path) -> None:
    assert len(said(t2i.ok("generate", "x", "-m", tmp_path / "draws/starter").stderr)) == 1


def test_caption_and_rerank_say_so(t2i: Runner, picture: Path) -> None:
    assert said(t2i.ok("caption", picture).stderr) == [f"names/starter: {WORDS}"]
    assert said(t2i.ok("rerank", "x", picture).stderr) == [f"judges/starter: {WORDS}"]


def test_evaluate_says_whose_figures_those_are(t2i: Runner, picture: Path) -> None:
    Path("prompts.txt").write_text("x\ny\n")
    done = t2i.ok("evaluate", "generation", "prompts.txt", "-n", 2)
    assert said(done.stderr) == [f"draws/starter and judges/starter: {WORDS}"]
    Path("table.csv").write_text(f"image,caption\n{picture},a dish\n")
    done = t2i.ok("evaluate", "caption", "table.csv")
    assert said(done.stderr) == [f"names/starter: {WORDS}"]


def test_only_ways_that_work_are_named(t2i: Runner, tmp_path: Path) -> None:
    card = {"stand_in": WORDS}
    rare = ModelSource("also/rare", "", "MIT")
    named = [
        ModelSource(name, "", "MIT", folder=put(tmp_path, name, **card)) for name in ("learns/first", "also/first")
    ]
    t2i.use(Plugin(*named, rare))
    assert said(t2i.ok("generate", "x", "-m", "also").stderr) == [f"also/first: {WORDS}"]
    address = RemoteFile(("https://example.org/w",), None)
    t2i.use(Plugin(*named, ModelSource("also/far", "", "MIT", files=(address,))))
    assert said(t2i.ok("generate", "x", "-m", "also").stderr) == [
        f"also/first: {WORDS}; for another: t2i models pull also/far"
    ]
    t2i.use(Importing(*named))
    assert said(t2i.ok("generate", "x", "-m", "learns").stderr) == [
        f"learns/first: {WORDS}; for another: {TRAIN}, or t2i models import FILE --as learns"
    ]


def test_json_stays_one_document_and_quiet_says_nothing(t2i: Runner) -> None:
    done = t2i.ok("generate", "x", "--json", "--output", "out")
    assert done.json()["results"] and said(done.stderr)
    assert not said(t2i.ok("generate", "x", "--quiet").stderr)


def test_a_model_of_ones_own_is_used_and_says_nothing(t2i: Runner) -> None:
    put(t2i.home / "models", "also/own")
    done = t2i.ok("generate", "x")
    assert "drawn with also/own" in done.stderr and not said(done.stderr)


def test_training_with_one_as_a_part_says_so(t2i: Runner) -> None:
    Path("captions.txt").write_text("a dish\n")
    done = t2i.ok("train", "learns", "--train-data", "captions.txt", "--dry-run")
    assert [line for line in said(done.stderr) if "judges/starter" in line]


def test_lists_tell_them_from_others(t2i: Runner) -> None:
    listed = t2i.ok("models", "list").stdout.splitlines()
    assert any("draws/starter *" in line and "stand-in" in line for line in listed)
    assert f"stand_in: {WORDS}" in t2i.ok("models", "show", "draws/starter").stdout
