"""How a flow learns: the velocity between noise and the latents of a picture, at a random point on the way."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import torch
from PIL.Image import Image
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from t2i_flow.draw import FlowSampling, Given, draw, shifted
from t2i_flow.generate import check_fit, encode
from t2i_flow.model import Flow, FlowShape
from t2icli.contract.recipes import Figures, Frozen, Samples, Turn
from t2icli.data.dataset import PreparedDataset
from t2icli.ground.errors import T2IError
from t2icli.nn import weights
from t2icli.nn.latents import measured, standard
from t2icli.nn.pixels import FullSize, Squares, from_full_size, side, to_images
from t2icli.registry import parts
from t2icli.registry.settings import chosen_in
from t2icli.store import models
from t2icli.store.models import Card
from t2icli.training.captions import Captions, Ids

if TYPE_CHECKING:
    from t2i_flow import RecipeSettings

Batch = Mapping[str, Tensor]
OF_NETWORK = ("text_length", "width", "layers", "heads", "patch")
"""Settings that a flow to continue from has already."""


class FlowRecipe:
    without_caption = "learnt without words"

    def __init__(self, settings: RecipeSettings) -> None:
        self.settings = settings
        self.codec, self.tokenizer = parts.load_latent_codec(settings.codec), settings.tokenizer.load()
        self.embedder = None if settings.embedder.is_none else settings.embedder.load()
        self.shape = self._fresh()
        if settings.start is not None:
            shape = msgspec.convert(settings.start.card.config, FlowShape)
            weights.check_start(settings.start, shape, self.shape, sorted({*OF_NETWORK} & chosen_in(settings)))
            self.shape = shape
            hint = "omit the embedder to use the model's own"
            check_fit(shape, self.codec, self.tokenizer, self.embedder, settings.start.name, hint)
        self.model = weights.go_on(Flow(self.shape), settings.start)

    def _fresh(self) -> FlowShape:
        s, reads_ids = self.settings, self.settings.text == "tokens"
        channels, rows, columns = self.codec.latent_shape
        if s.width % s.heads:
            raise T2IError(f"{s.heads} heads do not divide a width of {s.width}", "set -o heads=...")
        if rows % s.patch or columns % s.patch:
            raise T2IError(f"patches of {s.patch} do not divide {rows} x {columns} latents", "set -o patch=1")
        return FlowShape(
            latents=(channels, rows, columns),
            vocabulary=self.tokenizer.vocabulary if reads_ids else 0,
            encodings=0 if reads_ids else encode(self.embedder, ["a"], s.text_length).shape[-1],
            embedding=self.embedder.width if self.embedder is not None and s.like_share else 0,
            **{name: getattr(s, name) for name in OF_NETWORK},
        )

    def frozen(self) -> Sequence[Frozen]:
        s, size, length = self.settings, side(self.codec.size), self.shape.text_length
        codec, embedder = parts.identity(s.codec), parts.identity(s.embedder)
        frozen = [Frozen("latents", f"{codec} middle {size}", partial(Squares, size=size), self.encode_images)]
        if self.shape.embedding:
            frozen.append(Frozen("images", embedder, FullSize, self.embed_images))
        if self.shape.encodings:
            frozen.append(
                Frozen(
                    "encodings",
                    f"{embedder} {length} tokens",
                    partial(Captions, hint="train with -o text=tokens"),
                    self.encode_texts,
                )
            )
        return frozen

    def encode_images(self, images: Tensor) -> Tensor:
        return self.codec.encode_latents(images).half()

    def embed_images(self, batch: tuple[list[bytes], Tensor, Tensor]) -> Tensor:
        assert self.embedder is not None
        return self.embedder.embed_images(from_full_size(batch))

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        return encode(self.embedder, texts, self.shape.text_length).half()

    def dataset(self, data: PreparedDataset, split: str, encoded: Mapping[str, Tensor]) -> Samples[Any]:
        if split == "train" and not self.shape.mean:
            self.model.shape = self.shape = msgspec.structs.replace(self.shape, **measured(encoded["latents"]))
        share = self.settings.like_share if self.shape.embedding and split == "train" else 0.0
        ids = Ids(self.tokenizer, self.shape.text_length)
        return LatentTextPairs(data, encoded, ids, at_random=split == "train", like_share=share)

    def turns(self) -> Sequence[Turn]:
        matrices = [f"{layer}.weight" for layer in ("qkv", "out", "up", "down")]
        hidden = [block.get_parameter(matrix) for block in self.model.blocks for matrix in matrices]
        return [Turn("flow", weights.groups(self.model.parameters(), hidden), self.loss)]

    def loss(self, batch: Batch, step: int) -> tuple[Tensor, Figures]:
        clean, (text, embedding) = standard(batch["latents"], self.shape), conditions(batch)
        if self.model.training and self.settings.dropped:
            with_text = torch.rand(len(clean), device=clean.device) >= self.settings.dropped
            text, embedding = (only(each, with_text) for each in (text, embedding))
        noise = torch.randn_like(clean)
        time = shifted(torch.randn(len(clean), device=clean.device).sigmoid(), self.settings.shift)
        noisy = torch.lerp(noise, clean, time[:, None, None, None])
        return F.mse_loss(self.model(noisy, time, text, embedding).float(), clean - noise), {}

    def preview(self, batch: Batch, *, seed: int) -> Sequence[Image]:
        """What is drawn for the texts, and below it what the codec makes of the real latents."""
        text, embedding = (each.cpu() for each in conditions(batch))
        seeds = range(seed, seed + len(text))
        s = self.settings
        sampling = FlowSampling(s.steps, s.cfg_scale, shift=s.shift)
        drawn = draw(self.model, seeds, Given(text, embedding), sampling)
        return to_images(self.codec.decode_latents(torch.cat([drawn, batch["latents"].float().cpu()])))

    def save(self, folder: Path) -> None:
        weights.save(self.model, folder)
        s = self.settings
        own = parts.keep(s.codec, folder, "codec") | parts.keep(s.tokenizer, folder, "tokenizer")
        if self.embedder is not None:
            own |= parts.keep(s.embedder, folder, "embedder")
        own |= {"steps": s.steps, "cfg_scale": s.cfg_scale, "shift": s.shift}
        channels, rows, columns = self.shape.latents
        about = f"{self.shape.layers} layers of {self.shape.width}, {rows} x {columns} latents of {channels}"
        config = msgspec.to_builtins(self.shape)
        models.seal(folder, Card(kind="generator", backend="flow", about=about, config=config, settings=own))


def conditions(batch: Batch) -> tuple[Tensor, Tensor]:
    text = batch["text"]
    return text.float() if text.is_floating_point() else text, batch["embedding"].float()


def only(rows: Tensor, mask: Tensor) -> Tensor:
    """Rows of `rows` where `kept` (b,), zeros elsewhere."""
    return rows * mask.to(rows.dtype).reshape(-1, *(1,) * (rows.ndim - 1))


class LatentTextPairs(Dataset[dict[str, Tensor]]):
    """The latents of a picture with one of its captions, or with its embedding instead."""

    def __init__(
        self, data: PreparedDataset, encoded: Mapping[str, Tensor], ids: Ids, *, at_random: bool, like_share: float
    ) -> None:
        self.data, self.latents, self.ids = data, encoded["latents"], ids
        self.images, self.encodings = encoded.get("images"), encoded.get("encodings")
        self.at_random, self.like_share = at_random, like_share
        self.first = [0, *accumulate(len(data.captions(i)) for i in range(len(data)))]

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        text, embedding = self.text(i), torch.zeros(0)
        if self.images is not None:
            is_like = random.random() < self.like_share
            embedding = self.images[i].float() * is_like
            text = text * (not is_like)
        return {"latents": self.latents[i], "text": text, "embedding": embedding}

    def text(self, i: int) -> Tensor:
        captions = self.data.captions(i)
        chosen = random.randrange(len(captions)) if self.at_random and captions else 0
        if self.encodings is None:
            return self.ids(captions[chosen] if captions else "")
        if not captions:
            return torch.zeros_like(self.encodings[0])
        return self.encodings[self.first[i] + chosen]
