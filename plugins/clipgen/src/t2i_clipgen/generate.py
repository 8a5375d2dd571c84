"""CLIP-GEN as a generator: a text's or an image's embedding -> codes -> pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
import torch
from PIL.Image import Image

from t2i_clipgen.model import Prior, PriorShape
from t2icli.contract.kinds import Codec, Embedder
from t2icli.contract.requests import Abilities, Readings, Request, numbered
from t2icli.ground.batches import batched
from t2icli.ground.errors import T2IError
from t2icli.ground.watch import Watch, unwatched
from t2icli.nn import decode, devices, weights
from t2icli.nn.pixels import to_images
from t2icli.registry import parts

if TYPE_CHECKING:
    from t2i_clipgen import Settings


class ClipGen:
    """Trained on images alone: to generate, embeddings of texts replace those of images, in the same space."""

    def __init__(
        self,
        prior: Prior,
        embedder: Embedder,
        codec: Codec,
        sampling: decode.Sampling,
        batch: int,
        precision: str = "fp32",
        space: str = "",
    ) -> None:
        self.model, self.embedder, self.codec, self.space = prior, embedder, codec, space
        self.sampling, self.batch, self.precision = sampling, batch, precision
        height, width = codec.size
        self.abilities = Abilities(frozenset({"like", "embedding"}), ((width, height),))

    def generate(self, prompt: str, n: int, *, seed: int) -> Iterator[Image]:
        return self.draw(numbered(Request(prompt, seed), n))

    def draw(self, requests: Iterable[Request], watch: Watch = unwatched) -> Iterator[Image]:
        codes = decode.sample_rows(self.model, self._rows(requests), batch=self.batch, watch=watch)
        for some in batched(codes, self.batch):
            yield from to_images(self.codec.decode(torch.stack(some)))

    def _rows(self, requests: Iterable[Request]) -> Iterator[decode.Row]:
        conditions = Readings(self._condition)
        null = decode.Condition(torch.zeros(1, self.model.shape.condition), self.model.shape.length)
        for block in batched(requests, self.batch):
            for request, condition in zip(block, conditions(block), strict=True):
                yield decode.Row(condition, request.seed, replace(self.sampling, **request.settings), null)

    def _condition(self, request: Request) -> decode.Condition:
        """The embedding (1, condition) given, else the picture's, else the prompt's."""
        if request.embedding is not None:
            return decode.Condition(request.embedding[None], self.model.shape.length)
        embed = self.embedder
        embedding = embed.embed_images([request.like]) if request.like else embed.embed_texts([request.prompt])
        return decode.Condition(embedding, self.model.shape.length)


def check_fit(shape: PriorShape, embedder: Embedder, codec: Codec, name: str, embedder_hint: str) -> None:
    """The parts must be of the sizes the prior was trained for."""
    if embedder.width != shape.condition:
        raise T2IError(
            f"model {name!r} expects embeddings of width {shape.condition}, but "
            f"{type(embedder).__name__} has width {embedder.width}",
            embedder_hint,
        )
    rows, columns = codec.grid
    if codec.codes != shape.codes or rows * columns != shape.length:
        raise T2IError(
            f"model {name!r} draws {shape.length} of {shape.codes} codes, "
            f"but {type(codec).__name__} has {rows} x {columns} of {codec.codes}",
            "omit the codec to use the model's own",
        )


def load(settings: Settings) -> ClipGen:
    prior = weights.load(
        weights.unfilled(Prior, msgspec.convert(settings.model.card.config, PriorShape)), settings.model
    )
    precision = devices.place(prior, settings.precision, settings.device)
    sampling = decode.Sampling(settings.temperature, settings.top_k, settings.top_p, settings.cfg_scale)
    embedder, codec = settings.embedder.load(), parts.load_codec(settings.codec)
    hint = parts.embedder_hint(settings.model, settings.embedder)
    check_fit(prior.shape, embedder, codec, settings.model.name, hint)
    space = parts.space(settings.embedder.name, settings.embedder.settings)
    return ClipGen(prior, embedder, codec, sampling, settings.batch, precision, space)
