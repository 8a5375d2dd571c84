"""Gradient checkpointing: the same losses and gradients from less memory."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import forked
import pytest
import sharded
import torch
from torch import Tensor, nn

from t2icli.nn import vqgan
from t2icli.nn.gpt import Decoder, GptShape
from t2icli.testing import Runner
from t2icli.training.recompute import blocks, recompute


class Convolutions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.levels = nn.ModuleList(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)) for _ in range(2))


def gpt() -> Decoder:
    return Decoder(GptShape(width=16, layers=3, heads=2, dropout=0.5, hidden_dropout=0.5))


def differentiated(model: nn.Module, x: Tensor) -> tuple[Tensor, list[Tensor], int]:
    """The loss, the gradients, and how many numbers beside the weights were kept for the backward pass."""
    kept: dict[int, int] = {}
    own = {parameter.data_ptr() for parameter in model.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.data_ptr()] = tensor.numel()
        return tensor

    torch.manual_seed(0)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = model(x).square().mean()
    loss.backward()
    beside = sum(count for place, count in kept.items() if place not in own)
    return loss, [p.grad for p in model.parameters() if p.grad is not None], beside


def encoder() -> vqgan.Encoder:
    return vqgan.Encoder(vqgan.VqganShape(ch=32, ch_mult=(1, 2), num_res_blocks=1, resolution=16, z_channels=4))


@pytest.mark.parametrize(("model", "shape"), [(gpt, (2, 20, 16)), (encoder, (1, 3, 16, 16))])
def test_loss_and_gradients_are_the_same_and_less_is_kept(model: Any, shape: tuple[int, ...]) -> None:
    torch.manual_seed(1)
    plain, x = model(), torch.randn(shape)
    other = copy.deepcopy(plain)
    recompute(other)
    loss, gradients, kept = differentiated(plain, x)
    again, others, fewer = differentiated(other, x)
    assert loss.equal(again) and len(gradients) == len(others)
    assert all(a.equal(b) for a, b in zip(gradients, others, strict=True))
    assert fewer < kept / 2


def test_nothing_is_computed_twice_where_there_is_no_way_back() -> None:
    model, calls = gpt(), []
    model.blocks[0].norm1.register_forward_hook(lambda *_: calls.append(1))
    recompute(model)
    with torch.no_grad():
        model(torch.zeros(1, 2, 16))
    assert len(calls) == 1
    model(torch.zeros(1, 2, 16)).sum().backward()
    assert len(calls) == 3


def test_blocks_whose_averages_a_second_pass_would_move_are_left_out() -> None:
    assert list(blocks(Convolutions())) == []
    assert len(list(blocks(gpt()))) == 3


def test_a_recipe_without_blocks_says_so(tiny_t2i: Runner, data: Path) -> None:
    words = ("train", "tiny", "--train-data", data, "--report-to", "none", "--grad-checkpointing")
    tiny_t2i.fails(*words, says="this model has no blocks to compute again")


def test_the_gradients_of_sharded_blocks_are_the_same_too(tmp_path: Path) -> None:
    processes = [forked.server.Process(target=sharded.compare, args=(rank, tmp_path)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(90)
    assert [process.exitcode for process in processes] == [0, 0]
    assert {path.name for path in tmp_path.iterdir()} >= {"equal0", "equal1"}
