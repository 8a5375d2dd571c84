"""Latents on one scale, whatever codec they are of: in each channel a mean of 0 and a deviation of 1."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

MEASURED = 4096
"""At most so many pictures tell how latents are spread."""


class Spread(Protocol):
    """Mean and deviation of latents, as stored in a model's card."""

    @property
    def mean(self) -> tuple[float, ...]: ...

    @property
    def deviation(self) -> tuple[float, ...]: ...


def measured(latents: Tensor) -> dict[str, tuple[float, ...]]:
    """`mean` and `deviation` of each channel of (n, c, rows, columns)."""
    channels = latents[:MEASURED].double().movedim(1, 0).flatten(1)
    deviation = channels.std(1).clamp(min=1e-6)
    return {"mean": tuple(channels.mean(1).tolist()), "deviation": tuple(deviation.tolist())}


def standard(latents: Tensor, spread: Spread) -> Tensor:
    mean, deviation = _columns(spread, latents.device)
    return (latents.float() - mean) / deviation


def from_standard(latents: Tensor, spread: Spread) -> Tensor:
    mean, deviation = _columns(spread, latents.device)
    return latents * deviation + mean


def _columns(spread: Spread, device: torch.device) -> tuple[Tensor, Tensor]:
    mean, deviation = (torch.tensor(each, device=device)[:, None, None] for each in (spread.mean, spread.deviation))
    return mean, deviation
