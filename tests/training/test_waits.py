"""What a GPU would wait for: losses are looked at when something is written, and fp16 scales them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from t2icli.contract.recipes import ParamGroup, Turn
from t2icli.nn.devices import has_bf16
from t2icli.store import models
from t2icli.testing import Runner
from t2icli.training import finite, log
from t2icli.training.devices import World
from t2icli.training.turns import RunningTurn

HERE = World(torch.device("cpu"))


def train(data: Path, *more: object) -> tuple[object, ...]:
    return ("train", "tiny", "--train-data", data, "--report-to", "none", *more)


def deferred(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU nothing is left for later: there is no wait that it would save."""
    monkeypatch.setattr(finite, "may_defer", lambda settings, world: True)


def test_losses_may_be_looked_at_later_on_devices_that_compute_by_themselves() -> None:
    assert not finite.may_defer(tiny.LOOP, HERE)
    assert finite.may_defer(tiny.LOOP, World(torch.device("cuda")))


def test_weights_and_figures_are_the_same_whenever_losses_are_looked_at(
    tiny_t2i: Runner, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_t2i.ok(*train(data, "--output", "now"))
    deferred(monkeypatch)
    tiny_t2i.ok(*train(data, "--output", "later"))
    now, later = (Path(name, "model", models.WEIGHTS).read_bytes() for name in ("now", "later"))
    assert now == later
    lines = [
        [{**line, "samples_per_second": 0} for line in log.read(Path(name, "log.jsonl"))] for name in ("now", "later")
    ]
    assert lines[0] == lines[1]


@pytest.mark.parametrize("save_every", [3, 0])
def test_a_loss_that_is_not_a_number_is_named_before_anything_is_written(
    tiny_t2i: Runner, data: Path, monkeypatch: pytest.MonkeyPatch, save_every: int
) -> None:
    deferred(monkeypatch)
    says = "the loss of turn 'draw' is not a number at step 8, for the batch 'p"
    tiny_t2i.fails(*train(data, "--output", "x", "-o", "nan_at=7", "--save-every", save_every), code=1, says=says)
    assert log.read(Path("x/log.jsonl"))[-1]["step"] == 6
    kept = sorted(path.name for path in Path("x/checkpoints").glob("step-*"))
    assert kept == (["step-000000003", "step-000000006"] if save_every else [])


class Reads(TorchDispatchMode):
    """Counts numbers that Python asks tensors for, but not those by which samples are found and drawn."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten._local_scalar_dense.default and args[0].is_floating_point()
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("later", [True, False])
def test_more_steps_read_no_more_figures_if_losses_are_looked_at_later(
    tiny_t2i: Runner, data: Path, monkeypatch: pytest.MonkeyPatch, later: bool
) -> None:
    if later:
        deferred(monkeypatch)
    only_the_end = ("--log-every", 100, "--eval-every", 100, "--save-every", 0, "--preview-every", 0, "--clip", 1)
    counts = []
    for steps in (3, 9):
        with Reads() as reads:
            tiny_t2i.ok(*train(data, "--output", f"x{steps}", "--max-steps", steps, *only_the_end))
        counts.append(reads.count)
    assert (counts[0] == counts[1]) is later, counts


def turn(weight: nn.Parameter, loss: Any, precision: str = "fp16") -> RunningTurn:
    settings = tiny.msgspec.structs.replace(tiny.LOOP, precision=precision)
    return RunningTurn(Turn("one", [ParamGroup([weight])], loss), settings, 10, HERE)


def test_gradients_are_those_of_the_loss_whatever_it_is_scaled_by() -> None:
    weight = nn.Parameter(torch.tensor([1.0, 2.0]))
    running = turn(weight, lambda batch, step: (weight.square().sum(), {}))
    loss, _ = running.gradients([None, None], 0)
    assert loss == 5 and running.norm() == pytest.approx(20**0.5)
    assert weight.grad is not None and weight.grad.tolist() == [2.0, 4.0]


def test_auto_trains_in_bf16_only_where_the_processor_has_it(tiny_t2i: Runner, data: Path) -> None:
    weight, formats = nn.Parameter(torch.ones(2, 2)), []

    def loss(batch: Any, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        product = weight @ weight
        formats.append(product.dtype)
        return product.sum(), {}

    turn(weight, loss, "auto").gradients([None], 0)
    has = has_bf16(torch.device("cpu"))
    assert formats == [torch.bfloat16 if has else torch.float32]
    result = tiny_t2i.ok(*train(data, "--output", "x", "--precision", "bf16"))
    assert ("no bf16 instructions" in result.stderr) is not has


def test_a_gradient_that_overflows_costs_a_step_and_halves_the_scale() -> None:
    weight = nn.Parameter(torch.tensor([1.0]))
    running = turn(weight, lambda batch, step: (weight.sum() * (1e38 if step == 0 else 1.0), {}))
    before = running.scaler.get_scale()
    for step in range(2):
        running.gradients([None], step)
        running.norm()
        running.move(step)
        running.forget()
        assert (weight.item() == 1.0) is (step == 0)
    assert running.scaler.get_scale() == before / 2
    again = turn(nn.Parameter(torch.tensor([1.0])), lambda batch, step: (weight.sum(), {}))
    again.load(running.state())
    assert again.scaler.get_scale() == before / 2


def test_training_in_fp16_logs_its_scale_learns_and_skips_a_loss_that_is_not_a_number(
    tiny_t2i: Runner, data: Path
) -> None:
    tiny_t2i.ok(*train(data, "--output", "x", "--precision", "fp16", "-o", "nan_at=7", "--on-nan", "skip"))
    lines = [line for line in log.read(Path("x/log.jsonl")) if line["what"] == "train"]
    assert all(line["loss_scale"] > 0 for line in lines)
    assert lines[1]["loss"] < lines[0]["loss"]


def test_a_run_in_fp16_that_is_resumed_ends_with_the_same_bytes(tiny_t2i: Runner, data: Path) -> None:
    words = ("--precision", "fp16")
    tiny_t2i.ok(*train(data, "--output", "whole", *words))
    tiny_t2i.ok(*train(data, "--output", "parts", *words, "--max-steps", 5))
    tiny_t2i.ok("train", "--resume", "--output", "parts", "--max-steps", 12)
    whole, parts = (Path(name, "model", models.WEIGHTS).read_bytes() for name in ("whole", "parts"))
    assert whole == parts
