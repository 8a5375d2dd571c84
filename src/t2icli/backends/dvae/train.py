"""How a discrete VAE learns: codes are drawn softly, ever less so, and the pixels must come back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from t2icli.backends.dvae import DvaeShape, TrainSettings
from t2icli.backends.dvae.model import DiscreteVAE
from t2icli.contract.recipes import Frozen, ParamGroup, Samples, Turn
from t2icli.data.dataset import PreparedDataset
from t2icli.nn import weights
from t2icli.nn.pixels import Squares, to_images
from t2icli.store import models
from t2icli.store.models import Card

ANNEAL_EVERY = 100


class VaeRecipe:
    def __init__(self, settings: TrainSettings) -> None:
        self.settings = settings
        self.shape = DvaeShape(**{name: getattr(settings, name) for name in DvaeShape.__struct_fields__})
        self.model = DiscreteVAE(self.shape)

    def frozen(self) -> Sequence[Frozen]:
        return ()

    def dataset(self, data: PreparedDataset, split: str, encoded: Mapping[str, Tensor]) -> Samples[Any]:
        at_random = self.settings.crop_from < 1 and split == "train"
        return Squares(data, self.shape.image_size, at_random=at_random, smallest=self.settings.crop_from)

    def turns(self) -> Sequence[Turn]:
        return [Turn("vae", [ParamGroup(list(self.model.parameters()))], self.loss)]

    def loss(self, images: Tensor, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        if not self.model.training:
            return self.held_out_loss(images)
        s = self.settings
        loss, unlike, uneven = self.model.loss(
            images,
            self.temperature(step),
            straight_through=s.straight_through,
            reinmax=s.reinmax,
            smooth_l1=s.smooth_l1,
            # It is summed over a batch; this may be a piece of one.
            kl_weight=s.kl_weight * s.loop.batch_size / len(images),
        )
        return loss, {"pixels": unlike.detach(), "kl": uneven.detach() / len(images)}

    def held_out_loss(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The error of pictures reconstructed from hard codes, and the fraction of all codes in use."""
        codes = self.model.to_codes(images)
        loss = F.mse_loss(self.model.look_up(codes), self.model.normalise(images))
        return loss, {"codes_used": codes.unique().numel() / torch.tensor(float(self.shape.num_tokens))}

    def temperature(self, step: int) -> float:
        """Multiplied every 100 steps by exp(-rate * step), as in DALLE-pytorch: here in closed form."""
        times = step // ANNEAL_EVERY
        fallen = math.exp(-self.settings.anneal_rate * ANNEAL_EVERY * times * (times + 1) / 2)
        return max(self.settings.temperature_min, self.settings.temperature * fallen)

    def preview(self, batch: Tensor, *, seed: int) -> Sequence[Image.Image]:
        """The pictures, and below them what comes back."""
        return to_images(batch) + to_images(self.model.to_images(self.model.to_codes(batch)))

    def save(self, folder: Path) -> None:
        weights.save(self.model, folder)
        about = f"f{2**self.shape.num_layers}, {self.shape.num_tokens} codes"
        config = dict(msgspec.to_builtins(self.shape))
        models.seal(folder, Card(kind="codec", backend="dvae", about=about, config=config))
