"""`t2i caption`, with a captioner that tells how wide a picture is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar

import msgspec
import pytest
from msgspec import Meta
from PIL import Image

from t2icli.hookspecs import hookimpl
from t2icli.kinds import Captioner, Entry
from t2icli.testing import Runner


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    word: Annotated[str, Meta(description="what to call them")] = "picture"
    batch: Annotated[int, Meta(description="how many at once")] = 2


class Wide:
    asked: ClassVar[list[int]] = []

    def __init__(self, settings: Settings) -> None:
        self.word = settings.word

    def caption(self, images: Sequence[Image.Image], n: int, *, seed: int) -> list[list[str]]:
        self.asked.append(len(images))
        colours = ["red", "blue", "green"]
        return [
            [f"a {colours[k % 3]} {self.word}\n{image.width} wide, {seed + i}" for k in range(n)]
            for i, image in enumerate(images)
        ]


class Plugin:
    @hookimpl
    def t2i_captioners(self) -> list[Entry[Captioner]]:
        return [Entry("wide", "how wide", Settings, Wide)]


@pytest.fixture(autouse=True)
def pictures(t2i: Runner) -> None:
    t2i.use(Plugin())
    Wide.asked.clear()
    Path("in").mkdir()
    for width in (1, 2, 3):
        Image.new("RGB", (width, 4), "blue").save(f"in/{width}.png")


def captions(t2i: Runner, *words: object) -> dict[str, list[str]]:
    report = t2i.ok("caption", *words, "--json").json()
    return {Path(row["path"]).name: row["captions"] for row in report["results"]}


def test_every_picture_of_a_folder_is_described_in_one_line(t2i: Runner) -> None:
    assert captions(t2i, "in", "--seed", 10) == {
        "1.png": ["a red picture 1 wide, 10"],
        "2.png": ["a red picture 2 wide, 11"],
        "3.png": ["a red picture 3 wide, 12"],
    }
    assert "a red picture 2 wide, 11" in t2i.ok("caption", "in", "--seed", 10).stdout


def test_the_size_of_a_batch_changes_nothing_but_the_calls(t2i: Runner) -> None:
    together = captions(t2i, "in", "--seed", 1, "-n", 2)
    assert Wide.asked == [3]
    assert captions(t2i, "in", "--seed", 1, "-n", 2, "--batch-size", 2) == together
    assert Wide.asked == [3, 2, 1]


def test_a_ranker_puts_the_best_caption_first(t2i: Runner) -> None:
    best = captions(t2i, "in", "-n", 3, "--rerank", "colours", "-o", "ranker.size=2")
    assert all(lines[0].startswith("a blue") for lines in best.values())


def test_txt_writes_the_captions_beside_each_picture_and_replaces_none(t2i: Runner) -> None:
    t2i.ok("caption", "in", "-n", 2, "--seed", 0, "--txt")
    assert Path("in/1.txt").read_text() == "a red picture 1 wide, 0\na blue picture 1 wide, 0\n"
    t2i.fails("caption", "in", "--txt", says="1.txt' is there already")
    t2i.ok("caption", "in", "--seed", 5, "--txt", "--force")
    assert Path("in/1.txt").read_text() == "a red picture 1 wide, 5\n"


def test_two_pictures_that_want_one_text_file_are_told_of(t2i: Runner) -> None:
    Image.new("RGB", (1, 1)).save("in/1.jpg")
    t2i.fails("caption", "in", "--txt", says="want the same text file")
    assert not list(Path("in").glob("*.txt"))
    assert Wide.asked == []


def test_unreadable_files_are_named_and_the_rest_is_described(t2i: Runner) -> None:
    Path("in/0.png").write_text("<html>")
    done = t2i.fails("caption", "in", "--seed", 3, code=3)
    assert "0.png' is a web page" in done.stderr and "1 wide, 3" in done.stdout
    Path("x.png").write_text("")
    t2i.fails("caption", "x.png", says="none of 1 files is a picture")


def test_options_reach_the_captioner(t2i: Runner) -> None:
    assert captions(t2i, "in/1.png", "-o", "word=photo", "--seed", 0) == {"1.png": ["a red photo 1 wide, 0"]}
    t2i.fails("caption", "in", "-m", "wild", says="did you mean 'wide'?")


def test_with_no_captioner_the_message_says_what_to_install(t2i: Runner) -> None:
    t2i.use()
    t2i.fails("caption", "in", says="t2i install t2icli-clipcap")
