"""`t2i generate --engine`: pictures in shards that a later run continues, the same as without it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from t2icli.data.dataset import PreparedDataset
from t2icli.testing import Runner, toys

WORDS = ("--prompts", "names.txt", "-m", "toy", "-n", 4, "--seed", 250, "--rerank", "toy", "--top", 2)
NAMES = ["red bowl", "红烧牛肉面", "blue bowl", "red bowl", "soup"]


@pytest.fixture(autouse=True)
def names(t2i: Runner) -> None:
    t2i.use(toys)
    Path("names.txt").write_text("\n\n".join(NAMES) + "\n", encoding="utf-8")


def album(folder: Path) -> dict[str, bytes]:
    """The pictures and rows of one, and its gallery."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in (".png", ".jsonl", ".html")}


def test_the_album_is_that_of_a_run_without_engine_byte_for_byte(t2i: Runner) -> None:
    plain = t2i.ok("generate", *WORDS, "--output", "plain", "--json").json()
    job = t2i.ok("generate", *WORDS, "--output", "job", "--engine", "here", "--shard-rows", 9, "--json").json()
    assert album(Path("job")) == album(Path("plain"))
    assert len(list(Path("job").glob("*.png"))) == 2 * len(NAMES) + 1
    assert (job["seed"], job["distinct"], job["results"]) == (plain["seed"], plain["distinct"], plain["results"])
    assert [path.name for path in sorted(Path("job/shards").iterdir())] == ["000000.tar", "000001.tar", "000002.tar"]


def test_typed_prompts_and_pictures_to_go_by_are_drawn_in_shards_too(t2i: Runner) -> None:
    toys.pictures(Path("in"), "green")
    words = ("generate", "a bowl", "b", "-m", "toy-painter", "--like", "in/green.png", "-n", 3, "--seed", 1)
    t2i.ok(*words, "--output", "plain")
    t2i.ok(*words, "--output", "job", "--engine", "here")
    assert album(Path("job")) == album(Path("plain"))


def test_prompts_that_are_typed_or_piped_in_come_before_those_of_a_file(t2i: Runner) -> None:
    words = ("generate", "-", *WORDS)
    t2i.ok(*words, "--output", "plain", stdin="piped\n\nin\n")
    t2i.ok(*words, "--output", "job", "--engine", "here", stdin="piped\n\nin\n")
    assert album(Path("job")) == album(Path("plain"))
    t2i.ok("generate", "--config", "job/settings.toml", "--output", "again", "--engine", "here")
    assert album(Path("again")) == album(Path("plain"))


def test_a_run_continues_with_what_is_missing_wherever_it_was_killed(t2i: Runner) -> None:
    words = ("generate", *WORDS, "--output", "job", "--engine", "here", "--shard-rows", 4)
    t2i.ok(*words)
    whole, shards = album(Path("job")), {path: path.read_bytes() for path in Path("job/shards").iterdir()}
    for kept in range(len(NAMES) * 4):  # rows filed before
        lines = whole["results.jsonl"].splitlines(keepends=True)
        Path("job/results.jsonl").write_bytes(b"".join(lines[:kept]))
        for line in lines[kept:]:
            if name := json.loads(line)["file"]:
                Path("job", name).unlink()
        Path("job/shards/000003.tar").unlink()
        t2i.ok(*words)
        assert album(Path("job")) == whole
    assert {path: path.read_bytes() for path in Path("job/shards").iterdir()} == shards


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--seed", 1), "was started with seed = 250, now it is 1"),
        (("-n", 3), "was started with n = 4, now it is 3"),
        (("--top", 1), "was started with top = 2, now it is 1"),
        (("-o", "size=9"), "was started with generator.identity"),
        (("--prompts", "others.txt"), "was started with text"),
    ],
)
def test_other_settings_are_refused(t2i: Runner, words: tuple[object, ...], says: str) -> None:
    t2i.ok("generate", *WORDS, "--output", "job", "--engine", "here")
    Path("others.txt").write_text("\n".join(NAMES[::-1]), encoding="utf-8")
    t2i.fails("generate", *WORDS, *words, "--output", "job", "--engine", "here", says=says)


def test_another_batch_size_or_number_of_workers_is_no_other_setting(t2i: Runner) -> None:
    words = ("generate", "--prompts", "names.txt", "--seed", 3, "-m", "toy", "--output", "job", "--engine", "here")
    t2i.ok(*words)
    t2i.ok(*words, "--batch-size", 2)


def test_a_random_seed_is_that_of_the_run_that_began(t2i: Runner) -> None:
    words = ("generate", "a", "-m", "toy", "--output", "job", "--engine", "here", "--json")
    assert t2i.ok(*words).json()["seed"] == t2i.ok(*words).json()["seed"]


def test_shards_alone_are_a_webdataset_that_prepare_reads(t2i: Runner) -> None:
    t2i.ok("generate", *WORDS, "--output", "job", "--engine", "here", "--shard-rows", 8, "--shards")
    assert sorted(path.name for path in Path("job").iterdir() if not path.name.startswith(".")) == [
        "plan.toml",
        "settings.toml",
        "shards",
    ]
    with tarfile.open("job/shards/000000.tar") as tar:
        assert tar.getnames()[:6] == [f"00000000-25{i}.{end}" for i in (3, 2) for end in ("png", "txt", "json")]
    t2i.ok("prepare", "webdataset", "job/shards", "-o", "rules.duplicates=keep", "--output", "data")
    data = PreparedDataset.open("data")
    assert len(data) == 2 * len(NAMES) and data.captions(2) == (NAMES[1],)


def test_an_album_can_be_made_of_shards_later(t2i: Runner) -> None:
    words = ("generate", *WORDS, "--output", "job", "--engine", "here")
    t2i.ok(*words, "--shards")
    t2i.ok(*words)
    t2i.ok("generate", *WORDS, "--output", "plain")
    assert album(Path("job")) == album(Path("plain"))


def test_what_does_not_go_together_is_refused(t2i: Runner) -> None:
    t2i.fails("generate", *WORDS, "--engine", "here", says="--output is missing")
    t2i.fails("generate", *WORDS, "--shards", "--output", "x", says="--shards is for a job")
    t2i.fails("generate", *WORDS, "--engine", "here", "--output", "x", "--force", says="--force is not for a job")
    t2i.fails("generate", *WORDS, "--workers", 2, "--output", "x", says="add --engine ray")
    t2i.ok("generate", *WORDS, "--output", "job", "--engine", "here")
    t2i.fails("generate", *WORDS, "--output", "job", says="'job' holds a job of --engine")
    Path("names.txt").write_bytes(b"good\nbad \xff\n")
    t2i.fails("generate", *WORDS, "--engine", "here", "--output", "y", says="line 2")
    assert not Path("y").exists()


@pytest.mark.slow
def test_a_run_that_is_killed_ends_with_the_same_bytes(tmp_path: Path) -> None:
    """By the program itself, in a process of its own, with the models that come with it."""
    pytest.importorskip("t2i_starter")
    pytest.importorskip("t2i_brivl")
    words = [sys.executable, "-m", "t2icli", "generate", "--prompts", "names.txt", "-n", "2", "--rerank", "brivl"]
    words += ["--top", "1", "--seed", "1", "--output"]
    engine = ["--engine", "here", "--shard-rows", "2"]
    killed = subprocess.Popen([*words, "job", *engine], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while len(list(Path("job").glob("shards/*.tar"))) < 2 and killed.poll() is None:
        time.sleep(0.01)
    os.kill(killed.pid, signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    subprocess.run([*words, "job", *engine], check=True, capture_output=True)
    subprocess.run([*words, "plain"], check=True, capture_output=True)
    assert album(Path("job")) == album(Path("plain"))
