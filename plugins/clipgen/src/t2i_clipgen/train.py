"""CLIP-GEN's prior as a recipe: from the embeddings and codes of images, computed once."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import torch
from PIL.Image import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from t2i_clipgen.convert import card
from t2i_clipgen.generate import check_fit
from t2i_clipgen.model import Prior, PriorShape, mean_loss
from t2icli.contract.kinds import Codec, Embedder
from t2icli.contract.recipes import Figures, Frozen, ParamGroup, Samples, Turn
from t2icli.data.dataset import PreparedDataset
from t2icli.ground.errors import T2IError
from t2icli.nn import decode, weights
from t2icli.nn.pixels import Squares, side, to_images
from t2icli.registry import parts
from t2icli.registry.settings import chosen_in
from t2icli.store import models
from t2icli.training.captions import Captions

if TYPE_CHECKING:
    from t2i_clipgen import RecipeSettings

Batch = Mapping[str, Tensor]
PREVIEW = decode.Sampling(top_k=500, top_p=0.95)


class PriorRecipe:
    def __init__(self, settings: RecipeSettings) -> None:
        self.settings = settings
        rows, columns = self.codec.grid
        fresh = PriorShape(
            codes=self.codec.codes,
            length=rows * columns,
            condition=self.embedder.width,
            width=settings.width,
            layers=settings.layers,
            heads=settings.heads,
            whitened=settings.whiten,
        )
        if settings.width % settings.heads:
            raise T2IError(f"{settings.heads} heads do not divide a width of {settings.width}", "set -o heads=...")
        start = settings.start
        self.shape = msgspec.convert(start.card.config, PriorShape) if start is not None else fresh
        if start is not None:
            chosen = sorted({"width", "layers", "heads"} & chosen_in(settings))
            weights.check_start(start, self.shape, fresh, chosen)
        if start is not None:
            hint = parts.embedder_hint(start, settings.embedder)
            check_fit(self.shape, self.embedder, self.codec, start.name, hint)
        self.model = weights.go_on(Prior(self.shape, settings.dropout), start)
        self.is_unmeasured = settings.whiten and not (start is not None and self.shape.whitened)
        """Whether whitening still has to learn how embeddings are spread."""
        if self.is_unmeasured and start is not None:
            self.shape = self.model.whiten()

    @cached_property
    def codec(self) -> Codec:
        return parts.load_codec(self.settings.codec)

    @cached_property
    def embedder(self) -> Embedder:
        return self.settings.embedder.load()

    def frozen(self) -> Sequence[Frozen]:
        # Both parts draw the same random crops: the loop seeds each sample before it is read.
        size, views = side(self.codec.size), self.settings.views
        # One view is the middle, by the same name as DALL-E's: the codes of a codec are computed once for both.
        crops = f"middle {size}" if views == 1 else f"{size} pixels, {views} views"
        codec, embedder = parts.identity(self.settings.codec), parts.identity(self.settings.embedder)

        def samples(data: PreparedDataset) -> Samples[Tensor]:
            return Squares(data, size, at_random=views > 1)

        frozen = [
            Frozen("codes", f"{codec} {crops}", samples, lambda images: self.codec.encode(images).int(), views),
            Frozen("embeddings", f"{embedder} {crops}", samples, self.embed, views),
        ]
        if self.settings.text_share:
            frozen.append(
                Frozen("texts", embedder, partial(Captions, hint="leave text_share at 0"), self.embedder.embed_texts)
            )
        return frozen

    def embed(self, images: Tensor) -> Tensor:
        return self.embedder.embed_images(to_images(images))

    def dataset(self, data: PreparedDataset, split: str, encoded: Mapping[str, Tensor]) -> Samples[dict[str, Tensor]]:
        if split == "train" and self.is_unmeasured:
            assert self.model.whitening is not None
            known = self.settings.start is not None
            given = [encoded[name].flatten(0, -2) for name in ("embeddings", "texts") if name in encoded]
            self.model.whitening.measure(given, self.model.cond_proj if known else None)
            self.is_unmeasured = False
        captions = [len(data.captions(i)) for i in range(len(data))] if "texts" in encoded else None
        noise, share = (self.settings.noise, self.settings.text_share) if split == "train" else (0.0, 0.0)
        return Conditions(encoded, captions, noise, share, self.settings.views if split == "train" else 1)

    def turns(self) -> Sequence[Turn]:
        linear = [m.get_parameter("weight") for m in self.model.modules() if isinstance(m, nn.Linear)]
        others = weights.besides(self.model.parameters(), linear)
        ends = weights.besides(linear, self.model.decoder.parameters())
        hidden = weights.besides(linear, ends)
        groups = [ParamGroup(hidden, hidden=True), ParamGroup(ends), ParamGroup(others, weight_decay=0.0)]
        return [Turn("prior", groups, self.loss)]

    def loss(self, batch: Batch, step: int) -> tuple[Tensor, Figures]:
        codes, embedding = batch["codes"].long(), batch["embedding"]
        if self.model.training and self.settings.null_condition:
            left_out = torch.rand(len(embedding), 1, device=embedding.device) < self.settings.null_condition
            embedding = embedding.masked_fill(left_out, 0)
        logits = self.model(embedding, codes[:, :-1])
        return mean_loss(logits, codes), {}

    def preview(self, batch: Batch, *, seed: int) -> Sequence[Image]:
        """Pictures for the held-out images' embeddings."""
        embedding = batch["embedding"]
        n = len(embedding)
        seeds = range(seed, seed + n)
        codes = decode.sample(
            self.model, embedding, seeds, self.shape.length, PREVIEW, prompts=n, owners=range(n), batch=n
        )
        return to_images(self.codec.decode(torch.stack(list(codes)).cpu()))

    def save(self, folder: Path) -> None:
        weights.save(self.model, folder)
        own = parts.keep(self.settings.codec, folder, "codec") | parts.keep(self.settings.embedder, folder, "embedder")
        models.seal(folder, card(self.shape, "CLIP-GEN's prior, trained here", settings=own))


class Conditions(Dataset[dict[str, Tensor]]):
    """An embedding and the codes it should lead to."""

    def __init__(
        self, encoded: Mapping[str, Tensor], captions: Sequence[int] | None, noise: float, share: float, views: int
    ) -> None:
        self.codes, self.embeddings, self.texts = encoded["codes"], encoded["embeddings"], encoded.get("texts")
        self.captions = captions or []
        self.first = [0, *accumulate(self.captions)]
        self.noise, self.share, self.views = noise, share, views

    def __len__(self) -> int:
        return self.codes.shape[-2]

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        view = random.randrange(self.views)
        codes, embedding = ((x[view, i] if x.ndim == 3 else x[i]) for x in (self.codes, self.embeddings))
        if self.texts is not None and self.captions[i] and random.random() < self.share:
            embedding = self.texts[self.first[i] + random.randrange(self.captions[i])]
        return {"embedding": noisy(embedding, self.noise), "codes": codes}


def noisy(embedding: Tensor, length: float) -> Tensor:
    """A unit vector moved by `length` in a random direction, and back to unit length."""
    if length == 0:
        return embedding
    direction = torch.randn_like(embedding) / math.sqrt(embedding.shape[-1])
    return F.normalize(embedding + length * direction, dim=-1)
