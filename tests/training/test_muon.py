"""The optimizer muon: what its steps are, and that the loop stops and resumes with it as with any other."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
import torch
from torch import nn

from t2icli.contract.recipes import ParamGroup, Turn
from t2icli.ground.errors import T2IError
from t2icli.nn.devices import has_bf16
from t2icli.store import models
from t2icli.testing import Runner
from t2icli.training.muon import Muon, fast_dtype, orthogonal


class Hidden(tiny.Tiny):
    """With one matrix for muon; it stops at the seventh step as long as there is a file `stop`."""

    def turns(self) -> list[Turn]:
        matrix = self.model.blocks[1].weight
        others = [p for p in self.model.blocks.parameters() if p is not matrix]
        return [Turn("draw", [ParamGroup(others), ParamGroup([matrix], hidden=True)], self.draw, self.count)]

    def count(self) -> None:
        super().count()
        if self.model.steps == 7 and Path("stop").exists():
            raise T2IError("stopped")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("shape", [(24, 24), (16, 64), (64, 16)])
def test_a_step_of_a_matrix_has_singular_values_near_one(shape: tuple[int, int], dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    way = orthogonal(torch.randn(shape), dtype)
    values = torch.linalg.svdvals(way)
    assert values.min() > 0.5
    assert values.max() < 1.3
    assert way.equal(way.bfloat16().float()) == (dtype == torch.bfloat16)


def test_it_computes_in_bf16_only_where_the_processor_has_it() -> None:
    assert fast_dtype(torch.device("cpu")) == (torch.bfloat16 if has_bf16(torch.device("cpu")) else torch.float32)
    assert fast_dtype(torch.device("meta")) == torch.float32


def test_everything_but_hidden_matrices_moves_as_adamw_moves_it() -> None:
    ours, theirs = (nn.Parameter(torch.linspace(-1, 1, 12).reshape(3, 4)) for _ in range(2))
    muon = Muon([{"params": [ours], "weight_decay": 0.1}], lr=0.01, betas=(0.9, 0.95), eps=1e-8)
    adamw = torch.optim.AdamW([theirs], lr=0.01, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
    for _ in range(5):
        for p, optimizer in ((ours, muon), (theirs, adamw)):
            optimizer.zero_grad()
            (p.sin() * torch.arange(12.0).reshape(3, 4)).sum().backward()
            optimizer.step()
    torch.testing.assert_close(ours, theirs)


def test_it_finds_a_matrix_that_adamw_finds_too() -> None:
    torch.manual_seed(0)
    aim, x = torch.randn(8, 8), torch.randn(64, 8)
    p = nn.Parameter(torch.zeros(8, 8))
    optimizer = Muon([{"params": [p], "hidden": True}], lr=0.05, betas=(0.9, 0.99), eps=1e-8)
    for step in range(200):
        optimizer.param_groups[0]["lr"] = 0.3 * (1 - step / 200)
        optimizer.zero_grad()
        (x @ p - x @ aim).square().mean().backward()
        optimizer.step()
    assert (p - aim).abs().max() < 0.1


def test_the_kernels_of_a_convolution_move_as_the_rows_of_a_matrix() -> None:
    torch.manual_seed(0)
    start, gradient = torch.randn(6, 4, 3, 3), torch.randn(6, 4, 3, 3)
    kernels, rows = nn.Parameter(start.clone()), nn.Parameter(start.flatten(1).clone())
    kernels.grad, rows.grad = gradient, gradient.flatten(1)
    Muon([{"params": [kernels, rows], "hidden": True}], lr=0.1, betas=(0.9, 0.99), eps=1e-8).step()
    assert kernels.flatten(1).equal(rows)
    assert not kernels.equal(start)


def test_a_stopped_run_with_muon_ends_with_the_same_bytes(t2i: Runner, data: Path) -> None:
    t2i.use(tiny.Plugin(Hidden))
    run = ["train", "tiny", "--train-data", data, "--optimizer", "muon", "--report-to", "none"]
    t2i.ok(*run, "--output", "whole")
    Path("stop").touch()
    t2i.fails(*run, "--output", "halves", says="stopped")
    Path("stop").unlink()
    t2i.ok(*run, "--output", "halves", "--resume")
    whole, halves = (Path(name, "model", models.WEIGHTS).read_bytes() for name in ("whole", "halves"))
    assert whole == halves


def test_a_recipe_without_hidden_matrices_is_told_so(tiny_t2i: Runner, data: Path) -> None:
    run = ["train", "tiny", "--train-data", data, "--output", "x", "--optimizer", "muon"]
    tiny_t2i.fails(*run, says="this recipe has no matrices for the optimizer 'muon'")
