"""Ends at random moments: kill -9 of what trains, prepares and draws; Ctrl-C and SIGTERM for every command."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

from cases import Case, installed, start, traces
from PIL import Image

PATIENCE = 120.0
TINY = Path(__file__).parents[2] / "tests/training/tiny.py"
PLUGIN = f"import sys; sys.path.insert(0, {str(TINY.parent)!r}); import tiny; t2i_recipes = tiny.Plugin().t2i_recipes\n"


@dataclass(frozen=True)
class Story:
    """A trial of several commands."""

    name: str
    told: Callable[[Path], list[str]]

    def run(self, folder: Path) -> list[str]:
        return self.told(folder)


def pictures(folder: Path, count: int) -> Path:
    """Small pictures, all different, with captions."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        image = Image.frombytes("RGB", (9, 8), Random(number).randbytes(9 * 8 * 3))
        image.save(folder / f"{number:04d}.png")
        (folder / f"{number:04d}.txt").write_text(f"picture {number}\n")
    return folder


def ended(words: Sequence[str], folder: Path, how: Case | None = None, number: int = 0, wait: float = 0) -> int:
    """The exit code of a command, which gets a signal after so many seconds if it is still there."""
    process = start(words, folder, how)
    if number:
        try:
            process.wait(wait)
        except subprocess.TimeoutExpired:
            process.send_signal(number)
    return finished(process)


def finished(process: subprocess.Popen[bytes]) -> int:
    try:
        return process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return -999


def killed_when(words: Sequence[str], folder: Path, how: Case | None, ready: Callable[[], bool], wait: float) -> None:
    """Kill a command some seconds after it is at work."""
    process, until = start(words, folder, how), time.monotonic() + PATIENCE
    while process.poll() is None and not ready() and time.monotonic() < until:
        time.sleep(0.002)
    time.sleep(wait)
    with contextlib.suppress(ProcessLookupError):  # it was quicker
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def said(folder: Path) -> str:
    return (folder / "stderr").read_text(errors="replace")[-300:]


def train_kills(random: Random, shared: Path, chains: int = 5, kills: int = 3) -> Iterator[Story]:
    """Each chain is killed three times and then left alone; it must end with the bytes of a run that nobody disturbed.

    One kill counts as one trial; a chain that ends wrongly counts against its last."""
    ended(["prepare", "folder", str(pictures(shared / "p", 14)), "--output", "data", "--val", "0.3"], shared)
    how = Case("", [], environment=installed(shared, "tinyrecipe", PLUGIN))
    words = ["train", "tiny", "--output", "x", "--train-data", str(shared / "data"), "--report-to", "none"]
    words += ["--save-every", "1", "--max-steps", "12", "-o", "slow=0.03"]
    code = ended(words, shared, how)
    weights = [shared / "x/model/weights.safetensors", shared / "x/best/weights.safetensors"]
    wanted = [path.read_bytes() for path in weights] if code == 0 else []

    def kill(folder: Path, steps: Sequence[int], waits: Sequence[float], last: bool) -> list[str]:
        run = shared / f"chain-{chain}"
        run.mkdir(exist_ok=True)
        for step, wait in zip(steps, waits, strict=True):
            there = partial(_checkpoint, run / "x/checkpoints", step)
            killed_when([*words, "--resume"], run, how, there, wait)
        if not last:
            return []
        if (code := ended([*words, "--resume"], run, how)) != 0:
            return [f"the resumed run ends with {code}: {said(run)}"]
        got = [(run / path.relative_to(shared)).read_bytes() for path in weights]
        return ["other weights"] * (got != wanted) + traces(run)

    if not wanted:
        yield Story("undisturbed run", lambda folder: [f"exit code {code}: {said(shared)}"])
        return
    for chain in range(chains):
        steps = sorted(random.sample(range(1, 12), kills))
        for index, step in enumerate(steps):
            wait = random.uniform(0, 0.12)
            last = index == kills - 1
            yield Story(
                f"chain {chain}, step {step} + {wait:.3f} s", partial(kill, steps=[step], waits=[wait], last=last)
            )


def _checkpoint(folder: Path, step: int) -> bool:
    return any(folder.glob(f"*step-{step:09d}*"))


def prepare_kills(random: Random, shared: Path, chains: int = 3, kills: int = 4) -> Iterator[Story]:
    """A folder, a table and drawn dishes, each killed four times; afterwards every row is there once."""
    many = pictures(shared / "p", 240)
    with (shared / "a.csv").open("w", newline="") as table:
        rows = csv.writer(table)
        rows.writerows([("path", "caption"), *((f"{path.name}", path.stem) for path in sorted(many.glob("*.png")))])
    sources = [["folder", str(many)], ["csv", str(shared / "a.csv"), "-o", f"root={many}"], ["plates", "240"]]
    for chain, source in enumerate(sources[:chains]):
        words = ["prepare", *source, "--output", "out", "--shard-rows", "10", "-o", "rules.duplicates=keep"]
        for kill in range(kills):
            wait, after = random.uniform(0, 0.25), random.randint(0, 5)
            yield Story(
                f"{source[0]}, {after} chunks + {wait:.3f} s",
                partial(_prepare_kill, shared / f"chain-{chain}", words, after, wait, kill == kills - 1),
            )


def _prepare_kill(run: Path, words: Sequence[str], after: int, wait: float, last: bool, folder: Path) -> list[str]:
    run.mkdir(exist_ok=True)

    def chunks() -> int:
        return len(list((run / "out/report").glob("[0-9]*.parquet")))

    before = chunks()
    killed_when(words, run, None, lambda: chunks() > before + after, wait)
    if not last:
        return []
    if (code := ended(words, run)) != 0:
        return [f"the next run ends with {code}: {said(run)}"]
    if (code := ended(["prepare", "out", "--check"], run)) != 0:
        return [f"--check ends with {code}: {said(run)}"]
    return traces(run) + _rows_once(run / "out")


def _rows_once(output: Path) -> list[str]:
    from t2icli.data.dataset import PreparedDataset

    data = PreparedDataset.open(output)
    keys = [str(data.captions(index)) for index in range(len(data))]
    return [] if len(keys) == 240 else [f"{len(keys)} rows, {len(set(keys))} of them different, in place of 240"]


def generate_kills(random: Random, shared: Path, kills: int = 12) -> Iterator[Story]:
    """Runs into one folder, every other one with --force: a picture is there if and only if it has a row."""
    for kill in range(kills):
        force = kill % 2 == 1
        wait = random.uniform(0.0, 0.6)
        judged = ["--rerank", "colours", "--top", "30"] if kill % 3 == 2 else []
        words = ["generate", "红色", "-m", "noise", "-n", "400", "-o", "size=8", "--output", "o", "--seed", str(kill)]
        yield Story(
            f"{'--force ' * force}{'--rerank ' * bool(judged)}after {wait:.3f} s",
            partial(_generate_kill, shared / "run", [*words, *judged, *["--force"] * force], wait),
        )


def _generate_kill(run: Path, words: Sequence[str], wait: float, folder: Path) -> list[str]:
    run.mkdir(exist_ok=True)
    album = run / "o"
    before = set(album.glob("*")) if album.exists() else set()
    killed_when(words, run, None, lambda: album.exists() and set(album.glob(".t2i-run-*")) - before != set(), wait)
    try:
        rows = _album_rows(album)
    except ValueError as error:
        return [f"results.jsonl is damaged after the kill: {error}"]
    half = [path.name for path in album.glob("[0-9]*.png") if not _is_whole(path)]
    next_run = ["generate", "x", "-m", "noise", "-n", "1", "-o", "size=8", "--output", "o"]
    if (code := ended(next_run, run)) != 0:
        return [f"the next run ends with {code}: {said(run)}"]
    after = _album_rows(album)
    named, there = {row["file"] for row in after if row["file"]}, {path.name for path in album.glob("[0-9]*.png")}
    return [
        *[f"half picture {name}" for name in half],
        *[f"{len(named ^ there)} pictures without a row or rows without a picture"] * (named != there),
        *["rows were lost by the next run"] * (after[: len(rows)] != rows),
        *traces(run),
    ]


def _album_rows(album: Path) -> list[dict[str, object]]:
    path = album / "results.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _is_whole(path: Path) -> bool:
    try:
        Image.open(path).load()
    except OSError:
        return False
    return True


def signals(random: Random, shared: Path, moments: int = 3) -> Iterator[Story]:
    """Ctrl-C or SIGTERM for every command: 130 or 143, no traceback, no half file, at once."""
    source = str(pictures(shared / "p", 60))
    commands = {
        "generate": ["generate", "红", "-m", "noise", "-n", "20000", "-o", "size=8", "--output", "o"],
        "rerank": ["rerank", "红", source, "-r", "colours"],
        "prepare": ["prepare", "plates", "5000", "--output", "out", "--shard-rows", "20"],
        "models": ["models", "check"],
        "plugins": ["plugins"],
        "doctor": ["doctor"],
        "train": [
            "train",
            "vae",
            "--train-data",
            source,
            "--output",
            "r",
            "--max-steps",
            "9999",
            "--report-to",
            "none",
        ],
        "evaluate": ["evaluate", "codec", source, "-m", "vqgan"],
        "search": ["search", "红", source, "-r", "clip"],
        "caption": ["caption", source],
        "install": ["install", "./nothing", "-y"],
    }
    for name, words in commands.items():
        for number in (signal.SIGINT, signal.SIGTERM) * (moments if name in ("generate", "prepare") else 1):
            wait = random.uniform(0.02, 2.5) ** 1.5
            yield Story(f"{name}: {number.name} after {wait:.2f} s", partial(_signalled, words, number, wait))


def _signalled(words: Sequence[str], number: signal.Signals, wait: float, folder: Path) -> list[str]:
    process = start(words, folder)
    try:
        process.wait(wait)
    except subprocess.TimeoutExpired:
        process.send_signal(number)
    begun = time.monotonic()
    code = finished(process)
    text = (folder / "stderr").read_text(errors="replace")
    # Before Python has set its handlers, a signal ends it as any program; shells then say 130 and 143, too.
    allowed = {0, 1, 2, 3, 128 + number, -number} | ({130} if words[0] == "train" else set())
    return [
        *[f"exit code {code}: {text[-200:]}"] * (code not in allowed),
        *["a traceback"] * ("Traceback (most recent" in text),
        *[f"{time.monotonic() - begun:.0f} s until it ended"] * (time.monotonic() - begun > 20),
        *traces(folder),
    ]
