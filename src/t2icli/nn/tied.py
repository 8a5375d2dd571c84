"""A linear layer whose weights belong to another."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class Tied(nn.Module):
    """The outputs of a linear layer from `first` on, or a table of vectors read backwards.

    A layer of its own, so that whatever speeds up linear layers finds it; but it owns nothing, so that nothing is
    counted, trained or saved twice.
    """

    def __init__(self, owner: nn.Linear | nn.Embedding, first: int = 0) -> None:
        super().__init__()
        self.owner = (owner,)  # in a tuple, where a module does not look for its children
        self.first = first

    @property
    def weight(self) -> Tensor:
        return self.owner[0].weight[self.first :]

    @property
    def bias(self) -> Tensor | None:
        owner = self.owner[0]
        return owner.bias[self.first :] if isinstance(owner, nn.Linear) and owner.bias is not None else None

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)
