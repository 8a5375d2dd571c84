"""The loop's smaller parts, each by itself."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from t2icli.contract.recipes import Frozen
from t2icli.data.dataset import PreparedDataset
from t2icli.ground import files
from t2icli.ground.errors import T2IError
from t2icli.training.cache import encoded, place
from t2icli.training.checkpoint import Run
from t2icli.training.devices import World
from t2icli.training.ema import Average
from t2icli.training.order import Pieces, SampleOrder
from t2icli.training.schedule import Schedule
from t2icli.training.settings import LoopSettings

HERE = World(torch.device("cpu"))


def test_every_epoch_shows_every_sample_once_in_another_order() -> None:
    order = SampleOrder(seed=3, n=10, batch=4)
    seen = [row for step in range(5) for row in order.rows(step)]
    first, second = ([row for row, epoch in seen if epoch == e] for e in (0, 1))
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second


@pytest.mark.parametrize(("world", "accum"), [(2, 1), (4, 1), (2, 2)])
def test_processes_and_pieces_share_each_batch(world: int, accum: int) -> None:
    order = SampleOrder(seed=3, n=10, batch=8)
    whole = [sorted(rows) for rows in Pieces(order, 0, 3)]
    shares = [list(Pieces(order, 0, 3, accum, rank, world)) for rank in range(world)]
    for step in range(3):
        together = [row for share in shares for piece in share[step * accum : (step + 1) * accum] for row in piece]
        assert sorted(together) == whole[step]


def test_resuming_takes_up_the_order_where_it_was() -> None:
    order = SampleOrder(seed=3, n=10, batch=4)
    assert list(Pieces(order, 0, 9))[5:] == list(Pieces(order, 5, 9))


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [0.5, 1.0, 1.0, 1.0]),
        ("linear", [0.5, 1.0, 0.5, 0.125]),
        ("cosine", [0.5, 1.0, 0.55, 0.1 + 0.9 * (1 + math.cos(math.pi * 7 / 8)) / 2]),
        ("exponential", [0.5, 1.0, 0.25, 0.125]),
    ],
)
def test_the_learning_rate_warms_up_and_follows_its_curve(schedule: str, expected: list[float]) -> None:
    chosen = LoopSettings(lr=1.0, warmup=2, schedule=schedule, min_lr=0.1, lr_decay_every=2)
    rates = [Schedule(chosen, total=10).lr(step) for step in (0, 2, 6, 9)]
    assert rates == pytest.approx([max(rate, 0.1) for rate in expected])


def test_the_plateau_schedule_lowers_the_rate_after_evaluations_without_gain() -> None:
    schedule = Schedule(LoopSettings(lr=1.0, schedule="plateau", lr_patience=1, lr_decay=0.5), total=10)
    rates = []
    for loss in (3.0, 2.0, 2.5, 2.0, 1.0):
        schedule.evaluated(loss)
        rates.append(schedule.lr(5))
    assert rates == [1, 1, 1, 0.5, 0.5]


def test_the_average_follows_the_weights_and_steps_in_and_out_for_them() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    average = Average(model, 0.9)
    nn.init.ones_(model.weight)
    average.follow()
    with average.in_place():
        assert model.weight.item() == pytest.approx(0.1)
    assert model.weight.item() == 1


def means(runs: list[int], views: int = 1) -> Frozen:
    import tiny

    def run(batch: torch.Tensor) -> torch.Tensor:
        runs.append(len(batch))
        return batch.mean((2, 3)) + torch.rand(())

    return Frozen("means", "mean colour", tiny.Means, run, views)


@pytest.fixture
def prepared(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PreparedDataset:
    monkeypatch.setenv("T2I_HOME", str(tmp_path / "home"))
    return PreparedDataset.open(data).split("train")


def test_frozen_parts_run_once_for_all_runs(prepared: PreparedDataset) -> None:
    runs: list[int] = []
    first = encoded([means(runs)], prepared, HERE).results["means"]
    again = encoded([means(runs)], prepared, HERE).results["means"]
    assert runs == [10] and first.shape == (10, 3)
    assert torch.equal(first, again)


def test_another_part_or_other_data_are_encoded_anew(prepared: PreparedDataset, data: Path) -> None:
    part = means([])
    other = Frozen("means", "another", part.samples, part.run)
    assert place(part, prepared) != place(other, prepared)
    assert place(part, prepared) != place(part, PreparedDataset.open(data).split("val"))


def test_views_are_rows_of_their_own(prepared: PreparedDataset) -> None:
    assert encoded([means([], views=3)], prepared, HERE).results["means"].shape == (3, 10, 3)


def test_encoding_that_stops_leaves_nothing_behind(prepared: PreparedDataset) -> None:
    def stop(batch: torch.Tensor) -> torch.Tensor:
        raise KeyboardInterrupt

    part = Frozen("means", "mean colour", means([]).samples, stop)
    with pytest.raises(KeyboardInterrupt):
        encoded([part], prepared, HERE)
    assert not list(place(part, prepared).parent.iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
def test_a_full_disk_is_explained_whoever_wrote_the_file(tmp_path: Path) -> None:
    def save(folder: Path) -> None:
        (folder / "vocabulary").symlink_to("/dev/full")
        with files.writing(folder / "vocabulary"):
            (folder / "vocabulary").write_text("words")

    with pytest.raises(T2IError, match=r"cannot write the model in .*: the disk is full"):
        Run(tmp_path / "run").publish("model", save, "a test")
    assert list((tmp_path / "run").iterdir()) == []
