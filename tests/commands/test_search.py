from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from t2icli.contract.entries import Entry
from t2icli.contract.hookspecs import hookimpl
from t2icli.contract.kinds import Embedder
from t2icli.data import shards
from t2icli.data.dataset import SourceRow
from t2icli.testing import Runner
from t2icli.testing.toys import Colours, ColoursSettings


class Plugin:
    @hookimpl
    def t2i_embedders(self) -> list[Entry[Embedder]]:
        return [Entry("mean", "mean colours", ColoursSettings, Colours)]


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    for colour in ("red", "green", "orange"):
        (tmp_path / "all").mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), colour).save(tmp_path / "all" / f"{colour}.png")
    return tmp_path / "all"


def test_the_pictures_that_fit_best_are_found_and_embedded_once(t2i: Runner, collection: Path, tmp_path: Path) -> None:
    t2i.use(Plugin())
    Colours.calls = []
    words = ("-r", "mean", "--top", 2, "--cache", tmp_path / "cache")
    found = t2i.ok("search", "red", collection, *words, "--json").json()["results"]
    assert [Path(each["picture"]).stem for each in found] == ["red", "orange"]
    assert found[0]["score"] == pytest.approx(1)
    assert "green" in t2i.ok("search", "green", collection, *words).stdout
    assert sum(Colours.calls) == 3


def test_a_file_that_is_no_picture_is_named_and_the_rest_is_searched(t2i: Runner, collection: Path) -> None:
    t2i.use(Plugin())
    (collection / "bad.png").write_bytes(b"<html>")
    result = t2i.fails("search", "red", collection, "-r", "mean", code=3, says="skipped: ")
    assert "bad" in result.stderr and "red" in result.stdout


def test_search_needs_an_embedder_and_says_which(t2i: Runner, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), "red").save(tmp_path / "a.png")
    t2i.fails("search", "red", tmp_path, "-r", "colours", says="ranks pictures but does not embed them")


@pytest.fixture
def prepared(collection: Path) -> Path:
    rows = [SourceRow(f"row-{path.stem}", path, (f"something {path.stem}", "x")) for path in collection.iterdir()]
    return shards.write("prepared", rows).folder


def test_captions_are_shown_and_pictures_of_a_dataset_copied(t2i: Runner, prepared: Path) -> None:
    t2i.use(Plugin())
    words = ("search", "red", prepared, "-r", "mean", "--top", 2)
    first, second = t2i.ok(*words, "--copy", "found").stdout.splitlines()
    assert (first, second) == ("row-red\tsomething red; x", "row-orange\tsomething orange; x")
    assert sorted(path.name for path in Path("found").iterdir()) == ["001-row-red.png", "002-row-orange.png"]
    assert Image.open("found/001-row-red.png").getpixel((0, 0)) == (255, 0, 0)
    t2i.fails(*words, "--copy", "found", says="001-row-red.png' already exists")
    assert t2i.ok(*words, "--json").json()["results"][0]["captions"] == ["something red", "x"]
    t2i.is_terminal = True
    assert "something orange; x" in t2i.ok(*words).stdout
