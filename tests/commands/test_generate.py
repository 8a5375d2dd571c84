"""`t2i generate` through the front door, with a generator of flat colours."""

from __future__ import annotations

import gc
import json
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, ClassVar

import msgspec
import pytest
from msgspec import Meta
from PIL import Image

from t2icli.contract.entries import Entry
from t2icli.contract.hookspecs import hookimpl
from t2icli.contract.kinds import Generator, Ranker
from t2icli.ground import toml
from t2icli.pictures import images
from t2icli.testing import Runner, toys


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    size: Annotated[int, Meta(description="width and height", ge=1)] = 8
    batch: Annotated[int, Meta(description="how many at once", ge=1)] = 4
    stop: Annotated[int | None, Meta(description="be interrupted before this picture")] = None
    repeat: Annotated[int, Meta(description="how many seeds draw the same picture", ge=1)] = 1
    short: Annotated[int, Meta(description="how many pictures to leave out")] = 0


class Flat:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def generate(self, prompt: str, n: int, *, seed: int) -> Iterator[Image.Image]:
        for i in range(n - self.settings.short):
            if i == self.settings.stop:
                raise KeyboardInterrupt
            colour = (seed + i) // self.settings.repeat
            yield Image.new("RGB", (self.settings.size, self.settings.size), (colour % 256, colour // 256 % 256, 0))


class Weighted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    sign: Annotated[float, Meta(description="1 likes red, -1 dislikes it")] = 1.0


class Red:
    """Likes red; counts how often it was asked."""

    asked: ClassVar[list[int]] = []

    def __init__(self, settings: Weighted) -> None:
        self.sign = settings.sign

    def score(self, prompt: str, images: Sequence[Image.Image]) -> list[float]:
        self.asked.append(len(images))
        return [self.sign * image.getpixel((0, 0))[0] for image in images]  # type: ignore[index]


class Broken(Red):
    def score(self, prompt: str, images: Sequence[Image.Image]) -> list[float]:
        return [float("nan")] * len(images)


class Plugin:
    @hookimpl
    def t2i_generators(self) -> list[Entry[Generator]]:
        return [
            Entry("flat", "one colour", Settings, Flat),
            Entry("watching", "sees what is filed", Settings, Watching),
        ]

    @hookimpl
    def t2i_rankers(self) -> list[Entry[Ranker]]:
        return [
            Entry("red", "likes red", Weighted, Red),
            Entry("broken", "no numbers", Weighted, Broken),
            Entry("counting", "counts pictures in memory", Weighted, Counting),
        ]


@pytest.fixture(autouse=True)
def plugin(t2i: Runner) -> None:
    t2i.use(Plugin())
    Red.asked.clear()


def results(folder: str | Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (Path(folder) / "results.jsonl").read_text(encoding="utf-8").splitlines()]


def reds(folder: str | Path) -> list[int]:
    pictures = sorted(path for path in Path(folder).glob("*.png") if path.name != "grid.png")
    return [images.open_image(path).getpixel((0, 0))[0] for path in pictures]  # type: ignore[index]


def test_pictures_are_numbered_and_use_seed_plus_i(t2i: Runner) -> None:
    done = t2i.ok("generate", "红烧牛肉面", "-n", 3, "--seed", 7, "--output", "out", "--json").json()
    assert [(row["file"], row["seed"]) for row in done["results"]] == [("000.png", 7), ("001.png", 8), ("002.png", 9)]
    assert reds("out") == [7, 8, 9]
    assert {path.name for path in Path("out").iterdir() if not path.name.startswith(".")} == {
        *("000.png", "001.png", "002.png"),
        *("grid.png", "index.html", "results.jsonl", "settings.toml"),
    }


def test_without_a_seed_one_is_chosen_and_reported(t2i: Runner) -> None:
    one, other = (t2i.ok("generate", "x", "-n", 1, "--output", name) for name in ("a", "b"))
    assert f"seed {results('a')[0]['seed']};" in one.stderr
    assert results("a")[0]["seed"] != results("b")[0]["seed"]
    assert toml.read(Path("b/settings.toml"))["seed"] == results("b")[0]["seed"]
    assert other.stdout.count("000.png") == 1


def test_the_ranker_decides_the_order_and_top_what_is_kept(t2i: Runner) -> None:
    t2i.ok("generate", "x", "-n", 40, "--seed", 1, "--rerank", "red", "--top", 2, "--output", "out")
    assert reds("out") == [40, 39]
    rows = results("out")
    assert [row["seed"] for row in rows] == list(range(40, 0, -1))
    assert [row["file"] for row in rows] == ["000.png", "001.png", *[None] * 38]
    assert [row["score"] for row in rows] == [float(seed) for seed in range(40, 0, -1)]


def test_every_picture_is_judged_once_and_in_batches(t2i: Runner) -> None:
    t2i.ok("generate", "x", "-n", 40, "--rerank", "red", "--output", "out")
    assert sum(Red.asked) == 40 and len(Red.asked) > 1


class Waiting:
    """A generator and a ranker, each of which may wait for the other, but not for ever."""

    def __init__(self, waits: str) -> None:
        self.waits = waits
        self.judged, self.drawn = threading.Event(), threading.Event()

    def generate(self, prompt: str, n: int, *, seed: int) -> Iterator[Image.Image]:
        for i in range(n):
            if i == n - 1:
                assert self.waits != "generator" or self.judged.wait(60), "nothing was judged while drawing"
                self.drawn.set()
            yield Image.new("RGB", (8, 8), (i, 0, 0))

    def score(self, prompt: str, images: Sequence[Image.Image]) -> list[float]:
        assert self.waits != "ranker" or self.drawn.wait(60), "drawing waited for the judge"
        self.judged.set()
        return [0.0 for _ in images]

    @hookimpl
    def t2i_generators(self) -> list[Entry[Generator]]:
        return [Entry("waiting", "one colour", Weighted, lambda settings: self)]

    @hookimpl
    def t2i_rankers(self) -> list[Entry[Ranker]]:
        return [Entry("waiting", "likes all", Weighted, lambda settings: self)]


@pytest.mark.parametrize("waits", ["generator", "ranker"])
def test_drawing_and_judging_do_not_wait_for_each_other(t2i: Runner, waits: str) -> None:
    t2i.use(Waiting(waits))
    t2i.ok("generate", "x", "-n", 20, "-m", "waiting", "--rerank", "waiting", "--output", "out")
    assert len(results("out")) == 20


def test_several_rankers_are_averaged_by_weight(t2i: Runner) -> None:
    words = ("generate", "blue", "-n", 3, "--seed", 1, "--rerank", "red=2,colours", "-o", "ranker.red.sign=-1")
    rows = t2i.ok(*words, "--output", "out", "--json").json()["results"]
    assert [row["seed"] for row in rows] == [1, 2, 3]
    assert rows[0]["scores"]["red"] == -1
    assert abs(sum(row["score"] for row in rows)) < 1e-9


def test_a_ranker_that_gives_no_numbers_is_named(t2i: Runner) -> None:
    t2i.fails("generate", "x", "--rerank", "broken", "--output", "out", code=1, says="ranker 'broken' did not give")
    assert {row["score"] for row in results("out")} == {None}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--top", 1], "add --rerank"),
        (["--top", 9, "--rerank", "red"], "--top 9 is more than the 4"),
        (["--rerank", "rad"], "did you mean 'red'?"),
        (["--rerank", "red=x"], "the weight 'x' of ranker 'red'"),
        (["--rerank", "red=0"], "all 0"),
        (["-o", "ranker.sign=1"], "without a ranker"),
        (["-m", "flut"], "did you mean 'flat'?"),
        (["-o", "sise=1"], "did you mean 'size'?"),
        (["-o", "size=large"], "'size' of generator 'flat' cannot be 'large'"),
        (["-n", 0], "greater than or equal to 1"),
        (["--device", "cpu"], "has no device setting"),
        (["--prompts", "nowhere.txt"], "cannot read 'nowhere.txt'"),
        (["\x00"], "U+0000"),
        ([" "], "the prompt is empty"),
    ],
)
def test_a_mistake_is_explained_before_anything_is_drawn(t2i: Runner, words: list[Any], says: str) -> None:
    t2i.fails("generate", "x", "--output", "out", *words, says=says)
    assert not Path("out").exists()


def test_with_nothing_installed_the_message_says_what_to_install(t2i: Runner) -> None:
    t2i.use()
    t2i.fails("generate", "x", says="t2i install plugins/starter in the source tree")
    t2i.fails("generate", "x", "-m", "flat", says="no generator called 'flat'")


def test_prompts_come_from_words_a_file_and_standard_input(t2i: Runner) -> None:
    Path("p.txt").write_text("three\n\nfour\n")
    t2i.ok("generate", "one", "two", "--prompts", "p.txt", "-n", 1, "--output", "out")
    assert [row["prompt"] for row in results("out")] == ["one", "two", "three", "four"]
    t2i.ok("generate", "-", "-n", 1, "--output", "piped", stdin="红\n\n蓝\n")
    assert [row["prompt"] for row in results("piped")] == ["红", "蓝"]
    t2i.fails("generate", "-", stdin="\n\n", says="there is no prompt in standard input")


def test_the_settings_of_a_run_given_back_make_the_same_pictures(t2i: Runner) -> None:
    t2i.ok("generate", "x", "y", "-n", 3, "-o", "size=5", "--rerank", "red", "-o", "ranker.sign=-1", "--output", "a")
    t2i.ok("generate", "--config", "a/settings.toml", "--output", "b")
    assert results("a") == results("b")
    for name in ("000.png", "005.png"):
        assert Path("a", name).read_bytes() == Path("b", name).read_bytes()
    assert Path("a/settings.toml").read_bytes() == Path("b/settings.toml").read_bytes()


def test_batch_size_is_the_generators_batch(t2i: Runner) -> None:
    t2i.ok("generate", "x", "-n", 1, "--batch-size", 2, "--output", "out")
    assert toml.read(Path("out/settings.toml"))["option"]["batch"] == 2


def test_a_png_says_how_it_was_made(t2i: Runner) -> None:
    t2i.ok("generate", "红", "-n", 1, "--seed", 3, "--rerank", "red", "--output", "out")
    record = images.read_record(Path("out/000.png"))
    assert record["prompt"] == "红"
    assert (record["seed"], record["score"], record["backend"], record["device"]) == (3, 3.0, "flat", "cpu")
    assert record["settings"] == {"size": 8, "batch": 4, "stop": None, "repeat": 1, "short": 0}
    assert record["machine"]["processor"]
    assert {"t2icli", "python", "PIL"} <= record["versions"].keys()


def test_ctrl_c_keeps_what_was_drawn(t2i: Runner) -> None:
    done = t2i.run("generate", "x", "-n", 30, "--seed", 1, "-o", "stop=20", "--rerank", "red", "--output", "out")
    assert done.code == 130 and "interrupted" in done.stderr
    assert len(reds("out")) == len(results("out")) == 20
    # The last four were still waiting for the judge.
    assert [row["seed"] for row in results("out")] == [*range(16, 0, -1), 17, 18, 19, 20]
    assert Path("out/index.html").exists()
    assert not list(Path("out").glob(".*.part"))


class Watching(Flat):
    """Sees how many pictures are filed whenever it has drawn one."""

    filed: ClassVar[list[int]] = []

    def generate(self, prompt: str, n: int, *, seed: int) -> Iterator[Image.Image]:
        for image in super().generate(prompt, n, seed=seed):
            self.filed.append(len(results("out")) if Path("out/results.jsonl").exists() else 0)
            yield image


def test_without_judges_pictures_are_filed_while_others_are_drawn(t2i: Runner) -> None:
    Watching.filed.clear()
    t2i.ok("generate", "x", "-m", "watching", "-n", 40, "--output", "out")
    assert Watching.filed[0] == 0 and 0 < Watching.filed[-1] < 40
    assert [row["rank"] for row in results("out")] == list(range(1, 41))


class Counting(Red):
    """Counts the pictures in memory when it is given the first ones and the last, for counting takes long."""

    alive: ClassVar[list[int]] = []

    def score(self, prompt: str, images: Sequence[Image.Image]) -> list[float]:
        if not self.alive or any(image.getpixel((0, 0))[0] == 149 for image in images):  # type: ignore[index]
            gc.collect()
            self.alive.append(sum(issubclass(type(thing), Image.Image) for thing in gc.get_objects()))
        return super().score(prompt, images)


def test_pictures_that_wait_for_their_rank_are_not_held_in_memory(t2i: Runner) -> None:
    Counting.alive.clear()
    words = ("generate", "x", "-n", 150, "--seed", 0, "-o", "size=1", "--rerank", "counting", "--top", 2)
    t2i.ok(*words, "--output", "out")
    assert len(results("out")) == 150 and reds("out") == [149, 148]
    first, last = Counting.alive
    assert last - first < 50  # whatever other tests still hold
    assert not list(Path("out").glob(".judged-*"))


def test_top_keeps_pictures_that_differ_and_says_how_many_do(t2i: Runner) -> None:
    done = t2i.ok(
        "generate", "x", "-n", 12, "--seed", 0, "-o", "repeat=3", "--rerank", "red", "--top", 3, "--output", "out"
    )
    assert reds("out") == [3, 2, 1]
    assert "4 of 12 pictures are distinct" in done.stderr
    kept = [(row["rank"], row["seed"]) for row in results("out") if row["file"]]
    assert kept == [(1, 9), (2, 6), (3, 3)]
    assert [(row["rank"], row["seed"], row["same_as"]) for row in results("out")][:4] == [
        (1, 9, None),
        (1, 10, 9),
        (1, 11, 9),
        (2, 6, None),
    ]
    scores = {row["rank"]: row["score"] for row in results("out")}
    assert all(row["score"] == scores[row["rank"]] for row in results("out"))
    assert "3 pictures, the best of 12, of which 4 are distinct" in Path("out/index.html").read_text(encoding="utf-8")


def test_equal_pictures_are_judged_once(t2i: Runner) -> None:
    Red.asked.clear()
    t2i.ok("generate", "x", "-n", 12, "--seed", 0, "-o", "repeat=3", "--rerank", "red", "--output", "out")
    assert sum(Red.asked) == 4
    assert len(reds("out")) == 12


def test_fewer_distinct_pictures_than_top_are_kept_with_a_warning(t2i: Runner) -> None:
    words = ["generate", "x", "-n", 6, "--seed", 0, "-o", "repeat=3", "--rerank", "red", "--top", 4, "--json"]
    done = t2i.ok(*words, "--output", "out")
    assert len(reds("out")) == 2 and done.json()["distinct"] == 2
    assert "2 pictures are kept instead of 4" in done.stderr


def test_without_top_every_picture_is_filed_and_duplicates_name_the_first(t2i: Runner) -> None:
    t2i.is_terminal = True
    done = t2i.ok("generate", "x", "-n", 20, "--seed", 0, "-o", "repeat=10", "--output", "out")
    assert [row["same_as"] for row in results("out")] == [None, *[0] * 9, None, *[10] * 9]
    assert [row["rank"] for row in results("out")] == [1] * 10 + [2] * 10
    assert len(reds("out")) == 20 and "2 of 20 pictures are distinct" in done.stderr
    assert Path("out/index.html").read_text(encoding="utf-8").count("<section>") == 1
    assert "same as" in done.stdout
    assert images.read_record(Path("out/001.png"))["same_as"] == 0


@pytest.mark.parametrize("flag", ["-n", "--batch-size", "--seed"])
def test_a_number_no_computer_could_hold_is_refused(t2i: Runner, flag: str) -> None:
    t2i.fails("generate", "x", flag, "9" * 20, "--output", "out", says=f"invalid value for '{flag}'")


@pytest.mark.parametrize("words", [["--output", ""], ["--output", "out", "-o", "ranker=red"]])
def test_an_empty_folder_name_and_a_table_given_as_a_word_are_refused(t2i: Runner, words: list[str]) -> None:
    t2i.fails("generate", "x", *words, says="is not the name of" if "" in words else "'ranker' is a table of settings")
    assert not list(Path().glob("*.png"))


def test_a_generator_that_breaks_its_promise_is_told_of(t2i: Runner) -> None:
    said = "the generator gave 3 pictures instead of 4"
    t2i.fails("generate", "x", "-o", "short=1", "--output", "out", code=1, says=said)
    t2i.fails("generate", "x", "-o", "short=-1", "--output", "out", code=1, says="gave more than 4 pictures")
    assert len(results("out")) == 7


@pytest.mark.parametrize(
    ("gives", "says"),
    [
        (lambda prompt, n, *, seed: ["a text"], "the generator gave 'a text' instead of a picture"),
        (lambda prompt, n, *, seed: [Image.new("RGB", (0, 4))], "instead of a picture"),
        (lambda prompt, n, *, seed: 7, "does not do what its kind promises: 'int' object is not iterable"),
        (lambda: [], "does not do what its kind promises"),
    ],
)
def test_what_is_no_picture_is_an_error_of_the_generator(t2i: Runner, gives: Callable[..., object], says: str) -> None:
    class Odd:
        @hookimpl
        def t2i_generators(self) -> list[Entry[Any]]:
            return [Entry("odd", "no pictures", Settings, lambda settings: SimpleNamespace(generate=gives))]

    t2i.use(Odd())
    t2i.fails("generate", "x", "-m", "odd", "--output", "out", code=1, says=says)


def test_show_says_which_package_it_needs(t2i: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "textual_image", None)  # as if it were not installed
    t2i.fails("generate", "x", "--show", "--output", "out", says="t2i install 't2icli[show]'")
    assert not Path("out").exists()


def test_open_shows_the_gallery_in_the_browser(t2i: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    t2i.use(toys)
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda address: bool(opened.append(address)) or len(opened) == 1)
    t2i.ok("generate", "红烧", "-n", "1", "-m", "toy", "--output", "here", "--open")
    assert opened == [(Path("here").absolute() / "index.html").as_uri()]
    assert "no browser" in t2i.ok("generate", "红烧", "-n", "1", "-m", "toy", "--output", "here", "--open").stderr
