"""BriVL as an embedder: whole pictures, or pictures with boxes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial

import msgspec
import torch
from PIL.Image import Image
from torch import Tensor

from t2i_brivl import Settings
from t2i_brivl.inputs import HashedNgrams, WordPieces, pixels, scaled_boxes
from t2i_brivl.model import Brivl
from t2i_brivl.shape import BrivlShape
from t2icli.contract.kinds import Box
from t2icli.nn import weights
from t2icli.nn.devices import pick_device
from t2icli.nn.embedding import Runner, finite, report_prompt
from t2icli.store.models import Model

VOCABULARY = "vocab.txt"
CLIP_SORT_SIZE = 456


class BrivlEmbedder:
    """Pictures and sentences in BriVL's space."""

    def __init__(self, model: Brivl, texts: Callable[[Sequence[str]], Tensor], settings: Settings) -> None:
        clip_sort = settings.preprocess == "clip_sort"
        device = pick_device(settings.device)
        self.model = model.to(device)
        self.texts, self.width = texts, model.shape.width
        self.normalise = not clip_sort
        self.most_boxes = 1 if clip_sort else model.shape.boxes
        self.size = settings.image_size or (CLIP_SORT_SIZE if clip_sort else model.shape.image_size)
        model.image.size = self.size
        self.run = Runner(f"model {settings.model.name!r}", self.width, settings.batch, device, settings.precision)

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        return self.run(self.texts(texts).unbind(), lambda ids: (ids,), self.model.text)

    def embed_tokens(self, texts: Sequence[str]) -> Tensor:
        """What the text tower averages: BERT's tokens, or the n-grams, single characters and words first."""
        ids = self.texts(texts)
        shape = self.model.shape
        width = (shape.bert if shape.text == "bert" else shape.ngrams).width
        run = dataclasses.replace(self.run, width=ids.shape[1] * width)

        def tower(ids: Tensor) -> Tensor:
            return self.model.text.tokens(ids).flatten(1)

        return run(ids.unbind(), lambda one: (one,), tower, finish=finite).view(len(ids), ids.shape[1], width)

    def embed_images(self, images: Sequence[Image]) -> Tensor:
        return self.embed_boxes(images, [()] * len(images))

    def embed_boxes(self, images: Sequence[Image], boxes: Sequence[Sequence[Box]]) -> Tensor:
        """The whole picture is always added to its boxes."""
        pairs = list(zip(images, boxes, strict=True))
        # Pictures with as many places go together: how many there are must not depend on the company.
        places = [min(self.most_boxes, 1 + len(own)) for _, own in pairs]
        vectors = torch.empty(len(pairs), self.width)
        for most in set(places):
            rows = [i for i, count in enumerate(places) if count == most]
            prepare = partial(self._prepare, most=most)
            vectors[rows] = self.run([pairs[i] for i in rows], prepare, self.model.image)
        return vectors

    def _prepare(self, pair: tuple[Image, Sequence[Box]], most: int) -> tuple[Tensor, ...]:
        image, boxes = pair
        ready, n = scaled_boxes(boxes, image.size, self.size, most)
        return pixels(image, self.size, normalise=self.normalise), ready, torch.tensor(n)


def load(settings: Settings) -> BrivlEmbedder:
    shape = msgspec.convert(settings.model.card.config, BrivlShape)
    model = weights.load(weights.unfilled(Brivl, shape), settings.model)
    return BrivlEmbedder(model, text_reader(shape, settings.model), settings)


def text_reader(shape: BrivlShape, model: Model) -> Callable[[Sequence[str]], Tensor]:
    if shape.text == "ngrams":
        return HashedNgrams(shape.ngrams, report_prompt)
    return WordPieces(model.file(VOCABULARY), shape.bert.length, report_prompt)
