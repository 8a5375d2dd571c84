"""Weights in files of fewer bytes."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from t2icli.nn import weights
from t2icli.store import models
from t2icli.store.models import WEIGHTS, Card

TENSORS = {
    "wide": torch.randn(40, 300) * torch.logspace(-6, 3, 40)[:, None],
    "zeros": torch.zeros(3, 4),
    "bias": torch.randn(40),
    "kernel": torch.randn(4, 3, 3, 3),
    "count": torch.arange(6).view(2, 3),
    "broken": torch.full((2, 2), torch.inf),
}


def test_matrices_come_back_from_8_bits_with_half_a_step_of_each_row_at_most() -> None:
    smaller = weights.to_int8(TENSORS)
    assert smaller["wide"].dtype == torch.int8 and smaller["wide.scale"].shape == (40, 1)
    back = weights.from_int8(smaller)
    assert back.keys() == TENSORS.keys()
    assert smaller["kernel.scale"].shape == (4, 1, 1, 1), "an output channel is a row"
    for name in ("wide", "kernel"):
        off = (back[name] - TENSORS[name]).abs()
        assert (off <= 0.501 * smaller[f"{name}.scale"]).all()
    assert all(back[name].equal(TENSORS[name]) for name in TENSORS if name not in ("wide", "kernel"))


def test_tensors_that_only_look_alike_stay_as_they_are() -> None:
    alike = {
        "norm.scale": torch.ones(4),
        "table": torch.ones(2, 2, dtype=torch.int8),
        "a": torch.ones(2),
        "a.scale": torch.ones(1),
    }
    back = weights.from_int8(alike)
    assert back.keys() == alike.keys() and all(back[name].equal(alike[name]) for name in alike)


def test_a_model_of_8_bits_is_loaded_as_any_other(tmp_path: Path) -> None:
    module = nn.Linear(64, 16)
    save_file(
        weights.to_int8({name: value.detach() for name, value in module.state_dict().items()}), tmp_path / WEIGHTS
    )
    model = models.seal(tmp_path, Card(kind="codec", backend="vqgan"))
    loaded = weights.load(nn.Linear(64, 16), model)
    assert (loaded.weight - module.weight).abs().max() < 1e-3 and loaded.bias.equal(module.bias)


def test_a_module_to_be_filled_draws_no_numbers_and_is_built_all_the_same() -> None:
    def network(width: int, *, outputs: int) -> nn.Module:
        return nn.Sequential(nn.Embedding(5, width), nn.LayerNorm(width), nn.Linear(width, outputs))

    plain, before = network(8, outputs=3), torch.get_rng_state()
    empty = weights.unfilled(network, 8, outputs=3)
    assert torch.get_rng_state().equal(before)
    empty.load_state_dict(plain.state_dict())
    x = torch.arange(5)
    assert empty(x).equal(plain(x))
