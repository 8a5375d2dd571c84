"""The counting of steps, on networks whose bytes and operations are known."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException

from t2icli.training.recompute import recompute

SOURCE = Path(__file__).parents[2] / "benchmarks/cost.py"
ROWS, INPUTS, HIDDEN, OUTPUTS = 8, 64, 128, 32


@pytest.fixture(scope="module")
def room() -> ModuleType:
    spec = importlib.util.spec_from_file_location("cost", SOURCE)
    module = importlib.util.module_from_spec(spec)
    sys.modules["cost"] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(INPUTS, HIDDEN, bias=False), nn.Linear(HIDDEN, OUTPUTS, bias=False))


def step(network: nn.Module, x: Tensor) -> Callable[[], None]:
    def take() -> None:
        network(x).sum().backward()
        network.zero_grad()

    return take


MADE = 4 * (INPUTS * HIDDEN + HIDDEN * OUTPUTS + ROWS * HIDDEN + 2)
"""At the end both gradients are alive, that of the hidden layer, the loss and its own gradient."""
PRODUCTS = 2 * ROWS * (2 * INPUTS * HIDDEN + 3 * HIDDEN * OUTPUTS)
"""Forward, the gradients of both matrices, and that of the hidden layer."""


def test_bytes_and_operations_of_a_known_network_are_counted(room: ModuleType) -> None:
    found = room.cost(step(network(), torch.zeros(ROWS, INPUTS)))
    assert (found.peak, found.flop) == (MADE, PRODUCTS)


def test_they_are_the_same_without_any_contents(room: ModuleType) -> None:
    imagined = network()
    with room.Imagination() as mode:
        room.imagined(imagined, mode)
        found = room.cost(step(imagined, mode.imagine(torch.zeros(ROWS, INPUTS))))
    assert (found.peak, found.flop) == (MADE, PRODUCTS)
    assert room.bytes_of(imagined) == 4 * (INPUTS * HIDDEN + HIDDEN * OUTPUTS)


def test_views_and_what_was_there_before_take_nothing_and_what_is_dropped_is_free_again(room: ModuleType) -> None:
    before = torch.zeros(1000)

    def run() -> None:
        before.view(10, 100).t().add_(1)
        for _ in range(3):
            torch.zeros(250)

    assert room.cost(run).peak == 1000


def test_a_parameter_that_two_layers_share_is_counted_once(room: ModuleType) -> None:
    tied = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    tied[1].weight = tied[0].weight
    with room.Imagination() as mode:
        room.imagined(tied, mode)
    assert tied[1].weight is tied[0].weight and room.bytes_of(tied) == 64


class Deep(nn.Module):
    """Blocks, each of which holds `HIDDEN` numbers a row while its gradients are computed."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(1, HIDDEN), nn.Linear(HIDDEN, 1)) for _ in range(blocks))

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


def test_what_is_computed_again_is_alive_in_one_block_at_a_time(room: ModuleType) -> None:
    def peak(blocks: int) -> int:
        deep, rows = Deep(blocks), 4096
        recompute(deep)
        with room.Imagination() as mode:
            room.imagined(deep, mode)
            return int(room.cost(step(deep, mode.imagine(torch.zeros(rows, 1)))).peak)

    of_a_block = 4 * 4096 * HIDDEN
    assert peak(9) - peak(3) < of_a_block


def test_shapes_follow_the_values_of_whole_numbers_that_are_known(room: ModuleType) -> None:
    lengths = torch.tensor([3, 1])
    with room.Imagination() as mode:
        known, numbers = mode.imagine(lengths), mode.imagine(torch.zeros(2, 5))
        longest = int(known.max())
        mask = torch.arange(5) < known[:, None]
        assert (longest, numbers[mask].shape, mask.nonzero().shape) == (3, (4,), (4, 2))


def test_values_are_not_known_once_others_are_written_over_them(room: ModuleType) -> None:
    lengths, unknown = torch.tensor([3, 1]), torch.zeros(2)
    with room.Imagination() as mode:
        known = mode.imagine(lengths)
        known.add_(1)
        assert int(known.max()) == 4
        known.copy_(mode.imagine(unknown))
        with pytest.raises(DataDependentOutputException):
            int(known.max())
