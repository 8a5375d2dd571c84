"""DALL-E 2 as a generator: a text -> an image's embedding, drawn by the prior -> pixels, drawn by the decoder."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import msgspec
import torch
from PIL.Image import Image
from safetensors import safe_open
from torch import Tensor

from t2i_dalle2 import folders
from t2i_dalle2.decoder.draw import draw, finished, images
from t2i_dalle2.decoder.model import Decoder
from t2i_dalle2.diffusion import DenoisingStep, NoiseSchedule, way_back
from t2i_dalle2.prior.draw import imagine
from t2i_dalle2.prior.inputs import encoded
from t2i_dalle2.prior.model import Prior
from t2i_dalle2.shapes import DecoderShape
from t2icli.contract.kinds import Embedder, LatentCodec
from t2icli.contract.requests import Abilities, Readings, Request, numbered
from t2icli.ground.batches import batched
from t2icli.ground.errors import T2IError
from t2icli.ground.watch import Watch, unwatched
from t2icli.nn import devices, weights
from t2icli.nn.blocks import fill, in_groups
from t2icli.nn.embedding import autocast_precision
from t2icli.nn.latents import standard
from t2icli.nn.pixels import square, to_tensor
from t2icli.registry import parts
from t2icli.store.models import Model

if TYPE_CHECKING:
    from t2i_dalle2 import Settings


@dataclass(frozen=True)
class Reading:
    """What a request is drawn from, each of one row: a text, or the embedding of a picture in its place."""

    text: Tensor | None = None
    encodings: Tensor | None = None
    """For the prior."""
    embedding: Tensor | None = None
    words: Tensor | None = None
    """Encodings for a decoder that reads them; zeros where there is no text."""
    source: Tensor | None = None
    """The picture to start from, as the first unet would draw it."""


@dataclass(frozen=True)
class DiffusionSampling:
    """How to draw."""

    unet_steps: list[list[DenoisingStep]]
    """The steps of each unet."""
    prior_steps: list[DenoisingStep]
    scale: float = 1.0
    prior_scale: float = 1.0
    candidates: int = 2
    strength: float = 0.6
    """How far back from a source, of 1."""
    batch: int = 16
    """Pictures at a time."""
    precision: str = "fp32"


class Dalle2:
    """A decoder; with a prior also from texts."""

    def __init__(
        self,
        decoder: Decoder,
        prior: Prior | None,
        embedder: Embedder,
        sampling: DiffusionSampling,
        device: torch.device,
        sampling_of: Callable[[tuple[tuple[str, Any], ...]], DiffusionSampling],
        space: str = "",
        codec: LatentCodec | None = None,
    ) -> None:
        self.decoder, self.prior, self.embedder, self.sampling, self.device = decoder, prior, embedder, sampling, device
        self.space, self.codec = space, codec
        self.sampling_of = sampling_of
        """The sampling with some settings changed."""
        self.precision = sampling.precision
        size = decoder.shape.unets[-1].size if codec is None else codec.size[0]
        self.abilities = Abilities(frozenset({"like", "embedding", "source"}), ((size, size),))

    def generate(self, prompt: str, n: int, *, seed: int) -> Iterator[Image]:
        return self.draw(numbered(Request(prompt, seed), n))

    def draw(self, requests: Iterable[Request], watch: Watch = unwatched) -> Iterator[Image]:
        def compute(group: Mapping[int, tuple[Request, Reading]], batch: int) -> list[Image]:
            return self._draw_group(group, batch, watch)

        return in_groups(self._read(requests), kind, compute, self.sampling.batch)

    def _read(self, requests: Iterable[Request]) -> Iterator[tuple[Request, Reading]]:
        readings = Readings(self._read_one)
        for block in batched(requests, self.sampling.batch):
            yield from zip(block, readings(block), strict=True)

    def _read_one(self, request: Request) -> Reading:
        source, embedding = self._source(request), self._embedding(request)
        if embedding is not None:
            return Reading(embedding=embedding.to(self.device), words=self._words(None), source=source)
        if self.prior is None:
            raise T2IError(
                "this model has no prior, so it cannot draw from words", "name one with -o prior=NAME, or use --like"
            )
        shape, prompt = self.prior.shape, request.prompt
        encodings = encoded(self.embedder, [prompt], shape.encodings, shape.text_length, "prior")
        text = self.embedder.embed_texts([prompt]).to(self.device)
        return Reading(text, _moved(encodings, self.device), words=self._words(prompt), source=source)

    def _embedding(self, request: Request) -> Tensor | None:
        """What takes the place of the prompt, if anything does."""
        if request.embedding is not None:
            return request.embedding[None]
        return self.embedder.embed_images([request.like]) if request.like is not None else None

    def _words(self, prompt: str | None) -> Tensor | None:
        shape = self.decoder.shape
        if not shape.text:
            return None
        if prompt is None:
            return torch.zeros(1, shape.text_length, shape.text, device=self.device)
        return _moved(encoded(self.embedder, [prompt], shape.text, shape.text_length, "decoder"), self.device)

    def _source(self, request: Request) -> Tensor | None:
        """The picture to start from, as the first unet would draw it."""
        if request.source is None:
            return None
        shape = self.decoder.shape
        if self.codec is not None:
            latents = self.codec.encode_latents(to_tensor(square(request.source, self.codec.size[0]))[None])
            return standard(latents, shape).to(self.device)
        return to_tensor(square(request.source, shape.unets[0].size))[None].to(self.device) * 2 - 1

    def _draw_group(self, group: Mapping[int, tuple[Request, Reading]], batch: int, watch: Watch) -> list[Image]:
        """Pictures with the same settings, by their index in the whole call."""
        requests, readings = zip(*group.values(), strict=True)
        sampling = self.sampling_of(requests[0].own_settings) if requests[0].settings else self.sampling
        seeds = fill([request.seed for request in requests], batch)
        given = fill(readings, batch)
        unet_steps, source = sampling.unet_steps, _rows(given, "source")
        if source is not None:
            unet_steps = [shortened(unet_steps[0], sampling.strength), *unet_steps[1:]]
            source = None if len(unet_steps[0]) == len(sampling.unet_steps[0]) else source  # nothing of it is kept
        follow = Following(watch, list(group), sum(map(len, unet_steps)), self.painted)
        try:
            embedding = self._embeddings(given, seeds, sampling, follow)
            drawn = draw(
                self.decoder,
                embedding,
                seeds,
                unet_steps,
                scale=sampling.scale,
                precision=sampling.precision,
                text=_rows(given, "words"),
                source=source,
                on_step=follow.pictures,
            )
        except torch.OutOfMemoryError:
            if batch > 1:
                message = f"the GPU's memory is full: now {batch // 2} images at a time"
                warnings.warn(message, UserWarning, stacklevel=2)
            raise
        return images(drawn[: len(group)], self.codec)

    def painted(self, clean: Tensor) -> Image:
        """What a unet takes one picture for, at a step."""
        return images(finished(clean[None], self.decoder.shape), self.codec)[0]

    def _embeddings(
        self, readings: Sequence[Reading], seeds: list[int], sampling: DiffusionSampling, follow: Following
    ) -> Tensor:
        """(b, width), those of pictures or those that the prior draws for texts."""
        known, text = _rows(readings, "embedding"), _rows(readings, "text")
        if known is not None:
            return known
        assert self.prior is not None and text is not None
        follow.steps += len(sampling.prior_steps)
        return imagine(
            self.prior,
            text,
            _rows(readings, "encodings"),
            seeds,
            sampling.prior_steps,
            candidates=sampling.candidates,
            scale=sampling.prior_scale,
            precision=sampling.precision,
            on_step=follow.embeddings,
        )


def kind(item: tuple[Request, Reading]) -> Hashable:
    """The same for what can be drawn in one batch."""
    request, reading = item
    return request.own_settings, reading.embedding is None, reading.source is None


def _rows(readings: Sequence[Reading], name: str) -> Tensor | None:
    """What all of a batch have, or none."""
    values = [getattr(each, name) for each in readings]
    return None if values[0] is None else torch.cat(values)


def _moved(encodings: Tensor | None, device: torch.device) -> Tensor | None:
    return None if encodings is None else encodings.to(device)


def shortened(way: list[DenoisingStep], strength: float) -> list[DenoisingStep]:
    """The last steps, which change so much of a source."""
    return way[min(round(len(way) * (1 - strength)), len(way) - 1) :]


@dataclass
class Following:
    """Counts the steps of prior and unets as one, and offers the estimates of the unets as previews."""

    watch: Watch
    indices: Sequence[int]
    """Of the batch's pictures, in the whole call."""
    steps: int
    painted: Callable[[Tensor], Image]
    done: int = 0

    def embeddings(self, _: Tensor) -> None:
        self.done += 1
        self.watch.step(self.done, self.steps)

    def pictures(self, clean: Tensor) -> None:
        self.embeddings(clean)
        for index, picture in zip(self.indices, clean, strict=False):  # the batch may be filled up
            self.watch.preview(index, partial(self.painted, picture))


def load(settings: Settings) -> Dalle2:
    device = devices.pick_device(settings.device)
    embedder = settings.embedder.load()
    own, given = folders.space_of(settings.model), folders.space_of_part(settings.embedder, embedder.width)
    folders.check_same(own, given, parts.embedder_hint(settings.model, settings.embedder))
    decoder = open_decoder(settings.model).to(device)
    codec = None if settings.codec.is_none else parts.load_latent_codec(settings.codec)
    check_codec(settings.model, decoder.shape, codec)
    chosen = prior_of(settings)
    prior = None
    if chosen is not None:
        folders.check_same(folders.space_of(chosen), folders.space_of(settings.model))
        prior = weights.load(weights.unfilled(Prior, folders.prior_shape(chosen)), chosen).to(device)

    @lru_cache(maxsize=16)
    def sampling_of(own: tuple[tuple[str, Any], ...]) -> DiffusionSampling:
        return configured(msgspec.structs.replace(settings, **dict(own)), decoder, prior, device)

    space = parts.space(settings.embedder.name, settings.embedder.settings)
    return Dalle2(decoder, prior, embedder, sampling_of(()), device, sampling_of, space, codec)


def check_codec(model: Model, shape: DecoderShape, codec: LatentCodec | None) -> None:
    """A decoder of latents needs a codec of their size, one of pixels none."""
    hint, size = "omit the codec to use the model's own", shape.unets[0].size
    if not shape.mean:
        if codec is not None:
            raise T2IError(f"model {model.name!r} draws pixels, so a codec has nothing to do", "omit the codec")
        return
    if codec is None:
        raise T2IError(f"model {model.name!r} draws latents, but there is no codec to decode them", hint)
    latents = (shape.channels, size, size)
    if tuple(codec.latent_shape) != latents:
        raise T2IError(
            f"model {model.name!r} draws latents of {latents}, but {type(codec).__name__} has {codec.latent_shape}",
            hint,
        )


def open_decoder(model: Model) -> Decoder:
    shape = folders.decoder_shape(model)
    check_whole(model, len(shape.unets))
    return weights.load(weights.unfilled(Decoder, shape), model)


def check_whole(model: Model, unets: int) -> None:
    """A missing unet is reported by its number, not by the names of its hundreds of tensors."""
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


def configured(settings: Settings, decoder: Decoder, prior: Prior | None, device: torch.device) -> DiffusionSampling:
    shape = decoder.shape
    warn_of_guidance("decoder", settings.cfg_scale, shape.dropped)
    counts: tuple[int | None, ...] = settings.steps or (None,)
    if len(counts) == 1:
        counts = counts * len(shape.unets)
    if len(counts) != len(shape.unets):
        raise T2IError(
            f"{len(counts)} numbers of steps for {len(shape.unets)} unets", "give one for each, or one for all"
        )
    unet_steps = [
        way_back(NoiseSchedule(unet.betas, shape.timesteps), count, settings.sampler, who=f"unet {number}")
        for number, (unet, count) in enumerate(zip(shape.unets, counts, strict=True), start=1)
    ]
    for_prior: list[DenoisingStep] = []
    if prior is not None:
        warn_of_guidance("prior", settings.prior_cfg_scale, prior.shape.dropped)
        for_prior = prior_steps(prior, settings.prior_steps, settings.sampler)
    return DiffusionSampling(
        unet_steps,
        for_prior,
        settings.cfg_scale,
        settings.prior_cfg_scale,
        settings.candidates,
        settings.strength,
        # One at a time on a CPU: its kernels round differently for other batches, and one picture keeps it busy.
        1 if device.type == "cpu" else settings.batch,
        autocast_precision(settings.precision, device),
    )


def prior_steps(prior: Prior, count: int | None, sampler: str = "auto") -> list[DenoisingStep]:
    # As the reference samples its prior: noise is added on the way of DDIM, too.
    schedule = NoiseSchedule(prior.shape.betas, prior.shape.timesteps)
    return way_back(schedule, count, sampler, eta=1.0, shift=1, who="the prior")


def warn_of_guidance(what: str, scale: float, dropped: float) -> None:
    if scale != 1 and not dropped:
        message = f"the {what} was trained without dropping its condition: a guidance of {scale} has no meaning"
        warnings.warn(f"{message}; 1 is none", UserWarning, stacklevel=2)
