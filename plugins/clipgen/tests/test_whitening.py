from __future__ import annotations

import pytest
import torch
from torch import nn

from t2i_clipgen.model import Whitening, evenly


def uneven(n: int) -> torch.Tensor:
    """Embeddings whose directions vary by 1, 0.1, 0.01 ..., rotated."""
    torch.manual_seed(0)
    axes, _ = torch.linalg.qr(torch.randn(6, 6))
    return torch.randn(n, 6) * 10.0 ** -torch.arange(6) @ axes + 3


def test_it_changes_nothing_until_it_is_measured() -> None:
    x = torch.randn(5, 6)

    assert torch.equal(Whitening(6)(x), x)


def test_large_directions_vary_alike_and_those_below_the_floor_less() -> None:
    x = uneven(4000)
    whitening = Whitening(6)
    whitening.measure([x])

    y = whitening(x)

    assert y.mean(0).abs().max() < 1e-3
    deviation = y.std(0).sort().values
    assert abs(deviation[-1] - 1 / 1.02) < 0.01
    assert deviation[-2] > 0.8
    assert deviation[0] < 0.01


def test_the_layer_that_follows_computes_the_same_when_adapted() -> None:
    x, layer = uneven(500), nn.Linear(6, 4)
    before = layer(x)
    whitening = Whitening(6)

    whitening.measure([x], layer)

    torch.testing.assert_close(layer(whitening(x)), before, atol=1e-4, rtol=1e-4)


def test_embeddings_are_taken_from_all_over_a_large_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("t2i_clipgen.model.MEASURED", 10)

    assert evenly(torch.arange(100)[:, None]).flatten().tolist() == list(range(0, 100, 10))
    assert len(evenly(torch.arange(19)[:, None])) == 10
    assert len(evenly(torch.arange(7)[:, None])) == 7
