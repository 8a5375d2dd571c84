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
    with room.imagination() as mode:
        room.imagined(imagined, mode)
        found = room.cost(step(imagined, mode.from_tensor(torch.zeros(ROWS, INPUTS))))
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
    with room.imagination() as mode:
        room.imagined(tied, mode)
    assert tied[1].weight is tied[0].weight and room.bytes_of(tied) == 64
