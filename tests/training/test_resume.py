"""However a run ends, resumed it ends with the same weights, byte for byte, as one that was left alone."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import forked
import pytest

from t2icli.store import models
from t2icli.testing import Runner
from t2icli.training import log
from t2icli.training.interrupt import StopRequest

RUN = ["train", "tiny", "--output", "x", "--save-every", "1", "--report-to", "none", "-o", "slow=0.01"]


class Runs:
    """Starts runs of one training in a folder, to be killed."""

    def __init__(self, data: Path, folder: Path) -> None:
        self.folder = folder
        self.words = [*RUN, "--train-data", str(data)]
        folder.mkdir()

    def start(self, *more: str) -> ForkServerProcess:
        return forked.start([*self.words, *more], self.folder)

    def finish(self, *more: str) -> bytes:
        process = self.start(*more)
        process.join(60)
        assert process.exitcode == 0, (self.folder / "said").read_text()
        return self.weights()

    def weights(self) -> bytes:
        best = self.folder / "x/best" / models.WEIGHTS
        return (self.folder / "x/model" / models.WEIGHTS).read_bytes() + best.read_bytes()

    def stopped(self, step: int, seconds: float, number: int = signal.SIGKILL) -> int | None:
        """The exit code of a run that gets a signal some seconds after it began to write the checkpoint of `step`."""
        process = self.start("--resume")
        while process.is_alive() and not any((self.folder / "x/checkpoints").glob(f"*step-{step:09d}*")):
            time.sleep(0.001)
        time.sleep(seconds)
        with contextlib.suppress(ProcessLookupError):  # it was quicker
            os.kill(process.pid or 0, number)
        process.join(60)
        return process.exitcode


@pytest.fixture(scope="module")
def left_alone(data: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The weights of a run that nobody disturbed."""
    return Runs(data, tmp_path_factory.mktemp("runs") / "alone").finish()


def test_a_run_killed_again_and_again_ends_with_the_same_bytes(data: Path, tmp_path: Path, left_alone: bytes) -> None:
    runs = Runs(data, tmp_path / "killed")
    for step in (4, 9):
        assert runs.stopped(step, 0) == -signal.SIGKILL
    assert runs.finish("--resume") == left_alone
    lines = log.read(runs.folder / "x/log.jsonl")
    assert [line["step"] for line in lines if line["what"] == "val"] == [4, 8, 12]
    assert not list((runs.folder / "x").rglob(".*.part"))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_killed_at_a_random_moment_it_ends_with_the_same_bytes(
    data: Path, tmp_path: Path, left_alone: bytes, seed: int
) -> None:
    moment = random.Random(seed)
    runs = Runs(data, tmp_path / "killed")
    runs.stopped(moment.randint(1, 12), moment.uniform(0, 0.1))  # a step and its checkpoint take about as long
    assert runs.finish("--resume") == left_alone


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_finishes_the_step_saves_and_exits_130(
    data: Path, tmp_path: Path, left_alone: bytes, number: int
) -> None:
    runs = Runs(data, tmp_path / "stopped")
    assert runs.stopped(2, 0, number) == 130
    assert "continue with: t2i train --resume --output x" in (runs.folder / "said").read_text()
    assert runs.finish("--resume") == left_alone


@pytest.mark.parametrize("moment", ["draw-5", "judge-5", "evaluate-8"])
def test_a_step_of_minutes_is_abandoned_and_the_run_ends_with_the_same_bytes(
    data: Path, tmp_path: Path, left_alone: bytes, moment: str
) -> None:
    runs = Runs(data, tmp_path / "stopped")
    (runs.folder / f"hang-{moment}").touch()
    process = runs.start("--resume")
    while process.is_alive() and not (runs.folder / "hangs").exists():
        time.sleep(0.01)
    os.kill(process.pid or 0, signal.SIGTERM)
    process.join(60)  # it would hang for longer
    assert process.exitcode == 130, (runs.folder / "said").read_text()
    (runs.folder / f"hang-{moment}").unlink()
    assert runs.finish("--resume") == left_alone
    lines = log.read(runs.folder / "x/log.jsonl")
    assert [line["step"] for line in lines if line["what"] == "val"] == [4, 8, 12]


def test_a_second_signal_exits_at_once(data: Path, tmp_path: Path) -> None:
    runs = Runs(data, tmp_path / "stopped")
    process = runs.start("-o", "slow=30", "--batch-size", "4")
    while process.is_alive() and not (runs.folder / "x/log.jsonl").exists():  # from there on the loop listens
        time.sleep(0.01)
    time.sleep(0.3)
    for _ in range(2):
        os.kill(process.pid or 0, signal.SIGINT)
        time.sleep(0.2)
    process.join(5)
    assert process.exitcode == 130


def test_a_scheduler_may_repeat_its_signal_while_the_state_is_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    asked = StopRequest(patient=True)
    for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGTERM):
        asked.receive(number, None)
    assert asked.to_stop and not ended
    asked.receive(signal.SIGINT, None)
    assert ended == [130]


def test_a_run_resumed_with_other_settings_is_refused_with_a_list(tiny_t2i: Runner, data: Path) -> None:
    tiny_t2i.ok("train", "tiny", "--train-data", data, "--output", "x", "--max-steps", "3")
    result = tiny_t2i.fails("train", "--resume", "--output", "x", "--lr", "0.5", "-o", "width=4", says="other settings")
    assert "width: 8 then, 4 now" in result.stderr
    assert "loop.lr: 0.01 then, 0.5 now" in result.stderr


def test_a_run_that_is_not_there_cannot_be_resumed(tiny_t2i: Runner) -> None:
    tiny_t2i.fails("train", "--resume", "--output", "x", says="there is no run to continue in 'x'")
    tiny_t2i.fails("train", "tiny", "--resume", "--output", "x", says="there is no run to continue in 'x'")


def test_a_run_may_be_made_longer_where_the_schedule_allows_it(tiny_t2i: Runner, data: Path) -> None:
    tiny_t2i.ok("train", "tiny", "--train-data", data, "--output", "long", "--max-steps", "6")
    for steps in ("3", "6"):
        tiny_t2i.ok("train", "tiny", "--train-data", data, "--output", "x", "--max-steps", steps, "--resume")
    assert Path("x/model", models.WEIGHTS).read_bytes() == Path("long/model", models.WEIGHTS).read_bytes()
    tiny_t2i.ok("train", "tiny", "--train-data", data, "--output", "y", "--max-steps", "3", "--schedule", "cosine")
    tiny_t2i.fails("train", "--resume", "--output", "y", "--max-steps", "6", says="loop.max_steps: 3 then, 6 now")


def test_a_run_killed_just_before_its_model_was_written_writes_it(tiny_t2i: Runner, data: Path) -> None:
    tiny_t2i.ok("train", "tiny", "--train-data", data, "--output", "x", "--max-steps", "3")
    model = Path("x/model", models.WEIGHTS)
    before = model.read_bytes()
    shutil.rmtree("x/model")
    tiny_t2i.ok("train", "--resume", "--output", "x")
    assert model.read_bytes() == before


def test_other_data_is_refused(tiny_t2i: Runner, data: Path, tmp_path: Path) -> None:
    tiny_t2i.ok("train", "tiny", "--train-data", data, "--output", "x", "--max-steps", "3")
    tiny_t2i.fails(
        "train", "--resume", "--output", "x", "--train-data", data, "--val-data", data, says="the data is not what"
    )


def test_a_folder_with_a_run_is_not_overwritten(tiny_t2i: Runner, data: Path) -> None:
    tiny_t2i.ok("train", "tiny", "--train-data", data, "--output", "x", "--max-steps", "3")
    tiny_t2i.fails("train", "tiny", "--train-data", data, "--output", "x", says="continue it with --resume")


def test_workers_do_not_change_the_weights(tiny_t2i: Runner, data: Path) -> None:
    tiny_t2i.ok("train", "tiny", "--train-data", data, "--output", "x", "--workers", "2", "--max-steps", "4")
    tiny_t2i.ok("train", "tiny", "--train-data", data, "--output", "y", "--max-steps", "4")
    assert Path("x/model", models.WEIGHTS).read_bytes() == Path("y/model", models.WEIGHTS).read_bytes()
