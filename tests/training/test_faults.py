"""What goes wrong in a training is said by name, and the last good state stays."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import IO, Any

import pytest
import tiny
import torch
from conftest import picture
from torch import Tensor

from t2icli.data import shards
from t2icli.data.dataset import SourceRow
from t2icli.store import models
from t2icli.testing import Runner
from t2icli.training import checkpoint, log


def train(data: Path, *more: object) -> tuple[object, ...]:
    return ("train", "tiny", "--train-data", data, "--output", "x", "--report-to", "none", *more)


def test_a_loss_that_is_not_a_number_stops_with_the_batch_named_and_the_last_checkpoint_kept(
    tiny_t2i: Runner, data: Path
) -> None:
    result = tiny_t2i.fails(*train(data, "-o", "nan_at=7"), code=1, says="is not a number at step 8, for the batch 'p")
    assert "the last good checkpoint is 'x/checkpoints/step-000000006'" in result.stderr
    state = torch.load("x/checkpoints/step-000000006/state.pt", weights_only=True)
    assert all(bool(value.isfinite().all()) for value in state["model"].values())
    models.open_model(Path("x/model")).file()


def test_a_step_without_a_number_can_be_left_out(tiny_t2i: Runner, data: Path) -> None:
    result = tiny_t2i.ok(*train(data, "-o", "nan_at=7", "--on-nan", "skip"))
    assert "at step 8, for the batch" in result.stderr and "skipped" in result.stderr
    last = log.read(Path("x/log.jsonl"))[-1]
    assert last["step"] == 12 and last["loss"] == last["loss"]


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """Ten pictures, one of which has been damaged since they were prepared."""
    rows = [SourceRow(f"p{i}", picture(i), (), {"split": "train"}) for i in range(10)]
    folder = shards.write(tmp_path / "broken", rows).folder
    (tar,) = folder.rglob("*.tar")
    victim = picture(3)
    tar.write_bytes(tar.read_bytes().replace(victim, victim[:40] + bytes(len(victim) - 40)))
    return folder


@pytest.mark.parametrize("frozen", ["yes", "no"])
def test_an_unreadable_picture_is_named(tiny_t2i: Runner, broken: Path, frozen: str) -> None:
    tiny_t2i.fails(*train(broken, "-o", f"frozen={frozen}"), code=1, says="sample 'p3' cannot be read: ")


@pytest.mark.parametrize("frozen", ["yes", "no"])
def test_an_unreadable_picture_can_be_left_out(tiny_t2i: Runner, broken: Path, frozen: str) -> None:
    result = tiny_t2i.ok(*train(broken, "-o", f"frozen={frozen}", "--on-bad-sample", "skip"))
    assert "skipped sample 'p3': " in result.stderr


def test_a_full_disk_is_named_and_the_last_checkpoint_kept(
    tiny_t2i: Runner, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = torch.save

    def full(state: dict[str, object], stream: IO[bytes]) -> None:
        save(state, stream)
        if state["step"] == 9:
            try:
                raise OSError(errno.ENOSPC, "No space left on device")
            finally:
                raise RuntimeError("unexpected pos")  # torch's writer says no more than this

    monkeypatch.setattr(checkpoint.torch, "save", full)
    result = tiny_t2i.fails(*train(data), code=1, says="cannot write the checkpoint in 'x': the disk is full")
    assert "the last good checkpoint is 'x/checkpoints/step-000000006'" in result.stderr
    assert not list(Path("x").rglob(".*.part"))
    monkeypatch.undo()


def test_after_a_full_disk_the_run_goes_on(tiny_t2i: Runner, data: Path) -> None:
    class Full(tiny.Tiny):
        def save(self, folder: Path) -> None:
            raise OSError(errno.ENOSPC, "No space left on device", str(folder))

    tiny_t2i.use(tiny.Plugin(Full))
    tiny_t2i.fails(*train(data), code=1, says="cannot write the model in 'x': the disk is full")
    tiny_t2i.use(tiny.Plugin())
    tiny_t2i.ok(*train(data, "--resume"))
    shutil.move("x", "disturbed")
    tiny_t2i.ok(*train(data))
    assert Path("x/model", models.WEIGHTS).read_bytes() == Path("disturbed/model", models.WEIGHTS).read_bytes()


def test_a_damaged_checkpoint_is_named(tiny_t2i: Runner, data: Path) -> None:
    tiny_t2i.ok(*train(data, "--max-steps", "3"))
    path = Path("x/checkpoints/step-000000003/state.pt")
    path.write_bytes(path.read_bytes()[:200])
    tiny_t2i.fails(
        "train", "--resume", "--output", "x", code=1, says="checkpoint 'x/checkpoints/step-000000003' cannot"
    )


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()])
def test_out_of_memory_names_three_flags(tiny_t2i: Runner, data: Path, error: BaseException) -> None:
    class Hungry(tiny.Tiny):
        def draw(self, batch: Tensor, step: int) -> tuple[Tensor, dict[str, Any]]:
            raise error

    tiny_t2i.use(tiny.Plugin(Hungry))
    result = tiny_t2i.fails(*train(data), code=1, says="out of memory")
    assert all(flag in result.stderr for flag in ("--batch-size", "--grad-accum", "--precision bf16"))


def test_an_empty_data_set_is_refused(tiny_t2i: Runner, tmp_path: Path) -> None:
    shards.write(tmp_path / "empty", [])
    tiny_t2i.fails(*train(tmp_path / "empty"), says="no samples")


def test_a_data_set_smaller_than_a_batch_is_refused(tiny_t2i: Runner, data: Path) -> None:
    tiny_t2i.fails(*train(data, "--batch-size", "11"), says="the data has 10 samples, fewer than one batch of 11")
    cut = tiny_t2i.fails(*train(data, "--batch-size", "11", "--grad-accum", "11"), says="fewer than one batch").stderr
    assert "try --batch-size 10 --grad-accum 1" in cut


def test_what_to_train_and_on_what_must_be_said(tiny_t2i: Runner, data: Path) -> None:
    tiny_t2i.fails("train", "tiny", says="add --train-data DATA")
    tiny_t2i.fails("train", "tini", "--train-data", data, says="did you mean 'tiny'?")
    tiny_t2i.fails("train", "tiny", "--train-data", "nowhere", says="there is no data at '")
    tiny_t2i.fails("train", "tiny", "--train-data", data, "--precision", "fp8", says="'--precision'")


def test_two_runs_in_one_folder_are_refused(tiny_t2i: Runner, data: Path) -> None:
    from filelock import FileLock

    Path("x").mkdir()
    with FileLock("x/.lock"):
        tiny_t2i.fails(*train(data), says="another process is training in 'x'")
