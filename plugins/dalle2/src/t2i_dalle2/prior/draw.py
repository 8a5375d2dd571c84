"""Drawing image embeddings with a prior; several are drawn for one, and the one nearest to its text is kept."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from t2i_dalle2.diffusion import DenoisingStep, Estimate, NoiseSchedule, OnStep, RowNoise, sample
from t2i_dalle2.prior.model import Prior
from t2icli.nn.decode import guide
from t2icli.nn.embedding import autocast

STREAM = 0
"""The prior's among an image's streams of random numbers."""


@dataclass
class Imagine:
    """A prior's estimates for noisy image embeddings of some texts, step by step."""

    network: Prior
    text: Tensor
    encodings: Tensor | None
    scale: float = 1.0
    precision: str = "fp32"
    before: Tensor | None = None
    """The clean embeddings of the step before."""

    def output(self, noisy: Tensor, times: Tensor) -> Tensor:
        text, encodings, before, keep = self.text, self.encodings, self.before, None
        if self.scale != 1:
            keep = torch.arange(2 * len(noisy), device=noisy.device) < len(noisy)
            noisy, times, text = (torch.cat([x, x]) for x in (noisy, times, text))
            encodings, before = (None if x is None else torch.cat([x, x]) for x in (encodings, before))
        with autocast(noisy.device, self.precision):
            output = self.network(noisy, times, text, encodings, keep, keep, before)
        return guide(output, self.scale)

    def __call__(self, noisy: Tensor, times: Tensor) -> Estimate:
        shape = self.network.shape
        output = self.output(noisy, times)
        clean = self.schedule.clean(noisy, times, output, shape.predicts)
        self.before = F.normalize(clean, dim=-1) * shape.length if shape.clamp else clean
        return Estimate(self.before)

    def __post_init__(self) -> None:
        shape = self.network.shape
        self.schedule = NoiseSchedule(shape.betas, shape.timesteps).to(self.text.device)


@torch.inference_mode()
def imagine(
    network: Prior,
    text: Tensor,
    encodings: Tensor | None,
    seeds: list[int],
    way: list[DenoisingStep],
    *,
    candidates: int,
    scale: float,
    precision: str,
    on_step: OnStep | None = None,
) -> Tensor:
    """The embedding (b, width), of length 1, of an image for each seed, of texts (b, width) or one of them for all."""
    device, b = text.device, len(seeds)
    noise = RowNoise(seeds, STREAM, (candidates, network.shape.width), device)
    text = text.expand(b, -1)
    if encodings is not None:
        encodings = encodings.expand(b, -1, -1).repeat_interleave(candidates, 0)
    denoise = Imagine(network, text.repeat_interleave(candidates, 0), encodings, scale, precision)
    drawn = sample(denoise.schedule, way, denoise, lambda: noise().flatten(0, 1), on_step=on_step, who="the prior")
    candidate_embeddings: Tensor = F.normalize(drawn, dim=-1).unflatten(0, (-1, candidates))  # (b, candidates, width)
    best = (candidate_embeddings @ text[:, :, None])[..., 0].argmax(dim=1)
    return candidate_embeddings[torch.arange(b, device=device), best]
