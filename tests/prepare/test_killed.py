"""Whatever moment a run is killed at: nothing is lost, nothing is there twice, nothing half has a whole name."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from t2icli.data.dataset import PreparedDataset
from t2icli.pipelines.prepare import Preparation, prepare
from t2icli.prepare import report
from t2icli.prepare.check import problems
from t2icli.prepare.settings import FetchLimits, PreparePlan, Rules

ROWS = 60
LIMITS = {"timeout": 2, "allow_private": True, "concurrency": 6, "tries": 1}
RUN = """
import json, sys
from pathlib import Path
from t2icli.pipelines.prepare import Preparation, prepare
from t2icli.prepare.settings import FetchLimits, PreparePlan, Rules
source, output, limits = sys.argv[1:]
prepare(Preparation("csv", Path(source), Path(output), PreparePlan(Rules(), FetchLimits(**json.loads(limits)), 5)))
"""


@pytest.fixture
def source(server: Any, tmp_path: Path) -> Path:
    server.delay = 0.04
    path = tmp_path / "x.csv"
    lines = [f"{server.url(f'/good/{i}')},c{i}" for i in range(ROWS)]
    path.write_text("url,caption\n" + "\n".join(lines) + "\n")
    return path


def start(source: Path, output: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", RUN, str(source), str(output), json.dumps(LIMITS)])


def chunks_done(output: Path) -> int:
    return len(report.files(output))


def no_half_file_has_a_whole_name(output: Path) -> None:
    for path in output.glob("report/[0-9]*.parquet"):
        assert len(report.read_parquet(path))


def everything_once(output: Path) -> None:
    data = PreparedDataset.open(output)
    assert list(problems(data)) == []
    assert sorted(data.captions(i)[0] for i in range(len(data))) == sorted(f"c{i}" for i in range(ROWS))
    assert not list(output.rglob("*.part"))


def kill_at_random_moments(source: Path, output: Path, times: int) -> None:
    for _ in range(times):
        run, before = start(source, output), chunks_done(output)
        while chunks_done(output) <= before and run.poll() is None:  # it is at work now
            time.sleep(0.005)
        time.sleep(random.uniform(0, 0.15))
        run.send_signal(signal.SIGKILL)
        run.wait()
        no_half_file_has_a_whole_name(output)
    prepare(Preparation("csv", source, output, PreparePlan(Rules(), FetchLimits(**LIMITS), 5)))
    everything_once(output)


def test_a_run_killed_at_work_is_finished_by_the_next(source: Path, tmp_path: Path) -> None:
    kill_at_random_moments(source, tmp_path / "out", 1)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_killed_ten_times_is_finished_by_the_eleventh(source: Path, tmp_path: Path) -> None:
    kill_at_random_moments(source, tmp_path / "out", 10)


class Killed(BaseException):
    """Like a kill between two steps."""


@pytest.mark.parametrize("step", range(5))
def test_a_run_that_ends_between_any_two_renames_is_finished_by_the_next(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    path, output = tmp_path / "x.csv", tmp_path / "out"
    path.write_text("url,caption\n" + "".join(f"{server.url(f'/good/{i}')},c{i}\n" for i in range(8)))
    job = Preparation("csv", path, output, PreparePlan(Rules(), FetchLimits(**LIMITS), 4))
    replace, done = os.replace, 0

    def replace_until_killed(*names: Any) -> None:
        nonlocal done
        if done == step:
            raise Killed
        done += 1
        replace(*names)

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(os, "replace", replace_until_killed)
        prepare(job)
    data = prepare(job).data
    assert list(problems(data)) == [] and len(data) == 8


def test_left_overs_of_a_killed_run_are_swept_away(server: Any, tmp_path: Path) -> None:
    path, output = tmp_path / "x.csv", tmp_path / "out"
    path.write_text(f"url,caption\n{server.url('/good/1')},a\n")
    (output / "report").mkdir(parents=True)
    for name in ("000007.tar", "000007.parquet", ".000001.tar.99.part", "report/.000001.parquet.99.part", "notes.txt"):
        (output / name).write_bytes(b"left")
    data = prepare(Preparation("csv", path, output, PreparePlan(Rules(), FetchLimits(**LIMITS)))).data
    left = {path.relative_to(output).as_posix() for path in output.rglob("*") if path.is_file()} - {".lock"}
    assert left == {"000000.tar", "000000.parquet", "report/000000.parquet", "dataset.toml", "plan.toml", "notes.txt"}
    assert list(problems(data)) == []
