"""`t2i evaluate caption` with a captioner that says a picture's colour."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import pytest
from PIL import Image

from t2icli.contract.entries import Entry
from t2icli.contract.hookspecs import hookimpl
from t2icli.contract.kinds import Captioner, Ranker
from t2icli.testing import Runner

COLOURS = {"红": "red", "绿": "lime", "蓝": "blue"}


class Settings(msgspec.Struct, frozen=True):
    silent: Annotated[bool, msgspec.Meta(description="whether nothing is said")] = False


class Namer:
    """Right in its first caption, vague in the others."""

    def __init__(self, settings: Settings) -> None:
        self.silent = settings.silent

    def caption(self, images: Sequence[Image.Image], n: int, *, seed: int) -> list[list[str]]:
        if self.silent:
            return [[""] * n for _ in images]
        return [[f"一个{_colour(image)}色的圆形", *["一个圆形"] * (n - 1)] for image in images]


def _colour(image: Image.Image) -> str:
    pixel = image.getpixel((0, 0))
    return next(word for word, name in COLOURS.items() if Image.new("RGB", (1, 1), name).getpixel((0, 0)) == pixel)


class Letters:
    def __init__(self, settings: Settings) -> None:
        pass

    def score(self, prompt: str, images: Sequence[Image.Image]) -> list[float]:
        return [float(len(prompt)) for _ in images]


class Plugin:
    @hookimpl
    def t2i_captioners(self) -> list[Entry[Captioner]]:
        return [Entry("namer", "says colours", Settings, Namer)]

    @hookimpl
    def t2i_rankers(self) -> list[Entry[Ranker]]:
        return [Entry("letters", "likes length", Settings, Letters)]


@pytest.fixture
def pictures(t2i: Runner) -> Path:
    t2i.use(Plugin())
    folder = Path("pictures")
    folder.mkdir()
    for word, name in COLOURS.items():
        Image.new("RGB", (4, 4), name).save(folder / f"{name}.png")
        (folder / f"{name}.txt").write_text(f"一个{word}色的圆形\n{word}色圆形\n", encoding="utf-8")
    return folder


def test_captions_are_compared_with_every_reference_and_judged(t2i: Runner, pictures: Path) -> None:
    words = ("evaluate", "caption", pictures, "-m", "namer", "-r", "letters", "--json")
    (result,) = t2i.ok(*words).json()["results"]
    assert (result["pictures"], result["bleu_4"], result["rouge_l"], result["different"]) == (3, 1.0, 1.0, 1.0)
    assert 5 < result["cider_d"] < 10  # the second reference is shorter
    assert result["judged"] == {"letters": {"captions": 7.0, "references": 5.5}}


def test_several_captions_are_averaged(t2i: Runner, pictures: Path) -> None:
    words = ("evaluate", "caption", pictures, "-m", "namer", "--json")
    one, three = (t2i.ok(*words, "-n", n).json()["results"][0] for n in (1, 3))
    assert three["cider_d"] < one["cider_d"]
    assert three["different"] == pytest.approx(2 / 3)


def test_the_table_names_every_figure(t2i: Runner, pictures: Path) -> None:
    told = t2i.ok("evaluate", "caption", pictures, "-m", "namer", "-r", "letters")
    assert all(word in told.stdout for word in ("bleu_4", "rouge_l", "cider_d", "letters", "3 pictures"))


def test_pictures_without_captions_are_refused(t2i: Runner, pictures: Path) -> None:
    for path in pictures.glob("*.txt"):
        path.unlink()
    t2i.fails("evaluate", "caption", pictures, "-m", "namer", says="has a sentence")


def test_empty_captions_are_worth_nothing(t2i: Runner, pictures: Path) -> None:
    words = ("evaluate", "caption", pictures, "-m", "namer", "-o", "silent=true", "-r", "letters", "--json")
    (result,) = t2i.ok(*words).json()["results"]
    assert [result[name] for name in ("bleu_4", "rouge_l", "cider_d")] == [0.0, 0.0, 0.0]
    assert result["judged"]["letters"]["captions"] == 0.0


def test_a_job_measures_as_a_run_without_engine_does(t2i: Runner, pictures: Path) -> None:
    words = ("evaluate", "caption", pictures, "-m", "namer", "-n", 2, "-r", "letters")
    job = (*words, "--engine", "here", "--output", "job", "--shard-rows", 2)
    plain = t2i.ok(*words, "--json").json()
    assert t2i.ok(*job, "--json").json() == plain
    assert [path.name for path in sorted(Path("job/shards").iterdir())] == ["000000.jsonl", "000001.jsonl"]
    Path("job/shards/000001.jsonl").unlink()
    assert t2i.ok(*job, "--json").json() == plain
    t2i.fails(*job, "--seed", 1, says="was started with seed = 0, now it is 1")
    t2i.fails(*job, "-m", "namer", says="--engine measures one model")
    t2i.fails(*words, "--output", "job", says="--output is for a job")
    Image.new("RGB", (4, 4), "red").save(pictures / "lime.png")
    t2i.fails(*job, says="was started with data")
