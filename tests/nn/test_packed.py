from __future__ import annotations

import torch
from torch import nn

from t2icli.nn.packed import packed


def test_packed_layers_give_the_same_and_are_as_before_afterwards() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 32, bias=False))
    x = torch.randn(16, 1, 64)
    with torch.inference_mode():
        expected = model(x)
        with packed(model, 16):
            torch.testing.assert_close(model(x), expected)
            torch.testing.assert_close(model(x[:3]), expected[:3])
        assert "forward" not in vars(model[0])
        assert model(x).equal(expected)


def test_what_is_not_a_module_is_left_alone() -> None:
    with packed(object(), 16):
        pass
