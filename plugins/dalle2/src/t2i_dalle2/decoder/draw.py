"""Drawing pictures with the unets of a decoder, one after another."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from PIL.Image import Image
from torch import Tensor
from torch.nn import functional as F

from t2i_dalle2.decoder.model import Decoder
from t2i_dalle2.diffusion import DenoisingStep, Estimate, NoiseSchedule, OnStep, RowNoise, sample
from t2i_dalle2.shapes import DecoderShape
from t2icli.contract.kinds import LatentCodec
from t2icli.nn.decode import guide
from t2icli.nn.embedding import autocast
from t2icli.nn.latents import from_standard
from t2icli.nn.pixels import to_images


@dataclass
class Stage:
    """One unet's estimates for noisy pictures."""

    network: Decoder
    number: int
    embedding: Tensor
    picture: Tensor | None
    """What the unet before drew; None for the first."""
    scale: float = 1.0
    """Guidance; only the first unet has a condition to be guided by."""
    precision: str = "fp32"
    text: Tensor | None = None
    """Encodings (b, text_length, width) for a decoder that reads them."""

    def __post_init__(self) -> None:
        shape = self.network.shape.unets[self.number]
        device = next(self.network.parameters()).device
        self.shape, self.schedule = shape, NoiseSchedule(shape.betas, self.network.shape.timesteps).to(device)
        self.smaller = None if self.picture is None else enlarged(self.picture, shape.size)

    def output(self, noisy: Tensor, times: Tensor) -> Tensor:
        embedding, smaller, keep, text = self.embedding, self.smaller, None, self.text
        is_guided = self.scale != 1 and self.number == 0
        if is_guided:
            keep = torch.arange(2 * len(noisy), device=noisy.device) < len(noisy)
            noisy, times, embedding = (torch.cat([x, x]) for x in (noisy, times, embedding))
            smaller = None if smaller is None else torch.cat([smaller, smaller])
            text = None if text is None else torch.cat([text, torch.zeros_like(text)])
        with autocast(noisy.device, self.precision):
            output = self.network(self.number, noisy, times, embedding, smaller, keep, text)
        return guide(output, self.scale if is_guided else 1.0)

    def __call__(self, noisy: Tensor, times: Tensor) -> Estimate:
        return self.read(self.output(noisy, times), noisy, times)

    def read(self, output: Tensor, noisy: Tensor, times: Tensor, *, clamp: bool = True) -> Estimate:
        """The clean picture, pixels in [-1, 1], and its variance, where the unet was trained to estimate it."""
        output, certainty = output.chunk(2, dim=1) if self.shape.learned_variance else (output, None)
        clean = self.schedule.clean(noisy, times, output, self.shape.predicts)
        clean = clean.clamp(-1, 1) if clamp and not self.network.shape.mean else clean
        if certainty is None:
            return Estimate(clean)
        return Estimate(clean, log_variance(self.schedule, certainty, times))


def log_variance(schedule: NoiseSchedule, certainty: Tensor, times: Tensor) -> Tensor:
    """Between the smallest and largest variance of a step, as `certainty` in [-1, 1] sets it."""
    least = schedule.at(schedule.log_variance, times, certainty)
    most = schedule.at(schedule.betas.log(), times, certainty)
    part = (certainty + 1) / 2
    return part * most + (1 - part) * least


def enlarged(picture: Tensor, size: int) -> Tensor:
    return F.interpolate(picture, size, mode="nearest").clamp(-1, 1)


@torch.inference_mode()
def draw(
    network: Decoder,
    embedding: Tensor,
    seeds: list[int],
    ways: list[list[DenoisingStep]],
    *,
    scale: float,
    precision: str,
    text: Tensor | None = None,
    source: Tensor | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """A picture for each embedding and its seed, as `finished` says.

    From a `source`, of the first unet's size and scale, the first of `ways` goes as far back as it is long.
    """
    picture: Tensor | None = None
    for number, (shape, way) in enumerate(zip(network.shape.unets, ways, strict=True)):
        noise = RowNoise(seeds, number + 1, (network.shape.channels, shape.size, shape.size), embedding.device)
        stage = Stage(network, number, embedding, picture, scale, precision, text)
        begin = source if number == 0 else None
        picture = sample(stage.schedule, way, stage, noise, source=begin, on_step=on_step, who=f"unet {number + 1}")
    assert picture is not None
    return finished(picture, network.shape)


def finished(picture: Tensor, shape: DecoderShape) -> Tensor:
    """Pixels (b, 3, h, w) in [0, 1], or the latents that a codec decodes."""
    return from_standard(picture, shape) if shape.mean else (picture.clamp(-1, 1) + 1) / 2


def images(finished: Tensor, codec: LatentCodec | None) -> list[Image]:
    return to_images(finished if codec is None else codec.decode_latents(finished.float().cpu()))
