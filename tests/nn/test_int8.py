from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from t2icli.ground.errors import T2IError
from t2icli.nn import int8, packed
from t2icli.nn.tied import Tied

CPU = torch.device("cpu")
needs_x86 = pytest.mark.skipif(not int8.is_possible(), reason="no 8-bit kernels for this processor")


class Net(nn.Module):
    """Two layers, and an output layer that reads only the last rows of one that is also a table of vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Linear(64, 50)
        self.body = nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 64, bias=False))
        self.mapper = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True)
        self.head = Tied(self.table, first=10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(self.mapper(x)))


def near(y: torch.Tensor, expected: torch.Tensor) -> float:
    return float((y - expected).norm() / expected.norm())


@pytest.fixture(params=["fbgemm", "onednn"])
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of both libraries, whichever this torch would choose."""
    monkeypatch.setattr(packed, "_sizes", {})  # what was tried with the other library
    if request.param == "onednn":
        monkeypatch.setattr(int8, "has_fbgemm", lambda: False)
    if (request.param == "fbgemm" and not int8.has_fbgemm()) or not int8.is_possible():
        pytest.skip(f"no 8-bit kernels of {request.param} for this processor")


@pytest.mark.usefixtures("kernels")
@torch.inference_mode()
def test_a_network_in_8_bits_gives_nearly_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int8, "LEAST", 0)
    torch.manual_seed(0)
    net, x = Net().eval(), torch.randn(16, 3, 64)
    small = copy.deepcopy(net)
    int8.quantize(small, CPU)
    assert 0 < near(small(x), net(x)) < 0.03
    assert {"body.0", "body.2", "head"} == {n for n, m in small.named_modules() if type(m) is int8.Int8Linear}
    assert small.table.weight.equal(net.table.weight)  # others read it as it is


@pytest.mark.usefixtures("kernels")
@torch.inference_mode()
def test_a_row_is_the_same_in_any_company() -> None:
    torch.manual_seed(0)
    layer = int8.Int8Linear(torch.randn(40, 64), torch.randn(40))
    x = torch.randn(48, 1, 64) * torch.logspace(-4, 4, 48)[:, None, None]
    whole = in_a_loop(layer, x)
    for n in (16, 32):
        for start in range(0, 48 - n + 1, 4):
            assert in_a_loop(layer, x[start : start + n]).equal(whole[start : start + n])


def in_a_loop(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """As a decode loop multiplies, in blocks that were tried: a library alone may look at how many rows there are."""
    with packed.packed(nn.ModuleList([layer]), len(x)):
        return layer(x)


@pytest.mark.usefixtures("kernels")
@torch.inference_mode()
def test_rows_of_zeros_and_of_no_numbers() -> None:
    layer = int8.Int8Linear(torch.zeros(4, 8), torch.ones(4))
    assert layer(torch.zeros(2, 8)).equal(torch.ones(2, 4))
    assert layer(torch.full((1, 8), torch.nan)).isnan().all()  # and are noticed by who draws from them


@needs_x86
def test_small_layers_stay_as_they_are() -> None:
    net = Net()
    int8.quantize(net, CPU)
    assert not any(type(module) is int8.Int8Linear for module in net.modules())


def test_no_gpu_is_asked_for_8_bits() -> None:
    with pytest.raises(T2IError, match="for Intel"):
        int8.quantize(Net(), torch.device("cuda"))


def test_what_is_tied_is_neither_counted_nor_saved_twice() -> None:
    net = Net()
    assert not any(name.startswith("head") for name in net.state_dict())
    twin = copy.deepcopy(net)
    twin.table.weight.data.zero_()
    assert twin.head.weight.count_nonzero() == 0
    assert net.head.weight.count_nonzero() == 40 * 64
