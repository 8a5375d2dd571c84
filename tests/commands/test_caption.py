"""`t2i caption`, with a captioner that tells how wide a picture is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar

import msgspec
import pytest
from msgspec import Meta
from PIL import Image

from t2icli.contract.entries import Entry
from t2icli.contract.hookspecs import hookimpl
from t2icli.contract.kinds import Captioner
from t2icli.data.dataset import PreparedDataset
from t2icli.pictures import images
from t2icli.pipelines import output_file
from t2icli.testing import Runner, toys


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    word: Annotated[str, Meta(description="what to call them")] = "picture"
    batch: Annotated[int, Meta(description="how many at once")] = 2


class Wide:
    asked: ClassVar[list[int]] = []

    def __init__(self, settings: Settings) -> None:
        self.word = settings.word

    def caption(self, images: Sequence[Image.Image], n: int, *, seed: int) -> list[list[str]]:
        assert {image.mode for image in images} == {"RGB"}
        self.asked.append(len(images))
        if self.word == "killed" and len(self.asked) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.word == "nothing":
            return [[""] * n for _ in images]
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


def test_the_size_of_a_batch_bounds_the_pictures_at_once_and_changes_no_caption(t2i: Runner) -> None:
    together = captions(t2i, "in", "--seed", 1, "-n", 2)
    Wide.asked.clear()
    assert captions(t2i, "in", "--seed", 1, "-n", 2, "--batch-size", 2) == together
    assert sum(Wide.asked) == 3 and max(Wide.asked) == 2


def test_a_ranker_puts_the_best_caption_first(t2i: Runner) -> None:
    best = captions(t2i, "in", "-n", 3, "--rerank", "colours", "-o", "ranker.size=2")
    assert all(lines[0].startswith("a blue") for lines in best.values())


def test_txt_writes_the_captions_beside_each_picture_and_replaces_none(t2i: Runner) -> None:
    t2i.ok("caption", "in", "-n", 2, "--seed", 0, "--txt")
    assert Path("in/1.txt").read_text() == "a red picture 1 wide, 0\na blue picture 1 wide, 0\n"
    t2i.fails("caption", "in", "--txt", says="1.txt' already exists")
    t2i.ok("caption", "in", "--seed", 5, "--txt", "--force")
    assert Path("in/1.txt").read_text() == "a red picture 1 wide, 5\n"


def test_two_pictures_that_want_one_text_file_are_told_of(t2i: Runner) -> None:
    Image.new("RGB", (1, 1)).save("in/1.jpg")
    t2i.fails("caption", "in", "--txt", says="would share one text file")
    assert not list(Path("in").glob("*.txt"))
    assert Wide.asked == []


def test_unreadable_files_are_named_and_the_rest_is_described(t2i: Runner) -> None:
    Path("in/0.png").write_text("<html>")
    done = t2i.fails("caption", "in", "--seed", 3, code=3)
    assert "0.png' is a web page" in done.stderr and "1 wide, 4" in done.stdout
    Path("x.png").write_text("")
    t2i.fails("caption", "x.png", says="none of 1 files is a picture")


@pytest.mark.parametrize("batch", [1, 2, 8])
def test_the_seed_of_a_picture_is_that_of_its_position_whatever_can_be_read(t2i: Runner, batch: int) -> None:
    Path("in/2.png").write_text("<html>")
    report = t2i.fails("caption", "in", "--seed", 10, "--json", "--batch-size", batch, code=3).json()
    told = {Path(row["path"]).name: row["captions"] for row in report["results"]}
    assert told == {"1.png": ["a red picture 1 wide, 10"], "3.png": ["a red picture 3 wide, 12"]}


def test_a_prepared_dataset_is_described_by_its_keys(t2i: Runner) -> None:
    toys.prepared(Path("data"), {"red": ["a"], "blue": ["b"]}, size=(5, 5))
    assert captions(t2i, "data", "--seed", 3) == {
        "red": ["a red picture 5 wide, 3"],
        "blue": ["a red picture 5 wide, 4"],
    }


def test_the_pictures_of_a_dataset_have_no_place_for_text_files(t2i: Runner) -> None:
    toys.prepared(Path("data"), {"red": ["a"]})
    t2i.fails("caption", "data", "--txt", says="--txt needs pictures in files")
    assert not Path("red.txt").exists()


JOB = ("caption", "in", "--seed", 10, "--output", "job", "--engine", "here", "--shard-rows", 2)


def test_a_job_describes_as_a_run_without_engine_does(t2i: Runner) -> None:
    for width in (4, 5):
        Image.new("RGB", (width, 4), "blue").save(f"in/{width}.png")
    Path("in/2.png").write_text("<html>")
    t2i.fails("caption", "in", "--seed", 10, "--output", "c.jsonl", code=3)
    done = t2i.fails(*JOB, "--json", code=3).json()
    assert Path("job/captions.jsonl").read_bytes() == Path("c.jsonl").read_bytes()
    assert (done["captioned"], [each["path"] for each in done["unreadable"]]) == (4, ["in/2.png"])
    assert [path.name for path in sorted(Path("job/shards").iterdir())] == [f"{i:06d}.jsonl" for i in range(3)]


def test_a_job_continues_with_the_missing_shards_and_refuses_other_settings(t2i: Runner) -> None:
    t2i.ok(*JOB, "--txt")
    whole = Path("job/captions.jsonl").read_bytes()
    assert Path("in/1.txt").read_text() == "a red picture\n1 wide, 10\n".replace("\n", " ", 1)
    Path("job/shards/000001.jsonl").unlink()
    Path("job/captions.jsonl").unlink()
    Wide.asked.clear()
    t2i.ok(*JOB[:2], *JOB[4:])  # the seed is that of the plan
    assert Path("job/captions.jsonl").read_bytes() == whole and Wide.asked == [1]
    t2i.fails(*JOB, "-n", 2, says="was started with n = 1, now it is 2")
    t2i.fails(*JOB, "--seed", 1, says="was started with seed = 10, now it is 1")
    Image.new("RGB", (9, 4)).save("in/9.png")
    t2i.fails(*JOB, says="was started with pictures = 3, now it is 4")


def test_options_reach_the_captioner(t2i: Runner) -> None:
    assert captions(t2i, "in/1.png", "-o", "word=photo", "--seed", 0) == {"1.png": ["a red photo 1 wide, 0"]}
    t2i.fails("caption", "in", "-m", "wild", says="did you mean 'wide'?")


def test_with_no_captioner_the_message_says_what_to_install(t2i: Runner) -> None:
    t2i.use()
    t2i.fails("caption", "in", says="t2i install plugins/clipcap in the source tree")


def test_pictures_of_every_form_are_described_in_the_same_colours_and_upright(t2i: Runner) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn it clockwise
    blank = Image.new("RGB", (6, 4))
    forms = {
        "cmyk.jpg": (Image.new("CMYK", (6, 4)), {}),
        "sixteen.png": (Image.new("I;16", (6, 4)), {}),
        "palette.png": (Image.new("P", (6, 4)), {"transparency": 0}),
        "alpha.png": (Image.new("RGBA", (6, 4)), {}),
        "animated.gif": (blank, {"save_all": True, "append_images": [Image.new("RGB", (6, 4), "red")]}),
        "turned.jpg": (Image.new("RGB", (4, 6)), {"exif": exif}),
    }
    Path("forms").mkdir()
    for name, (image, how) in forms.items():
        image.save(f"forms/{name}", **how)
    told = captions(t2i, "forms", "--seed", 0)
    assert set(told) == set(forms)
    assert all(" 6 wide" in text for (text,) in told.values())


def test_damaged_and_oversized_files_are_named_and_the_rest_is_described(
    t2i: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 100)
    Image.new("RGB", (11, 10)).save("in/bomb.png")
    whole = Path("in/3.png").read_bytes()
    Path("in/cut.png").write_bytes(whole[: len(whole) // 2])
    Path("in/empty.jpg").write_bytes(b"")
    report = t2i.fails("caption", "in", "--json", code=3).json()
    assert [Path(row["path"]).name for row in report["results"]] == ["1.png", "2.png", "3.png"]
    reasons = {Path(row["path"]).name: row["reason"] for row in report["unreadable"]}
    assert set(reasons) == {"bomb.png", "cut.png", "empty.jpg"}
    assert "too large" in reasons["bomb.png"] and "empty" in reasons["empty.jpg"]


def test_a_place_without_pictures_is_refused(t2i: Runner) -> None:
    Path("hollow").mkdir()
    t2i.fails("caption", "hollow", says="no images in the folder 'hollow'")
    t2i.fails("caption", "none*.png", says="nothing matches 'none*.png'")


def test_a_copy_of_a_picture_is_described_too_and_a_file_named_twice_once(t2i: Runner) -> None:
    Path("in/copy.png").write_bytes(Path("in/1.png").read_bytes())
    told = captions(t2i, "in/1.png", "in", "in/1.png", "--seed", 0)
    assert sorted(told) == ["1.png", "2.png", "3.png", "copy.png"]


@pytest.mark.parametrize("judged", [(), ("--rerank", "colours")])
def test_an_empty_caption_is_data_in_every_form_of_answer(t2i: Runner, judged: tuple[str, ...]) -> None:
    words = ("-n", 2, "-o", "word=nothing", *judged)
    assert captions(t2i, "in", *words) == {"1.png": ["", ""], "2.png": ["", ""], "3.png": ["", ""]}
    assert "3.png" in t2i.ok("caption", "in", "--txt", *words).stdout
    assert Path("in/1.txt").read_text() == "\n\n"
    t2i.ok("prepare", "folder", "in", "--output", "data", "--val", 0)
    assert PreparedDataset.open("data").captions(0) == ()


def journal(t2i: Runner, *words: object) -> bytes:
    t2i.ok("caption", "in", "--output", "c.jsonl", "--seed", 5, "--batch-size", 2, *words)
    return Path("c.jsonl").read_bytes()


def test_output_has_a_line_for_each_picture_and_the_settings_beside_it(t2i: Runner) -> None:
    first, *rest = map(json.loads, journal(t2i, "-n", 2).splitlines())
    assert first["path"] == "in/1.png" and len(first["captions"]) == 2 and len(rest) == 2
    assert "seed = 5" in Path("c.toml").read_text()


def test_a_run_that_was_cut_off_anywhere_ends_with_the_same_bytes(t2i: Runner) -> None:
    Path("in/1b.png").write_text("no picture")
    t2i.run("caption", "in", "--output", "c.jsonl", "--seed", 5, "--txt", "--batch-size", 2)
    whole = Path("c.jsonl").read_bytes()
    assert whole.count(b"\n") == 4 and b"reason" in whole
    for length in range(0, len(whole), 7):
        Path("c.jsonl").write_bytes(whole[:length])
        shown = t2i.run("caption", "in", "--output", "c.jsonl", "--txt", "--batch-size", 2)
        assert (shown.code, Path("c.jsonl").read_bytes()) == (3, whole)
        assert shown.stdout.count("\n") == 3


def test_what_was_described_before_is_not_described_again(t2i: Runner) -> None:
    whole = journal(t2i)
    Path("c.jsonl").write_bytes(whole.splitlines(keepends=True)[0])
    Wide.asked.clear()
    assert journal(t2i) == whole and Wide.asked == [2]
    assert journal(t2i) == whole and Wide.asked == [2]


def test_a_file_of_other_settings_is_not_continued(t2i: Runner) -> None:
    whole = journal(t2i)
    t2i.fails("caption", "in", "--output", "c.jsonl", "-n", 2, says="written with other settings")
    Path("foreign.jsonl").write_text("{}")
    t2i.fails("caption", "in", "--output", "foreign.jsonl", says="'foreign.jsonl' already exists")
    assert Path("foreign.jsonl").read_text() == "{}"
    assert journal(t2i, "-n", 2, "--force") != whole


def test_one_run_at_a_time_writes_to_a_file(t2i: Runner) -> None:
    with output_file.locked(Path("c.jsonl"), "caption"):
        t2i.fails("caption", "in", "--output", "c.jsonl", says="another run is writing 'c.jsonl'")
    assert not Path("c.jsonl").exists() and Wide.asked == []
    assert journal(t2i).count(b"\n") == 3


def test_pictures_that_were_added_before_those_described_are_described(t2i: Runner) -> None:
    journal(t2i)
    Image.new("RGB", (7, 4)).save("in/0.png")
    lines = [json.loads(line)["path"] for line in journal(t2i).splitlines()]
    assert lines == ["in/1.png", "in/2.png", "in/3.png", "in/0.png"]


PROGRAM = """
import functools, sys
from t2icli import cli
from t2icli.registry import discovery
sys.path.insert(0, {folder!r})
import test_caption
here = discovery.collect([("wide", "under test", test_caption.Plugin)])
discovery.installed = functools.cache(lambda: here)
sys.exit(cli.run(sys.argv[1:]))
"""


def test_captions_are_on_the_disk_before_the_last_picture_also_after_kill_9(t2i: Runner) -> None:
    words = ["caption", "in", "--output", "c.jsonl", "--seed", "5", "--batch-size", "1", "-o", "word=killed"]
    program = PROGRAM.format(folder=str(Path(__file__).parent))
    ended = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, timeout=60)
    assert ended.returncode == -signal.SIGKILL
    before = Path("c.jsonl").read_bytes()
    assert before.count(b"\n") == 1
    assert ended.stdout.decode().startswith("in/1.png\t")
    Wide.asked.extend([0, 0])
    t2i.ok(*words)
    assert Path("c.jsonl").read_bytes().startswith(before) and Path("c.jsonl").read_bytes().count(b"\n") == 3
