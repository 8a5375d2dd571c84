"""Gaussian diffusion: how noise grows, and the ways back from it. Knows nothing of what is drawn."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

from t2icli.ground.errors import T2IError

Noise = Callable[[], Tensor]
"""Fresh normal noise of the shape that is drawn."""
OnStep = Callable[[Tensor], object]
"""Called after each step with the estimate of the clean thing."""


def betas(name: str, timesteps: int) -> Tensor:
    """The share of noise each step adds, (timesteps,), in float64."""
    scale = 1000 / timesteps
    low, high = scale * 0.0001, scale * 0.02
    if name == "cosine":
        at = (torch.linspace(0, timesteps, timesteps + 1, dtype=torch.float64) / timesteps + 0.008) / 1.008
        power = torch.cos(at * math.pi / 2) ** 2
        return (1 - power[1:] / power[:-1]).clamp(0, 0.999)
    if name == "linear":
        return torch.linspace(low, high, timesteps, dtype=torch.float64)
    if name == "quadratic":
        return torch.linspace(low**0.5, high**0.5, timesteps, dtype=torch.float64) ** 2
    if name == "jsd":
        return 1 / torch.linspace(timesteps, 1, timesteps, dtype=torch.float64)
    if name == "sigmoid":
        return torch.linspace(-6, 6, timesteps, dtype=torch.float64).sigmoid() * (high - low) + low
    raise T2IError(f"there is no schedule {name!r}", "known: cosine, linear, quadratic, jsd, sigmoid")


class NoiseSchedule:
    """Everything that follows from the betas, computed in float64 and stored in float32; index t is a timestep."""

    def __init__(self, name: str, timesteps: int) -> None:
        beta = betas(name, timesteps)
        alpha_bar = (1 - beta).cumprod(0)
        before = F.pad(alpha_bar[:-1], (1, 0), value=1.0)
        variance = beta * (1 - before) / (1 - alpha_bar)
        self.timesteps = timesteps
        self.betas = beta.float()
        self.alpha_bar = alpha_bar.float()
        """How much of the clean thing's variance is left."""
        self.signal, self.noise = alpha_bar.sqrt().float(), (1 - alpha_bar).sqrt().float()
        self.clean_part = (beta * before.sqrt() / (1 - alpha_bar)).float()
        self.noisy_part = ((1 - before) * (1 - beta).sqrt() / (1 - alpha_bar)).float()
        """The mean of the step before is clean_part * clean + noisy_part * noisy."""
        self.log_variance = variance.clamp(min=1e-20).log().float()

    def to(self, device: torch.device) -> NoiseSchedule:
        """Moves itself, once, so that no step has to wait for a copy."""
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(self, name, value.to(device))
        return self

    def at(self, values: Tensor, times: Tensor, like: Tensor) -> Tensor:
        """One value a row, shaped to be multiplied with `like`."""
        return values[times].reshape(-1, *(1,) * (like.ndim - 1))

    def noised(self, clean: Tensor, times: Tensor, noise: Tensor) -> Tensor:
        return self.at(self.signal, times, clean) * clean + self.at(self.noise, times, clean) * noise

    def target(self, clean: Tensor, times: Tensor, noise: Tensor, predicts: str) -> Tensor:
        """What a network should say."""
        if predicts == "v":
            return self.at(self.signal, times, clean) * noise - self.at(self.noise, times, clean) * clean
        return clean if predicts == "x0" else noise

    def clean(self, noisy: Tensor, times: Tensor, output: Tensor, predicts: str) -> Tensor:
        """The clean data, from a network's output."""
        if predicts == "x0":
            return output
        signal, noise = self.at(self.signal, times, noisy), self.at(self.noise, times, noisy)
        return signal * noisy - noise * output if predicts == "v" else (noisy - noise * output) / signal

    def mean(self, clean: Tensor, noisy: Tensor, times: Tensor) -> Tensor:
        """Where the step before most likely was."""
        return self.at(self.clean_part, times, noisy) * clean + self.at(self.noisy_part, times, noisy) * noisy


@dataclass(frozen=True)
class DenoisingStep:
    """One step back: clean * x0 + noisy * x + noise * (the noise seen in x) + fresh * (new noise)."""

    time: int
    clean: float
    noisy: float
    noise: float
    fresh: float
    learned: bool = False
    """Whether the network may say how much fresh noise there is."""
    before: float = 0.0
    """Times x0 as estimated in the step before."""


def ddpm(schedule: NoiseSchedule) -> list[DenoisingStep]:
    """The way back through every timestep."""
    fresh = (0.5 * schedule.log_variance).exp()
    return [
        DenoisingStep(
            t, float(schedule.clean_part[t]), float(schedule.noisy_part[t]), 0.0, float(fresh[t]) if t else 0.0, t > 0
        )
        for t in reversed(range(schedule.timesteps))
    ]


def ddim(schedule: NoiseSchedule, steps: int, *, eta: float = 0.0, shift: int = 0) -> list[DenoisingStep]:
    """A way back in fewer steps; `eta` 0 adds no noise on the way.

    dalle2-pytorch takes the step's levels one timestep early in its prior: `shift` 1.
    """
    times = [int(t) for t in torch.linspace(-1.0, schedule.timesteps, steps + 2)[:-1].flip(0)]

    def alpha_bar(time: int) -> float:
        return float(schedule.alpha_bar[time - shift]) if time >= shift else 1.0

    way = []
    for time, following in pairwise(times):
        now, then = alpha_bar(time), alpha_bar(following)
        fresh = eta * math.sqrt(max((1 - now / then) * (1 - then) / (1 - now), 0.0)) if now < 1 else 0.0
        way.append(DenoisingStep(time, math.sqrt(then), 0.0, math.sqrt(max(1 - then - fresh**2, 0.0)), fresh))
    return way


def dpm(schedule: NoiseSchedule, steps: int) -> list[DenoisingStep]:
    """DPM-Solver++(2M) (arXiv 2211.01095): DDIM's steps, which follow a line through the last two clean estimates.

    Its time is half the logarithm of the signal-to-noise ratio. The first and the last step are those of DDIM.
    """
    way = ddim(schedule, steps)
    levels = [math.log(float(schedule.signal[step.time] / schedule.noise[step.time])) for step in way]
    for i in range(1, len(way) - 1):
        behind, ahead = levels[i] - levels[i - 1], levels[i + 1] - levels[i]
        further = -way[i].clean * math.expm1(-ahead) * ahead / (2 * behind)
        way[i] = replace(way[i], clean=way[i].clean + further, before=-further)
    return way


def way_back(
    schedule: NoiseSchedule,
    steps: int | None,
    sampler: str,
    *,
    eta: float = 0.0,
    shift: int = 0,
    who: str = "the network",
) -> list[DenoisingStep]:
    """The steps a user asked for; `auto` is DDPM where all are taken, else DDIM."""
    if float(schedule.alpha_bar[-1]) <= 0:
        raise T2IError(
            f"{schedule.timesteps} timesteps of this noise schedule cannot be sampled: one of them keeps no signal",
            "linear, quadratic and sigmoid betas need more than 20 timesteps; cosine does with any",
        )
    count = schedule.timesteps if steps is None else steps
    if not 1 <= count <= schedule.timesteps:
        raise T2IError(f"{who} cannot take {count} steps", f"it was trained with {schedule.timesteps}: 1 to that")
    if sampler == "ddpm" and count < schedule.timesteps:
        raise T2IError(f"ddpm takes all {schedule.timesteps} steps of {who}, not {count}", "fewer are for ddim and dpm")
    if sampler == "dpm":
        return dpm(schedule, count)
    is_ddpm = sampler == "ddpm" or (sampler == "auto" and count == schedule.timesteps)
    return ddpm(schedule) if is_ddpm else ddim(schedule, count, eta=eta, shift=shift)


@dataclass(frozen=True)
class Estimate:
    """A network's estimate for a noisy batch."""

    clean: Tensor
    log_variance: Tensor | None = None
    """Of the step before; None leaves it to the schedule."""


Denoise = Callable[[Tensor, Tensor], Estimate]
"""A noisy batch and its timesteps (b,) in."""


def sample(
    schedule: NoiseSchedule,
    way: Sequence[DenoisingStep],
    denoise: Denoise,
    noise: Noise,
    *,
    source: Tensor | None = None,
    on_step: OnStep | None = None,
    who: str = "the network",
) -> Tensor:
    """From noise, or from a clean `source` as noisy as the first step expects it, to the clean thing.

    A step whose result is no number ends it.
    """
    x = noise()
    before: Tensor | None = None
    if source is not None:
        x = schedule.noised(source, torch.full((len(x),), way[0].time, device=x.device), x)
    for done, step in enumerate(way, start=1):
        times = torch.full((len(x),), step.time, device=x.device)
        estimate = denoise(x, times)
        before = estimate.clean if before is None else before  # the first of a shortened way has none
        following = step.clean * estimate.clean + step.noisy * x + step.before * before
        before = estimate.clean
        if step.noise:
            seen = (x - schedule.at(schedule.signal, times, x) * estimate.clean) / schedule.at(schedule.noise, times, x)
            following = following + step.noise * seen
        if step.fresh:
            amount: Tensor | float = step.fresh
            if step.learned and estimate.log_variance is not None:
                amount = (0.5 * estimate.log_variance).exp()
            following = following + noise() * amount
        x = following
        _stop_if_broken(x, done, len(way), who)
        if on_step is not None:
            on_step(estimate.clean)
    return x


def _stop_if_broken(x: Tensor, done: int, steps: int, who: str) -> None:
    if not bool(x.isfinite().all()):
        raise T2IError(
            f"step {done} of {steps} of {who} gave values that are not numbers",
            "the weights are damaged, the guidance is too strong, or bf16 is too coarse: try precision=fp32",
            code=1,
        )


class RowNoise:
    """Normal noise with one stream of numbers a row, from the row's seed alone, the same on every device."""

    STREAMS = 8
    """Of one image: the prior's, then one for each unet."""

    def __init__(self, seeds: Iterable[int], stream: int, shape: tuple[int, ...], device: torch.device) -> None:
        self.shape, self.device = shape, device
        self.rows = [torch.Generator().manual_seed((seed * self.STREAMS + stream) % 2**63) for seed in seeds]

    def __call__(self) -> Tensor:
        return torch.stack([torch.randn(self.shape, generator=row) for row in self.rows]).to(self.device)
