"""DALL-E 2 as a generator: a text -> an image's embedding, drawn by the prior -> pixels, drawn by the decoder."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from PIL.Image import Image
from safetensors import safe_open
from torch import Tensor

from t2i_dalle2 import folders
from t2i_dalle2.decoder.draw import draw
from t2i_dalle2.decoder.model import Decoder
from t2i_dalle2.diffusion import OnStep, Schedule, Step, way_back
from t2i_dalle2.prior.draw import imagine
from t2i_dalle2.prior.inputs import read
from t2i_dalle2.prior.model import Prior
from t2icli.contract.kinds import Embedder
from t2icli.ground.errors import T2IError
from t2icli.nn import devices, weights
from t2icli.nn.blocks import fill
from t2icli.nn.embedding import autocast_precision
from t2icli.nn.pixels import to_images
from t2icli.registry import parts
from t2icli.store.models import Model

if TYPE_CHECKING:
    from t2i_dalle2 import Settings

Imagined = Callable[[list[int], OnStep], Tensor]
"""An embedding (b, width) for each seed."""


@dataclass(frozen=True)
class Plan:
    """How to draw."""

    ways: list[list[Step]]
    """The steps of each unet."""
    prior_way: list[Step]
    scale: float = 1.0
    prior_scale: float = 1.0
    candidates: int = 2
    batch: int = 16
    """Pictures at a time."""
    precision: str = "fp32"


class Dalle2:
    """A decoder; with a prior also from texts."""

    def __init__(
        self, decoder: Decoder, prior: Prior | None, embedder: Embedder, plan: Plan, device: torch.device
    ) -> None:
        self.decoder, self.prior, self.embedder, self.plan, self.device = decoder, prior, embedder, plan, device
        self.precision = plan.precision
        self.on_step: OnStep | None = None

    def generate(self, prompt: str, n: int, *, seed: int) -> Iterator[Image]:
        if self.prior is None:
            raise T2IError(
                "this model has no prior, so it cannot draw from words", "name one with -o prior=NAME, or use --like"
            )
        prior, plan = self.prior, self.plan
        text, encodings = read(self.embedder, [prompt], prior.shape)
        text, encodings = text.to(self.device), None if encodings is None else encodings.to(self.device)

        def imagined(seeds: list[int], on_step: OnStep) -> Tensor:
            return imagine(
                prior,
                text,
                encodings,
                seeds,
                plan.prior_way,
                candidates=plan.candidates,
                scale=plan.prior_scale,
                precision=plan.precision,
                on_step=on_step,
            )

        return self.draw(imagined, n, seed, len(plan.prior_way))

    def generate_like(self, image: Image, n: int, *, seed: int) -> Iterator[Image]:
        embedding = self.embedder.embed_images([image]).to(self.device)
        return self.draw(lambda seeds, _: embedding.expand(len(seeds), -1), n, seed, 0)

    def draw(self, imagined: Imagined, n: int, seed: int, before: int) -> Iterator[Image]:
        """n images; `before` is how many steps their embeddings take."""
        done, plan = 0, self.plan
        batch = plan.batch
        while done < n:
            here = min(batch, n - done)
            seeds = fill(range(seed + done, seed + done + here), batch)
            tick = self._ticking(before + sum(map(len, plan.ways)))
            try:
                embedding = imagined(seeds, tick)
                pixels = draw(
                    self.decoder, embedding, seeds, plan.ways, scale=plan.scale, precision=plan.precision, on_step=tick
                )
            except torch.OutOfMemoryError as error:
                batch = devices.halved(batch, error)
                warnings.warn(f"the GPU's memory is full: now {batch} images at a time", UserWarning, stacklevel=2)
                continue
            yield from to_images(pixels[:here])
            done += here

    def _ticking(self, total: int) -> OnStep:
        """Counts the steps of prior and unets as one."""
        done = 0

        def tick(_: int, __: int) -> None:
            nonlocal done
            done += 1
            if self.on_step is not None:
                self.on_step(done, total)

        return tick


def load(settings: Settings) -> Dalle2:
    device = devices.pick_device(settings.device)
    embedder = settings.embedder.load()
    own, given = folders.space_of(settings.model), folders.space_of_part(settings.embedder, embedder.width)
    folders.check_same(own, given, parts.embedder_hint(settings.model, settings.embedder))
    decoder = open_decoder(settings.model).to(device)
    chosen = prior_of(settings)
    prior = None
    if chosen is not None:
        folders.check_same(folders.space_of(chosen), folders.space_of(settings.model))
        prior = weights.load(Prior(folders.prior_shape(chosen)), chosen).to(device)
    return Dalle2(decoder, prior, embedder, plan_of(settings, decoder, prior, device), device)


def open_decoder(model: Model) -> Decoder:
    shape = folders.decoder_shape(model)
    check_whole(model, len(shape.unets))
    return weights.load(Decoder(shape), model)


def check_whole(model: Model, unets: int) -> None:
    """A unet that is missing is told by its number, not by the names of its hundreds of tensors."""
    with safe_open(model.file(), framework="pt") as file:
        there = {int(match[1]) for name in file.keys() if (match := re.match(r"unets\.(\d+)\.", name))}
    for number in range(unets):
        if number not in there:
            raise T2IError(
                f"model {model.name!r} lacks unet {number + 1} of {unets}",
                "import or train it again, with all its unets",
            )


def prior_of(settings: Settings) -> Model | None:
    if settings.prior is not None:
        return folders.find_prior(settings.prior)
    return settings.model.part("prior") if "prior" in settings.model.card.parts else None


def plan_of(settings: Settings, decoder: Decoder, prior: Prior | None, device: torch.device) -> Plan:
    shape = decoder.shape
    warn_of_guidance("decoder", settings.cfg_scale, shape.dropped)
    counts: tuple[int | None, ...] = settings.steps or (None,)
    if len(counts) == 1:
        counts = counts * len(shape.unets)
    if len(counts) != len(shape.unets):
        raise T2IError(
            f"{len(counts)} numbers of steps for {len(shape.unets)} unets", "give one for each, or one for all"
        )
    ways = [
        way_back(Schedule(unet.betas, shape.timesteps), count, settings.sampler, who=f"unet {number}")
        for number, (unet, count) in enumerate(zip(shape.unets, counts, strict=True), start=1)
    ]
    prior_way: list[Step] = []
    if prior is not None:
        warn_of_guidance("prior", settings.prior_cfg_scale, prior.shape.dropped)
        prior_way = prior_steps(prior, settings.prior_steps, settings.sampler)
    return Plan(
        ways,
        prior_way,
        settings.cfg_scale,
        settings.prior_cfg_scale,
        settings.candidates,
        # One at a time on a CPU: its kernels round differently for other batches, and one picture keeps it busy.
        1 if device.type == "cpu" else settings.batch,
        autocast_precision(settings.precision, device),
    )


def prior_steps(prior: Prior, count: int | None, sampler: str = "auto") -> list[Step]:
    # As the reference samples its prior: noise is added on the way of DDIM, too.
    schedule = Schedule(prior.shape.betas, prior.shape.timesteps)
    return way_back(schedule, count, sampler, eta=1.0, shift=1, who="the prior")


def warn_of_guidance(what: str, scale: float, dropped: float) -> None:
    if scale != 1 and not dropped:
        told = f"the {what} was trained with its condition always there, so a guidance of {scale} pushes it anywhere"
        warnings.warn(f"{told}; 1 is none", UserWarning, stacklevel=2)
