"""The backward pass that attention has in training on a CPU."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from t2icli.nn import attention
from t2icli.nn.attention import attend, attend_all

B, HEADS, WIDTH = 2, 3, 16
Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


def some(n: int, m: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values that are views of one tensor, as after one projection."""
    torch.manual_seed(n + m)
    q, k, v = torch.randn(B, m, 3, HEADS, WIDTH).permute(2, 0, 3, 1, 4)
    return q[:, :, m - n :], k, v


def plain(q: Tensor, k: Tensor, v: Tensor, *, causal: bool) -> Tensor:
    scores = q @ k.transpose(2, 3) / WIDTH**0.5
    if causal:
        n, m = scores.shape[2:]
        scores = scores.masked_fill(~torch.ones(n, m, dtype=torch.bool).tril(m - n), -torch.inf)
    return scores.softmax(dim=-1) @ v


def learned(attending: Attend, *tensors: Tensor) -> list[Tensor]:
    """The result, and the gradients of a loss that weighs every number of it."""
    inputs = [tensor.detach().requires_grad_() for tensor in tensors]
    out = attending(*inputs)
    torch.manual_seed(0)
    (out.float() * torch.randn(out.shape)).sum().backward()
    return [out.detach(), *(tensor.grad for tensor in inputs if tensor.grad is not None)]


@pytest.mark.parametrize("scores", [attention.SCORES, 2 * 40 * 40, 1])
@pytest.mark.parametrize(("n", "m"), [(1, 1), (7, 7), (40, 40), (33, 40), (1, 40)])
@pytest.mark.parametrize("causal", [True, False])
def test_gradients_are_those_of_the_formula_in_pieces_of_every_size(
    n: int, m: int, causal: bool, scores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "QUERIES", 16)
    monkeypatch.setattr(attention, "SCORES", scores)
    ours = learned(attend if causal else attend_all, *some(n, m))
    wanted = learned(lambda q, k, v: plain(q, k, v, causal=causal), *some(n, m))
    assert len(ours) == 4
    for got, expected in zip(ours, wanted, strict=True):
        assert got.shape == expected.shape
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_nothing_after_a_position_reaches_it() -> None:
    q, k, v = some(200, 200)
    q.requires_grad_()
    before = attend(q, k, v)[:, :, :90]
    k, v = k.clone(), v.clone()
    k[:, :, 90:], v[:, :, 90:] = 1e4, 1e4
    assert attend(q, k, v)[:, :, :90].equal(before)


def test_in_bf16_it_is_as_near_to_the_truth_as_the_fused_kernel() -> None:
    q, k, v = some(100, 100)
    true = learned(lambda q, k, v: plain(q, k, v, causal=True), q, k, v)

    def off(attending: Attend) -> list[float]:
        with torch.autocast("cpu", torch.bfloat16):
            found = learned(attending, q, k, v)
        return [
            float((got.float() - expected).norm() / expected.norm()) for got, expected in zip(found, true, strict=True)
        ]

    ours = off(attend)
    fused = off(lambda *each: F.scaled_dot_product_attention(*(x.bfloat16() for x in each), is_causal=True))
    assert all(0 < mine < 1.5 * other < 0.03 for mine, other in zip(ours, fused, strict=True)), (ours, fused)
