"""The running average of the weights, which is often better than the weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from t2icli.training.devices import reshard


class Average:
    """Follows the trained parameters; with decay 0 it is not there and costs nothing."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model, self.decay = model, decay
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad} if decay else {}
        self.names, self.live = list(trained), list(trained.values())
        self.mean = [p.detach().clone() for p in self.live]

    @torch.no_grad()
    def follow(self) -> None:
        if self.live:
            torch._foreach_lerp_(self.mean, [p.detach() for p in self.live], 1 - self.decay)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """The model with the average as its weights."""
        saved = [p.detach().clone() for p in self.live]
        self._put(self.mean)
        try:
            yield
        finally:
            self._put(saved)

    @torch.no_grad()
    def _put(self, values: list[Tensor]) -> None:
        reshard(self.model)
        for parameter, value in zip(self.live, values, strict=True):
            parameter.copy_(value)

    def state(self) -> dict[str, Tensor]:
        return dict(zip(self.names, self.mean, strict=True))

    @torch.no_grad()
    def load(self, state: dict[str, Tensor]) -> None:
        for name, mean in zip(self.names, self.mean, strict=True):
            mean.copy_(state[name])
