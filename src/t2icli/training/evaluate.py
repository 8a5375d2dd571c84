"""Held-out data: the loss on it, and pictures of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from t2icli.contract.recipes import Recipe, Samples, Turn
from t2icli.training.devices import World
from t2icli.training.order import Seeded, collate, mix, seed_all
from t2icli.training.settings import LoopSettings
from t2icli.training.turns import autocast

PREVIEWS = 4


@dataclass(frozen=True)
class HeldOut:
    """Samples that are not trained on, read the same way each time."""

    samples: Samples[Any]
    settings: LoopSettings
    world: World
    is_new: bool
    """False if there are none and training samples are used instead, for previews only."""

    def batches(self) -> Iterator[Any]:
        """This process's part of every batch; what does not fill a batch is left out."""
        n = len(self.samples)
        size = min(self.settings.batch_size, n) // self.world.size
        whole = size * self.world.size
        for i in range(min(self.settings.eval_batches, n // whole) if whole else 0):
            yield self.read(range(i * whole + self.world.rank * size, i * whole + (self.world.rank + 1) * size))

    def read(self, rows: range) -> Any:
        reader = Seeded(self.samples, self.settings.seed, skip=self.settings.on_bad_sample == "skip")
        return to_device(collate([reader[row, 0] for row in rows]).batch, self.world.device, self.settings)


@torch.no_grad()
def evaluate(turn: Turn, model: nn.Module, held_out: HeldOut, step: int) -> dict[str, float]:
    """The mean loss and figures of a turn over the held-out batches; empty when there are none."""
    settings, world, sums, count = held_out.settings, held_out.world, dict[str, float](), 0
    model.eval()
    for count, batch in enumerate(held_out.batches(), start=1):
        seed_all(settings.seed, "evaluate", count, world.rank)
        with autocast(settings, world):
            loss, figures = turn.loss(batch, step)
        for name, value in {"loss": loss, **figures}.items():
            sums[name] = sums.get(name, 0.0) + float(value)
    model.train()
    if not count:
        return {}
    means = world.mean(torch.tensor(list(sums.values()), dtype=torch.float64) / count)
    return dict(zip(sums, means.tolist(), strict=True))


@torch.no_grad()
def preview(recipe: Recipe, batch: Any, settings: LoopSettings) -> list[Image.Image]:
    """What the recipe draws for a few samples, with the same random numbers each time."""
    recipe.model.eval()
    seed_all(settings.seed, "preview")
    images = list(recipe.preview(batch, seed=mix(settings.seed, "preview") % 2**31))
    recipe.model.train()
    return images


def to_device(batch: Any, device: torch.device, settings: LoopSettings) -> Any:
    """A batch with every tensor where the model is."""
    if isinstance(batch, Tensor):
        batch = batch.to(device, non_blocking=True)
        is_image = batch.ndim == 4 and batch.is_floating_point()
        return batch.contiguous(memory_format=torch.channels_last) if is_image and settings.channels_last else batch
    if isinstance(batch, dict):
        return {key: to_device(value, device, settings) for key, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        return type(batch)(to_device(value, device, settings) for value in batch)
    return batch
