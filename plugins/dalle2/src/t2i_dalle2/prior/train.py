"""The prior as a recipe: from embeddings and text encodings, computed once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL.Image import Image
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from t2i_dalle2 import folders
from t2i_dalle2.decoder.draw import draw, images
from t2i_dalle2.decoder.model import Decoder
from t2i_dalle2.diffusion import NoiseSchedule, way_back
from t2i_dalle2.generate import open_decoder, prior_steps
from t2i_dalle2.layers import matrices
from t2i_dalle2.prior.draw import imagine
from t2i_dalle2.prior.inputs import padded, tokens
from t2i_dalle2.prior.model import Prior
from t2i_dalle2.shapes import PriorShape
from t2icli.contract.kinds import Embedder, LatentCodec
from t2icli.contract.recipes import Figures, Frozen, Samples, Turn
from t2icli.data.dataset import PreparedDataset
from t2icli.nn import weights
from t2icli.nn.pixels import FullSize, from_full_size
from t2icli.registry import parts
from t2icli.registry.open import load
from t2icli.training.captions import Captions

if TYPE_CHECKING:
    from t2i_dalle2 import PriorRecipeSettings

Batch = Mapping[str, Tensor]
PREVIEW_STEPS = 25


class PriorRecipe:
    without_caption = "skipped"

    def __init__(self, settings: PriorRecipeSettings) -> None:
        self.settings = settings
        self.embedder: Embedder = settings.embedder.load()
        encodings = tokens(self.embedder, ["a"], 1).shape[-1] if settings.encodings else 0
        self.shape = PriorShape(
            width=self.embedder.width,
            encodings=encodings,
            text_length=settings.text_length if encodings else 0,
            layers=settings.layers,
            heads=settings.heads,
            head_width=settings.head_width,
            timesteps=settings.timesteps,
            predicts=settings.predicts,
            clamp=settings.clamp,
            dropped=settings.dropped,
        )
        self.schedule = NoiseSchedule(self.shape.betas, self.shape.timesteps)
        self.space = folders.space_of_part(settings.embedder, self.embedder.width)
        if settings.decoder is not None:
            folders.check_same(self.space, folders.space_of(folders.find_decoder(settings.decoder)))
        self.model = Prior(self.shape)

    def frozen(self) -> Sequence[Frozen]:
        identity, length = parts.identity(self.settings.embedder), self.shape.text_length
        captions = partial(Captions, hint="a prior trains on images with captions")
        frozen = [
            Frozen("images", identity, FullSize, lambda batch: self.embedder.embed_images(from_full_size(batch))),
            Frozen("texts", identity, captions, self.embedder.embed_texts),
        ]
        if self.shape.encodings:
            frozen.append(Frozen("encodings", f"{identity} {length} tokens", captions, self.encode))
        return frozen

    def encode(self, texts: Sequence[str]) -> Tensor:
        """In half precision, for there are many: 77 of 512 numbers are 79 kB a caption."""
        return tokens(self.embedder, texts, self.shape.text_length).half()

    def dataset(self, data: PreparedDataset, split: str, encoded: Mapping[str, Tensor]) -> Samples[dict[str, Tensor]]:
        return EmbeddingPairs(encoded, [len(data.captions(i)) for i in range(len(data))])

    def turns(self) -> Sequence[Turn]:
        self.schedule.to(next(self.model.parameters()).device)
        hidden = matrices([self.model.layers])
        return [Turn("prior", weights.groups(self.model.parameters(), hidden), self.loss)]

    def loss(self, batch: Batch, step: int) -> tuple[Tensor, Figures]:
        image, text = batch["image"].float(), batch["text"].float()
        encodings = batch["encodings"].float() if self.shape.encodings else None
        clean = image * self.shape.length
        times = torch.randint(self.shape.timesteps, (len(clean),), device=clean.device)
        noise, dropped = torch.randn_like(clean), self.shape.dropped if self.model.training else 0.0
        keep_text, keep_image = (torch.rand(len(clean), device=clean.device) >= dropped for _ in range(2))
        noisy = self.schedule.noised(clean, times, noise)
        output = self.model(noisy, times, text, encodings, keep_text, keep_image).float()
        loss = F.mse_loss(output, self.schedule.target(clean, times, noise, self.shape.predicts))
        clean_estimate = self.schedule.clean(noisy, times, output.detach(), self.shape.predicts)
        return loss, {"cosine": F.cosine_similarity(clean_estimate, clean).mean()}

    def preview(self, batch: Batch, *, seed: int) -> Sequence[Image]:
        """Pictures for held-out captions, where there is a decoder to draw them."""
        if self.decoder is None:
            return ()
        decoder, way = self.decoder.to(batch["text"].device), prior_steps(self.model, None)
        shape = decoder.shape
        ways = [
            way_back(NoiseSchedule(unet.betas, shape.timesteps), min(PREVIEW_STEPS, shape.timesteps), "auto")
            for unet in shape.unets
        ]
        drawn = []
        for i, text in enumerate(batch["text"]):
            encodings = batch["encodings"][i : i + 1].float() if self.shape.encodings else None
            more: dict[str, Any] = {"scale": 1.0, "precision": "fp32"}
            embedding = imagine(self.model, text[None].float(), encodings, [seed + i], way, candidates=2, **more)
            if shape.text:
                more["text"] = padded(
                    text.new_zeros(1, 0, shape.text) if encodings is None else encodings, shape.text_length
                )
            drawn += images(draw(decoder, embedding, [seed + i], ways, **more), self.codec)
        return drawn

    @cached_property
    def codec(self) -> LatentCodec | None:
        """The decoder's, if it draws latents."""
        model = folders.find_decoder(str(self.settings.decoder))
        return load("codec", str(model.part("codec").folder)) if "codec" in model.card.parts else None

    @cached_property
    def decoder(self) -> Decoder | None:
        if self.settings.decoder is None:
            return None
        return open_decoder(folders.find_decoder(self.settings.decoder))

    def save(self, folder: Path) -> None:
        weights.save(self.model, folder)
        own = parts.keep(self.settings.embedder, folder, "embedder")
        folders.seal_prior(
            folder, self.shape, self.space.embedder, about="DALL-E 2's prior, trained here", settings=own
        )


class EmbeddingPairs(Dataset[dict[str, Tensor]]):
    """Each caption with its image, both embedded."""

    def __init__(self, encoded: Mapping[str, Tensor], captions: Sequence[int]) -> None:
        self.encoded = encoded
        self.image_of = [i for i, count in enumerate(captions) for _ in range(count)]

    def __len__(self) -> int:
        return len(self.image_of)

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        row = {"image": self.encoded["images"][self.image_of[i]], "text": self.encoded["texts"][i]}
        return row | ({"encodings": self.encoded["encodings"][i]} if "encodings" in self.encoded else {})
