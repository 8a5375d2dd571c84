"""The optimizer muon: what its steps are, and that the loop stops and resumes with it as with any other."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
import torch
from torch import nn

from t2icli.contract.recipes import ParamGroup, Turn
from t2icli.ground.errors import T2IError
from t2icli.store import models
from t2icli.testing import Runner
from t2icli.training import muon
from t2icli.training.muon import Muon, orthogonal


def with_a_hidden_matrix(recipe: tiny.Tiny) -> list[Turn]:
    """The tiny recipe's turns with one matrix for muon."""
    matrix = recipe.model.blocks[1].weight
    others = [p for p in recipe.model.blocks.parameters() if p is not matrix]
    return [Turn("draw", [ParamGroup(others), ParamGroup([matrix], hidden=True)], recipe.draw, recipe.count)]


def stop_at_seven(recipe: tiny.Tiny) -> None:
    recipe.model.steps += 1
    if recipe.model.steps == 7:
        raise T2IError("stopped")


@pytest.mark.parametrize("has_bf16", [True, False])
@pytest.mark.parametrize("shape", [(24, 24), (16, 64), (64, 16)])
def test_a_step_of_a_matrix_has_singular_values_near_one(
    shape: tuple[int, int], has_bf16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(muon, "has_bf16", lambda device: has_bf16)
    torch.manual_seed(0)
    way = orthogonal(torch.randn(shape))
    values = torch.linalg.svdvals(way)
    assert values.min() > 0.5
    assert values.max() < 1.3
    assert way.equal(way.bfloat16().float()) == has_bf16, "bf16 only where the processor has it: elsewhere it crawls"


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


def test_a_stopped_run_with_muon_ends_with_the_same_bytes(
    tiny_t2i: Runner, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny.Tiny, "turns", with_a_hidden_matrix)
    run = ["train", "tiny", "--train-data", data, "--optimizer", "muon", "--report-to", "none"]
    tiny_t2i.ok(*run, "--output", "whole")
    with monkeypatch.context() as broken:
        broken.setattr(tiny.Tiny, "count", stop_at_seven)
        tiny_t2i.fails(*run, "--output", "halves", says="stopped")
    tiny_t2i.ok(*run, "--output", "halves", "--resume")
    whole, halves = (Path(name, "model", models.WEIGHTS).read_bytes() for name in ("whole", "halves"))
    assert whole == halves


def test_a_recipe_without_hidden_matrices_is_told_so(tiny_t2i: Runner, data: Path) -> None:
    run = ["train", "tiny", "--train-data", data, "--output", "x", "--optimizer", "muon"]
    tiny_t2i.fails(*run, says="this recipe has no matrices for the optimizer 'muon'")
