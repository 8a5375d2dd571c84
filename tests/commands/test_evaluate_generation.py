"""`t2i evaluate generation`: who chooses, who judges, and how often each is asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from PIL import Image

from t2icli.contract.entries import Entry
from t2icli.contract.hookspecs import hookimpl
from t2icli.contract.kinds import Generator, Ranker
from t2icli.testing import Runner, toys


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing to set."""


class Plugin:
    """Draws, and counts how often its ranker judges each picture for each prompt."""

    def __init__(self) -> None:
        self.judged: Counter[tuple[str, int]] = Counter()

    def generate(self, prompt: str, n: int, *, seed: int) -> Iterator[Image.Image]:
        yield from (Image.new("RGB", (8, 8), (seed + i, 0, 0)) for i in range(n))

    def score(self, prompt: str, images: Sequence[Image.Image]) -> list[float]:
        self.judged.update((prompt, image.getpixel((0, 0))[0]) for image in images)  # type: ignore[index]
        return [1.0 for _ in images]

    @hookimpl
    def t2i_generators(self) -> list[Entry[Generator]]:
        return [Entry("draws", "draws", Settings, lambda settings: self)]

    @hookimpl
    def t2i_rankers(self) -> list[Entry[Ranker]]:
        return [Entry(name, "judges", Settings, lambda settings: self) for name in ("judges", "another")]


def test_one_that_chooses_and_judges_is_asked_once(t2i: Runner) -> None:
    plugin = Plugin()
    t2i.use(plugin)
    Path("prompts.txt").write_text("x\ny\n")
    words = ("evaluate", "generation", "prompts.txt", "-n", 2, "-m", "draws", "-r", "judges")
    t2i.ok(*words)
    once = Counter(plugin.judged)
    plugin.judged.clear()
    t2i.ok(*words, "--judge", "another")
    assert {prompt for prompt, _ in once} == {"x", "y"}
    assert plugin.judged == once + once


def test_a_job_measures_as_a_run_without_engine_does(t2i: Runner) -> None:
    t2i.use(toys)
    Path("prompts.txt").write_text("x\ny\nz\n")
    toys.prepared(Path("real"), {"red": ["a"], "blue": ["b"], "green": ["c"]}, size=(8, 8))
    by = ("-r", "toy", "--judge", "toy-vectors", "--reference", "real")
    words = ("evaluate", "generation", "prompts.txt", "-n", 4, "-m", "toy", *by)
    job = (*words, "--engine", "here", "--output", "job", "--shard-rows", 8)
    plain = t2i.ok(*words, "--json").json()
    assert plain["frechet"] > 0 and len(plain["best_of"]) == 2
    assert t2i.ok(*job, "--json").json() == plain
    assert [path.name for path in sorted(Path("job/shards").iterdir())] == ["000000.npz", "000001.npz"]
    Path("job/shards/000001.npz").unlink()
    assert t2i.ok(*job, "--json").json() == plain
    t2i.fails(*job, "--seed", 1, says="was started with seed = 0, now it is 1")
    t2i.fails(*job, "-r", "toy-vectors", says="was started with ranker")
    t2i.fails(*words, "--output", "job", says="--output is for a job")
