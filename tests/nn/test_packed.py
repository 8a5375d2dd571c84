from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from t2icli.nn.devices import has_bf16
from t2icli.nn.packed import CPU, alone_if_small, packed


class Products(TorchDispatchMode):
    """Within, counts the products with packed weights."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += any(name in str(func) for name in ("_mkl_linear", "_linear_pointwise"))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_packed_layers_give_the_same_and_are_as_before_afterwards(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 32, bias=False)).to(dtype)
    x = torch.randn(16, 1, 64).to(dtype)
    with torch.inference_mode():
        expected = model(x)
        with packed(model, 16):
            torch.testing.assert_close(model(x), expected)
            torch.testing.assert_close(model(x[:3]), expected[:3])
        assert "forward" not in vars(model[0])
        assert model(x).equal(expected)


FORMATS = [
    pytest.param(torch.float32, marks=pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="no MKL")),
    pytest.param(torch.bfloat16, marks=pytest.mark.skipif(not has_bf16(CPU), reason="no bf16 in this processor")),
]


@pytest.mark.parametrize("dtype", FORMATS)
def test_layers_are_packed_in_the_formats_that_libraries_pack(dtype: torch.dtype) -> None:
    model = nn.Sequential(nn.Linear(8, 8, dtype=dtype), nn.Linear(8, 8, dtype=torch.float64))
    with torch.inference_mode(), packed(model, 16), Products() as products:
        model[1](torch.randn(16, 8, dtype=torch.float64))
        assert products.count == 0
        model[0](torch.randn(16, 8, dtype=dtype))
        assert products.count > 0


class Doubling:
    def step(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * x


def test_a_model_that_is_no_module_computes_as_before() -> None:
    model, x = Doubling(), torch.randn(16, 4)
    with packed(model, 16):
        assert model.step(x).equal(2 * x)
    assert not vars(model)


def test_small_steps_are_taken_in_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = torch.get_num_threads()
    monkeypatch.setattr("t2icli.nn.packed.SMALL", 8 * 16 * 16)
    for rows, expected in ((7, 1), (8, threads)):
        with alone_if_small(nn.Sequential(nn.Linear(16, 16)), rows):
            assert torch.get_num_threads() == expected
        assert torch.get_num_threads() == threads
    with alone_if_small(object(), 1):  # nothing is known of its work
        assert torch.get_num_threads() == threads
