"""`--report-to`: programs that show a run's figures, in their offline modes."""

from __future__ import annotations

import re
import sys
import time
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest

from t2icli.testing import Runner
from t2icli.training import boards, log


def train(tiny_t2i: Runner, data: Path, names: str, *more: object) -> None:
    words = ("train", "tiny", "--train-data", data, "--output", "x", "--report-to", names, "--max-steps", 6)
    assert tiny_t2i.ok(*words, *more).stdout == "x/model\n"


def test_several_boards_get_every_figure_and_every_preview(
    tiny_t2i: Runner, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Package(ModuleType):
        """In place of wandb or swanlab: notes what it is given."""

        def __init__(self, name: str) -> None:
            super().__init__(name)
            self.__spec__ = ModuleSpec(name, None)
            self.seen: list[object] = []
            monkeypatch.setitem(sys.modules, name, self)

        def init(self, **settings: object) -> Package:
            return self

        def log(self, figures: dict[str, object], step: int) -> None:
            self.seen.append((step, figures))

        def finish(self) -> None:
            self.seen.append("closed")

        def Settings(self, **settings: object) -> None: ...

        def Image(self, image: object) -> str:
            return "picture"

    one, two = Package("wandb"), Package("swanlab")
    train(tiny_t2i, data, "wandb, swanlab,wandb")
    assert one.seen == two.seen and one.seen[-1] == "closed" and (6, {"preview": "picture"}) in one.seen
    lines = log.read(Path("x/log.jsonl"))
    assert lines
    for line in lines:
        step, what = line.pop("step"), line.pop("what")  # type: ignore[attr-defined]
        assert (step, {f"{what}/{name}": value for name, value in line.items()}) in one.seen


def test_wandb_writes_a_run_offline_and_prints_nothing_into_stdout(
    tiny_t2i: Runner, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    train(tiny_t2i, data, "wandb")
    (run,) = Path("x/wandb").glob("offline-run-*")
    (binary,) = run.glob("*.wandb")
    for _ in range(300):  # a process of wandb's writes it, on a busy machine after the run has ended
        content = binary.read_bytes()
        if b"train/loss" in content and b"val/loss" in content:
            break
        time.sleep(0.1)
    assert b"train/loss" in content and b"val/loss" in content
    assert len(list(run.rglob("media/images/*.png"))) == 1
    assert not Path("x/tensorboard").exists()


def test_swanlab_writes_a_run_offline_and_prints_nothing_into_stdout(
    tiny_t2i: Runner, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWANLAB_MODE", "offline")
    train(tiny_t2i, data, "swanlab")
    (run,) = Path("x/swanlog").glob("run-*")
    (binary,) = run.glob("*.swanlab")
    assert b"train/loss" in binary.read_bytes()
    assert len(list(run.rglob("media/image/*.png"))) == 1


def test_offline_is_offline_whatever_the_variable_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    assert boards._mode("WANDB_MODE") == "online"
    monkeypatch.setenv("T2I_OFFLINE", "1")
    assert boards._mode("WANDB_MODE") == "offline"


def test_a_run_that_is_continued_keeps_its_id_and_another_gets_its_own(tmp_path: Path) -> None:
    first = boards.run_id(tmp_path, 0)
    assert re.fullmatch("[0-9a-f]{16}", first)
    assert boards.run_id(tmp_path, 3) == first
    assert boards.run_id(tmp_path, 0) != first


def test_a_board_that_is_unknown_or_missing_is_refused_before_anything_is_written(
    tiny_t2i: Runner, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("train", "tiny", "--train-data", data, "--output", "x", "--report-to")
    tiny_t2i.fails(*words, "wandbb", says="did you mean 'wandb'?")
    for name in ("tensorboard", "swanlab", "wandb"):
        monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    tiny_t2i.fails(*words, "tensorboard,swanlab", says="t2icli[train]")
    tiny_t2i.fails(*words, "swanlab", says="t2icli[swanlab]")
    tiny_t2i.fails(*words, "wandb", says="wandb is not installed")
    tiny_t2i.fails(*words, "wandb", says="t2icli[wandb]")
    assert not Path("x").exists() and boards.names("auto") == []
