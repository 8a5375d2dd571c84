"""A flow as a generator: words -> latents -> pictures."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import torch
from PIL.Image import Image
from torch import Tensor
from torch.nn import functional as F

from t2i_flow.draw import FlowSampling, Given, draw
from t2i_flow.model import Flow, FlowShape
from t2icli.contract.kinds import Embedder, LatentCodec, TokenEmbedder, Tokenizer
from t2icli.contract.requests import Abilities, Readings, Request, numbered
from t2icli.ground.batches import batched
from t2icli.ground.errors import T2IError
from t2icli.ground.watch import Watch, unwatched
from t2icli.nn import devices, weights
from t2icli.nn.blocks import in_groups
from t2icli.nn.latents import standard
from t2icli.nn.pixels import square, to_images, to_tensor
from t2icli.registry import parts

if TYPE_CHECKING:
    from t2i_flow import Settings

SETTINGS = {"steps": "steps", "cfg_scale": "scale", "strength": "strength", "shift": "shift"}
"""The settings of one picture, and what `FlowSampling` calls them."""


@dataclass(frozen=True, kw_only=True)
class FlowGenerator:
    """Draws latents with the transformer and decodes them with the codec."""

    model: Flow
    codec: LatentCodec
    read_text: Callable[[str], Tensor]
    sampling: FlowSampling
    batch: int = 16
    precision: str = "fp32"

    @property
    def abilities(self) -> Abilities:
        height, width = self.codec.size
        return Abilities(frozenset({"source", "mask"}), ((width, height),))

    def generate(self, prompt: str, n: int, *, seed: int) -> Iterator[Image]:
        return self.draw(numbered(Request(prompt, seed), n))

    def draw(self, requests: Iterable[Request], watch: Watch = unwatched) -> Iterator[Image]:
        def compute(group: Mapping[int, tuple[Request, Given]], batch: int) -> list[Image]:
            return self._draw_group(group, batch, watch)

        return in_groups(self._read(requests), kind, compute, self.batch)

    def _draw_group(self, group: Mapping[int, tuple[Request, Given]], batch: int, watch: Watch) -> list[Image]:
        """Pictures with the same settings, by their index in the whole call."""
        requests, readings = zip(*group.values(), strict=True)

        def on_step(done: int, of: int, clean: Tensor) -> None:
            watch.step(done, of)
            for index, latents in zip(group, clean, strict=True):
                if watch.is_wanted(index):
                    watch.preview(index, partial(self.painted, latents))

        sampling = replace(self.sampling, **{SETTINGS[name]: value for name, value in requests[0].settings.items()})
        seeds, indices = [request.seed for request in requests], list(group)
        drawn = draw(
            self.model,
            seeds,
            together(readings),
            sampling,
            batch=batch,
            on_step=on_step,
            is_wanted=lambda row: watch.is_wanted(indices[row]),
        )
        return to_images(self.codec.decode_latents(drawn))

    def painted(self, latents: Tensor) -> Image:
        return to_images(self.codec.decode_latents(latents[None]))[0]

    def _read(self, requests: Iterable[Request]) -> Iterator[tuple[Request, Given]]:
        readings = Readings(self.read)
        for block in batched(requests, self.batch):
            yield from zip(block, readings(block), strict=True)

    def read(self, request: Request) -> Given:
        """What a request is drawn from, of one row."""
        text, embedding = self.read_text(request.prompt), self._embedding(request)
        if embedding is None:
            return Given(text, torch.zeros(1, self.model.shape.embedding), *self._source(request))
        return Given(torch.zeros_like(text), embedding, *self._source(request))

    def _embedding(self, request: Request) -> Tensor | None:
        """What takes the place of the prompt, if anything does."""
        return None

    def _source(self, request: Request) -> tuple[Tensor | None, Tensor | None]:
        """The standard latents of the picture to start from, and where they may be changed."""
        if request.source is None:
            return None, None
        side = self.codec.size[1]
        latents = self.codec.encode_latents(to_tensor(square(request.source, side))[None])
        source = standard(latents, self.model.shape)
        if request.mask is None:
            return source, None
        changed = to_tensor(square(request.mask, side))[None, :1]
        return source, (F.adaptive_max_pool2d(changed, source.shape[2:]) > 0.5).float()


@dataclass(frozen=True, kw_only=True)
class EmbeddingFlow(FlowGenerator):
    """One that was trained to draw from embeddings of pictures too."""

    embedder: Embedder
    space: str

    @property
    def abilities(self) -> Abilities:
        known = super().abilities
        return replace(known, conditions=known.conditions | {"like", "embedding"})

    def _embedding(self, request: Request) -> Tensor | None:
        if request.embedding is not None:
            return request.embedding[None].float().cpu()
        return self.embedder.embed_images([request.like]).cpu() if request.like is not None else None


def kind(item: tuple[Request, Given]) -> Hashable:
    """The same for what can be drawn in one batch."""
    request, given = item
    return request.own_settings, given.source is None, given.mask is None


def together(readings: Sequence[Given]) -> Given:
    def rows(name: str) -> Tensor | None:
        values = [getattr(each, name) for each in readings]
        return None if values[0] is None else torch.cat(values)

    text, embedding = rows("text"), rows("embedding")
    assert text is not None and embedding is not None
    return Given(text, embedding, rows("source"), rows("mask"))


def read_text(text: str, shape: FlowShape, tokenizer: Tokenizer, embedder: Embedder | None) -> Tensor:
    """Ids, 0 being padding, or encodings, of one text."""
    if shape.encodings:
        return encode(embedder, [text], shape.text_length)
    ids = tokenizer.encode([text], shape.text_length)
    return ids.masked_fill(ids == tokenizer.padding, 0)


def encode(embedder: Embedder | None, texts: Sequence[str], length: int) -> Tensor:
    """What the embedder makes of each token, (b, length, its width), zeros where there is none."""
    if not isinstance(embedder, TokenEmbedder):
        raise T2IError(
            f"{type(embedder).__name__} gives no encodings of a text's tokens" if embedder else "there is no embedder",
            "choose an embedder that does, such as -o embedder=clip, or train with -o text=tokens",
        )
    encodings = embedder.embed_tokens(texts)[:, :length].float().cpu()
    return F.pad(encodings, (0, 0, 0, length - encodings.shape[1]))


def check_fit(
    shape: FlowShape, codec: LatentCodec, tokenizer: Tokenizer, embedder: Embedder | None, name: str, hint: str
) -> None:
    """The parts must be of the sizes the network was trained for."""
    if tuple(codec.latent_shape) != tuple(shape.latents):
        raise T2IError(
            f"model {name!r} draws latents of {shape.latents}, but {type(codec).__name__} has {codec.latent_shape}",
            "omit the codec to use the model's own",
        )
    if shape.vocabulary and tokenizer.vocabulary != shape.vocabulary:
        raise T2IError(
            f"model {name!r} reads {shape.vocabulary} different ids, but its tokenizer gives {tokenizer.vocabulary}",
            "choose the one it was trained with: -o tokenizer=NAME",
        )
    if shape.embedding and embedder is not None and embedder.width != shape.embedding:
        raise T2IError(
            f"model {name!r} expects embeddings of width {shape.embedding}, but "
            f"{type(embedder).__name__} has width {embedder.width}",
            hint,
        )


def load(settings: Settings) -> FlowGenerator:
    shape = msgspec.convert(settings.model.card.config, FlowShape)
    codec, tokenizer = parts.load_latent_codec(settings.codec), settings.tokenizer.load()
    embedder = None if settings.embedder.is_none else settings.embedder.load()
    hint = parts.embedder_hint(settings.model, settings.embedder)
    check_fit(shape, codec, tokenizer, embedder, settings.model.name, hint)
    network = weights.load(weights.unfilled(Flow, shape), settings.model)
    precision = devices.place(network, settings.precision, settings.device)
    made: dict[str, Any] = {
        "model": network,
        "codec": codec,
        "read_text": partial(read_text, shape=shape, tokenizer=tokenizer, embedder=embedder),
        "sampling": FlowSampling(settings.steps, settings.cfg_scale, settings.strength, settings.shift),
        "batch": settings.batch,
        "precision": precision,
    }
    if embedder is None or not shape.embedding:
        return FlowGenerator(**made)
    space = parts.space(settings.embedder.name, settings.embedder.settings)
    return EmbeddingFlow(embedder=embedder, space=space, **made)
