"""`t2i rerank --output`: scores that later runs use."""

from __future__ import annotations

import gc
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
from t2icli.contract.kinds import Ranker
from t2icli.pipelines import output_file
from t2icli.testing import Runner


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    sign: Annotated[int, Meta(description="1 for wide, -1 for narrow pictures")] = 1
    kill: Annotated[int, Meta(description="the picture that ends in kill -9")] = 0
    count: Annotated[int, Meta(description="count pictures in memory at every picture of that number")] = 0
    batch: Annotated[int, Meta(description="how many at once")] = 2


class Wide:
    scored: ClassVar[list[int]] = []
    """The width of every picture that was scored."""
    alive: ClassVar[list[int]] = []
    """Pictures in memory whenever they were counted, which takes long."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def score(self, prompt: str, images: Sequence[Image.Image]) -> list[float]:
        self.scored.extend(image.width for image in images)
        if self.settings.count and len(self.scored) % self.settings.count == 2:
            self.alive.append(sum(type(each) is Image.Image for each in gc.get_objects()))
        if len(self.scored) == self.settings.kill:
            os.kill(os.getpid(), signal.SIGKILL)
        return [self.settings.sign * image.width / 3 for image in images]


class Changing(Wide):
    """Changes a picture while others are scored."""

    def score(self, prompt: str, images: Sequence[Image.Image]) -> list[float]:
        Image.new("RGB", (9, 4)).save("in/2.png")
        return super().score(prompt, images)


class Plugin:
    def __init__(self, wide: type[Wide] = Wide) -> None:
        self.wide = wide

    @hookimpl
    def t2i_rankers(self) -> list[Entry[Ranker]]:
        return [Entry("wide", "how wide", Settings, self.wide), Entry("narrow", "how narrow", Settings, Wide)]


@pytest.fixture(autouse=True)
def pictures(t2i: Runner) -> None:
    t2i.use(Plugin())
    Wide.scored.clear()
    Wide.alive.clear()
    Path("in").mkdir()
    for width in (1, 2, 3):
        Image.new("RGB", (width, 4), "blue").save(f"in/{width}.png")


WORDS = ("rerank", "x", "in", "-r", "wide", "--output", "s.jsonl", "--batch-size", "1")


def scored(t2i: Runner, *words: object) -> list[int]:
    """The widths of pictures that a run had to score."""
    Wide.scored.clear()
    t2i.ok(*WORDS, *words)
    return Wide.scored[:]


def test_what_was_scored_before_is_not_scored_again_and_the_answer_is_the_same(t2i: Runner) -> None:
    first = t2i.ok(*WORDS, "--json").stdout
    lines = [json.loads(line) for line in Path("s.jsonl").read_text().splitlines()]
    assert [(line["path"], line["scores"]) for line in lines] == [(f"in/{n}.png", {"wide": n / 3}) for n in (1, 2, 3)]
    assert scored(t2i) == []
    assert t2i.ok(*WORDS, "--json").stdout == first == t2i.ok(*WORDS[:5], "--json").stdout


def test_new_and_changed_pictures_are_scored_and_copies_are_not(t2i: Runner) -> None:
    scored(t2i)
    Image.new("RGB", (5, 4)).save("in/0.png")
    Image.new("RGB", (7, 4)).save("in/2.png")
    Path("in/copy.png").write_bytes(Path("in/3.png").read_bytes())
    assert scored(t2i) == [5, 7]
    os.remove("in/3.png")
    assert scored(t2i) == []
    names = [Path(row["path"]).name for row in t2i.ok(*WORDS, "--json").json()["results"]]
    assert names == ["2.png", "0.png", "copy.png", "1.png"]


def test_a_picture_that_changes_while_it_is_scored_is_scored_again(t2i: Runner) -> None:
    t2i.use(Plugin(Changing))
    scored(t2i, "--batch-size", 3)
    t2i.use(Plugin())
    assert scored(t2i) == [9]


def test_a_run_that_was_cut_off_anywhere_scores_only_the_rest(t2i: Runner) -> None:
    scored(t2i)
    whole = Path("s.jsonl").read_bytes()
    for length in range(0, len(whole), 37):
        Path("s.jsonl").write_bytes(whole[:length])
        left = 3 - whole[:length].count(b"}}")  # a line may lack nothing but its end
        assert len(scored(t2i)) == left
        assert Path("s.jsonl").read_bytes() == whole


def test_scores_of_another_prompt_or_ranker_are_not_used(t2i: Runner) -> None:
    scored(t2i)
    t2i.fails(*WORDS, "-o", "sign=-1", says="written with other settings")
    t2i.fails(*WORDS, "-r", "narrow", says="written with other settings")
    t2i.fails("rerank", "y", *WORDS[2:], says="written with other settings")
    assert scored(t2i, "-o", "sign=-1", "--force") == [1, 2, 3]


def test_the_size_of_a_batch_and_the_number_shown_are_no_such_settings(t2i: Runner) -> None:
    scored(t2i)
    assert scored(t2i, "--batch-size", 3, "--top", 1) == []


def test_one_run_at_a_time_writes_to_a_file(t2i: Runner) -> None:
    with output_file.locked(Path("s.jsonl"), "rerank"):
        t2i.fails(*WORDS, says="another run is writing 's.jsonl'")
    assert scored(t2i) == [1, 2, 3]


def test_a_file_of_another_command_is_refused(t2i: Runner) -> None:
    scored(t2i)
    Path("s.jsonl").write_text('{"path": "in/1.png", "captions": []}\n')
    t2i.fails(*WORDS, says="a line of 's.jsonl' was not written by t2i rerank")


def test_no_more_pictures_are_in_memory_at_the_end_than_at_the_beginning(t2i: Runner) -> None:
    for width in range(10, 30):
        Image.new("RGB", (width, 4)).save(f"in/{width}.png")
    assert len(scored(t2i, "-o", "count=7")) == 23
    assert len(Wide.alive) == 4 and max(Wide.alive) == Wide.alive[0]


PROGRAM = """
import functools, sys
from t2icli import cli
from t2icli.registry import discovery
sys.path.insert(0, {folder!r})
import test_rerank_output
here = discovery.collect([("wide", "under test", test_rerank_output.Plugin)])
discovery.installed = functools.cache(lambda: here)
sys.exit(cli.run(sys.argv[1:]))
"""


def test_scores_are_on_the_disk_before_the_last_picture_also_after_kill_9(t2i: Runner) -> None:
    program = PROGRAM.format(folder=str(Path(__file__).parent))
    words = [sys.executable, "-c", program, *WORDS, "-o", "kill=3"]
    assert subprocess.run(words, capture_output=True, timeout=60).returncode == -signal.SIGKILL
    before = Path("s.jsonl").read_bytes()
    assert before.count(b"\n") == 2
    assert scored(t2i, "-o", "kill=3") == [3]
    assert Path("s.jsonl").read_bytes().startswith(before)


JOB = ("rerank", "x", "in", "-r", "wide=2,narrow", "--output", "job", "--engine", "here", "--shard-rows", 2)


def test_a_job_ranks_as_a_run_without_engine_does(t2i: Runner) -> None:
    Path("in/bad.png").write_text("<html>")
    Path("in/same.png").write_bytes(Path("in/3.png").read_bytes())
    plain = t2i.fails(*JOB[:5], "--json", code=3).json()
    assert t2i.fails(*JOB, "--json", code=3).json() == plain
    assert [each["same_as"] for each in plain["results"]] == [None, "in/3.png", None, None]
    assert [path.name for path in sorted(Path("job/shards").iterdir())] == [f"{i:06d}.jsonl" for i in range(3)]
    assert t2i.fails(*JOB, "--top", 1, "--copy", "best", code=3).stdout == "in/3.png\n"
    assert Path("best/001-3.png").is_file()


def test_a_job_scores_the_missing_shards_alone_and_refuses_another_prompt(t2i: Runner) -> None:
    first = t2i.ok(*JOB, "--json").stdout
    Path("job/shards/000001.jsonl").unlink()
    Wide.scored.clear()
    assert t2i.ok(*JOB, "--json").stdout == first and Wide.scored == [3, 3]
    t2i.fails("rerank", "y", *JOB[2:], says="was started with prompt = x, now it is y")
    t2i.fails(*JOB, "-o", "wide.sign=-1", says="was started with ranker.wide.identity")
