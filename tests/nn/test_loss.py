"""Cross entropy with a backward pass of its own, beside PyTorch's."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from t2icli.nn import loss
from t2icli.nn.loss import cross_entropy

ROWS, CLASSES = 37, 50
Losses = Callable[[Tensor, Tensor], Tensor]


def both(losses: Losses, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Losses, and the gradient where rows count differently, some not at all."""
    leaf = logits.detach().requires_grad_()
    each = losses(leaf, targets)
    (each * torch.arange(len(each)).clamp(min=3).sub(3)).sum().backward()
    assert leaf.grad is not None
    return each.detach(), leaf.grad


def theirs(logits: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(logits.float(), targets, reduction="none")


@pytest.mark.parametrize("together", [1, 4 * CLASSES, loss.TOGETHER])
@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_losses_and_gradients_are_pytorchs(
    dtype: torch.dtype, rtol: float, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss, "TOGETHER", together)
    torch.manual_seed(0)
    logits, targets = 3 * torch.randn(ROWS, CLASSES), torch.randint(CLASSES, (ROWS,))
    logits[0, 7], targets[0] = 1e4, 8  # nothing overflows
    logits[5, targets[5]] = 12  # almost certain: what is left of its gradient is not rounded away
    logits = logits.to(dtype)
    each, gradient = both(cross_entropy, logits, targets)
    wanted, exact = both(theirs, logits, targets)
    assert each.dtype == torch.float32 and gradient.dtype == dtype
    torch.testing.assert_close(each, wanted)
    torch.testing.assert_close(gradient.float(), exact.float(), rtol=rtol, atol=1e-6)
    assert gradient[5, targets[5]] != 0


def test_without_gradients_it_is_pytorchs() -> None:
    logits, targets = torch.randn(4, 9), torch.tensor([0, 8, 3, 3])
    assert cross_entropy(logits, targets).equal(F.cross_entropy(logits, targets, reduction="none"))
