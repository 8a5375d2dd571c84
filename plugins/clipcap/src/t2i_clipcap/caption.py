"""ClipCap as a captioner: images -> embeddings -> captions."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
import torch.nn.functional as F
from PIL.Image import Image
from torch import Tensor

from t2i_clipcap.model import ClipCap, ClipCapShape, MapperName
from t2i_clipcap.words import FILE, Words, open_words
from t2icli.contract.kinds import Embedder, FeatureEmbedder, PatchEmbedder
from t2icli.ground.errors import T2IError
from t2icli.nn import beam, decode, devices, weights
from t2icli.registry import parts

if TYPE_CHECKING:
    from t2i_clipcap import Settings


APART = 0x9E3779B1
"""Between the seeds of an image's captions, far from its neighbours' seeds: torch looks at 32 bits of a seed alone."""


class Config(msgspec.Struct, frozen=True):
    """The config in a model's card."""

    shape: ClipCapShape
    unit: bool = True
    """The embedding is of length 1; the originals were mostly trained on CLIP's features as they come."""
    stop: int | None = None
    """The id that ends a caption and belongs to it, such as a full stop; None is the tokenizer's own end."""


class ClipCapCaptioner:
    def __init__(
        self,
        model: ClipCap,
        words: Words,
        embedder: Embedder,
        config: Config,
        settings: Settings,
        precision: str = "fp32",
    ) -> None:
        self.model, self.words, self.embedder, self.config = model, words, embedder, config
        self.settings, self.precision = settings, precision
        self.stop = words.stop if config.stop is None else config.stop
        self.sampling = decode.Sampling(
            settings.temperature, settings.top_k, settings.top_p, forbidden=words.forbidden, stop=self.stop
        )

    def caption(self, images: Sequence[Image], n: int, *, seed: int) -> list[list[str]]:
        captions: list[list[str]] = []
        many = n * self.settings.candidates
        for start in range(0, len(images), self.settings.batch):
            batch = images[start : start + self.settings.batch]
            some = conditions(self.embedder, batch, self.config.shape.mapper.name, unit=self.config.unit)
            ids = self.searched(some, many) if self.settings.beams else self.drawn(some, many, seed + start)
            texts = [[self.text(one) for one in of_image] for of_image in ids]
            if many > n:
                seen = some if some.ndim == 2 else self.embedder.embed_images(batch)
                texts = [self.fittest(*each, n) for each in zip(seen, texts, strict=True)]
            captions += texts
        return captions

    def fittest(self, embedding: Tensor, captions: Sequence[str], n: int) -> list[str]:
        """The n captions nearest to their image, best first; duplicates only where there are too few others."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of a candidate that is too long nobody wants to read
            nearness = self.embedder.embed_texts(captions) @ F.normalize(embedding, dim=-1)
        ranked = [captions[at] for at in nearness.argsort(descending=True, stable=True).tolist()]
        different = list(dict.fromkeys(ranked))
        return (different + ranked)[:n]

    def drawn(self, embedding: Tensor, n: int, seed: int) -> list[list[list[int]]]:
        """Caption j of image i has random numbers of its own, from `seed + i` and j."""
        images = len(embedding)
        owners = [image for image in range(images) for _ in range(n)]
        rows = decode.sample(
            self.model,
            embedding,
            [seed + i + j * APART for i in range(images) for j in range(n)],
            self.settings.max_tokens,
            self.sampling,
            prompts=images,
            owners=owners,
            batch=max(32, self.settings.batch),
        )
        ids = [row.tolist() for row in rows]
        return [ids[image * n : image * n + n] for image in range(images)]

    def searched(self, embedding: Tensor, n: int) -> list[list[list[int]]]:
        if n > self.settings.beams:
            raise T2IError(f"{self.settings.beams} beams cannot give {n} captions", f"set -o beams={n} or more")
        likeliest, _ = beam.search(
            self.model,
            embedding,
            self.settings.max_tokens,
            self.settings.beams,
            stop=self.stop,
            forbidden=self.words.forbidden,
        )
        return likeliest[:, :n].tolist()

    def text(self, ids: list[int]) -> str:
        """The caption before its end; a full stop that ends it stays."""
        end = ids.index(self.stop) + (self.config.stop is not None) if self.stop in ids else len(ids)
        return self.words.decode(ids[:end])


def conditions(embedder: Embedder, images: Sequence[Image], mapper: MapperName, *, unit: bool) -> Tensor:
    """What the mapper reads: embeddings (b, width), of length 1 or not, or patches (b, n, width)."""
    if mapper == "patches":
        return with_patches(embedder).embed_patches(images)
    if unit:
        return embedder.embed_images(images)
    if not isinstance(embedder, FeatureEmbedder):
        raise T2IError(
            f"the model was trained on unnormalised image features, but {type(embedder).__name__} gives unit vectors",
            "omit the embedder to use the model's own",
        )
    return embedder.image_features(images)


def with_patches(embedder: Embedder) -> PatchEmbedder:
    if not isinstance(embedder, PatchEmbedder):
        raise T2IError(
            f"the mapper 'patches' needs features of each patch, but {type(embedder).__name__} gives none",
            "use the embedder clip or chinese-clip, or another mapper",
        )
    return embedder


def load(settings: Settings) -> ClipCapCaptioner:
    config = msgspec.convert(settings.model.card.config, Config)
    model = weights.load(weights.unfilled(ClipCap, config.shape), settings.model)
    precision = devices.place(model, settings.precision, settings.device)
    embedder = settings.embedder.load()
    check_width(config.shape, embedder, settings)
    return ClipCapCaptioner(model, open_words(settings.model.file(FILE)), embedder, config, settings, precision)


def check_width(shape: ClipCapShape, embedder: Embedder, settings: Settings) -> None:
    mapper = shape.mapper
    hint = parts.embedder_hint(settings.model, settings.embedder)
    if mapper.name == "patches":
        wanted, given = (mapper.prefix, mapper.condition), with_patches(embedder).patches
        if wanted != given:
            raise T2IError(
                f"model {settings.model.name!r} expects {wanted[0]} patches of width {wanted[1]}, but "
                f"{type(embedder).__name__} gives {given[0]} of width {given[1]}",
                hint,
            )
    elif embedder.width != mapper.condition:
        raise T2IError(
            f"model {settings.model.name!r} expects embeddings of width "
            f"{mapper.condition}, but {type(embedder).__name__} has width {embedder.width}",
            hint,
        )
