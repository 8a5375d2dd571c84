"""From noise to latents along a rectified flow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor

from t2i_flow.model import Flow
from t2icli.ground.errors import T2IError
from t2icli.nn.blocks import by_themselves
from t2icli.nn.decode import guide
from t2icli.nn.latents import from_standard

T = TypeVar("T", float, Tensor)


@dataclass(frozen=True)
class FlowSampling:
    """How to draw."""

    steps: int = 12
    scale: float = 2.0
    """Guidance; 1 is none."""
    strength: float = 0.6
    """How much noise a source gets, of 1."""
    shift: float = 1.0
    """How many steps lie near noise, see `shifted`."""

    def times(self, from_source: bool) -> list[float]:
        """Where each step begins, then 1, where the last one ends."""
        first = shifted(1 - self.strength, 1 / self.shift) if from_source else 0.0
        count = max(1, round(self.steps * (1 - first)))
        return [shifted(first + (1 - first) * step / count, self.shift) for step in range(count)] + [1.0]


def shifted(time: T, shift: float) -> T:
    """The time, from 0 (noise) to 1 (clean), where the ratio of noise to picture is `shift` times that at `time`."""
    return time / (time + shift * (1 - time))


@dataclass(frozen=True)
class Given:
    """What pictures are drawn from, in rows."""

    text: Tensor
    embedding: Tensor
    source: Tensor | None = None
    """Standard latents to start from."""
    mask: Tensor | None = None
    """(b, 1, rows, columns), 1 where the source may be changed."""


def noise(seeds: Sequence[int], shape: Sequence[int]) -> Tensor:
    """A stream of random numbers for each seed, the same on every device."""
    rows = [torch.Generator().manual_seed(seed % 2**63) for seed in seeds]
    return torch.stack([torch.randn(tuple(shape), generator=row) for row in rows])


def draw(
    network: Flow,
    seeds: Sequence[int],
    given: Given,
    sampling: FlowSampling,
    *,
    batch: int = 16,
    on_step: Callable[[int, int, Tensor], object] = lambda done, of, clean: None,
    is_wanted: Callable[[int], bool] = lambda row: True,
) -> Tensor:
    """Latents (b, c, rows, columns) on the CPU; `on_step` gets the clean ones that each step expects.

    Rows that are no longer wanted are left as they are.
    """
    start, times = noise(seeds, network.shape.latents), sampling.times(given.source is not None)
    x, steps = start, len(times) - 1
    if given.source is not None:
        x = torch.lerp(start, given.source, times[0])
    for done, (now, then) in enumerate(pairwise(times), start=1):
        wanted = torch.tensor([row for row in range(len(x)) if is_wanted(row)], dtype=torch.long)
        velocity = torch.zeros_like(x)
        if len(wanted):
            velocity[wanted] = velocities(network, now, x, given, wanted, sampling.scale, batch)
        clean = x + (1 - now) * velocity
        x = x + (then - now) * velocity
        if given.source is not None and given.mask is not None:
            x = torch.lerp(torch.lerp(start, given.source, then), x, given.mask)
            clean = torch.lerp(given.source, clean, given.mask)
        _stop_if_broken(x, done, steps)
        on_step(done, steps, from_standard(clean, network.shape))
    return from_standard(x, network.shape)


def velocities(network: Flow, time: float, x: Tensor, given: Given, wanted: Tensor, scale: float, batch: int) -> Tensor:
    """Of the wanted rows, which do not depend on each other."""
    device = network.position.device

    def compute(x: Tensor, text: Tensor, embedding: Tensor) -> Tensor:
        with torch.inference_mode():
            rows = [each.to(device) for each in (x, text, embedding)]
            return guided(network, rows[0], time, rows[1], rows[2], scale).cpu()

    return by_themselves(compute, [each[wanted] for each in (x, given.text, given.embedding)], device, batch)


def guided(network: Flow, x: Tensor, time: float, text: Tensor, embedding: Tensor, scale: float) -> Tensor:
    """Pushed away from what no condition gives."""
    if scale != 1:
        x = torch.cat([x, x])
        text, embedding = (torch.cat([each, torch.zeros_like(each)]) for each in (text, embedding))
    velocity = network(x, torch.full((len(x),), time, device=x.device), text, embedding)
    return guide(velocity, scale)


def _stop_if_broken(x: Tensor, done: int, steps: int) -> None:
    if not bool(x.isfinite().all()):
        raise T2IError(
            f"step {done} of {steps} gave values that are not numbers",
            "the weights are damaged, the guidance is too strong, or bf16 is too coarse: try precision=fp32",
            code=1,
        )
