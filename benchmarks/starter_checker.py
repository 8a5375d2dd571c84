"""The judge of what a picture shows: a small network that names the vessel, what fills it, and every ingredient.

It learns from pictures of its own (`starter_data.lesson`), some of them soft as a codec makes them, so that it does
not take softness for absence. No ranker and no generator has seen them, and it has seen none of theirs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import starter_data as data
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from t2icli.contract.kinds import Codec

KEPT = 1000
"""The last lessons are not learnt from: they say from which score on an ingredient counts as seen."""
SOFT = 6000
"""Lessons that are learnt from as a codec gives them back, too."""
FALSE_ALARMS = 0.01
"""How often that score is passed where the ingredient is not there."""

SAVED = 100
"""Steps after which its training can go on from there."""


class Checker(nn.Module):
    """Pictures of 64 pixels to the logits of their look and of each ingredient."""

    def __init__(self, looks: int, ingredients: int, width: int = 64) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(3, 24, 5, 2), conv(24, width, 3, 2))
        self.fine = nn.Sequential(Residual(width), Residual(width))
        self.coarse = nn.Sequential(conv(width, 2 * width, 3, 2), Residual(2 * width), Residual(2 * width))
        self.to_look = nn.Linear(4 * width, looks)
        self.to_ingredients = nn.Linear(4 * width, ingredients)
        self.register_buffer("least", torch.zeros(ingredients))
        nn.init.constant_(self.to_ingredients.bias, math.log(0.025))

    def features(self, images: Tensor) -> Tensor:
        x = self.coarse(self.fine(self.stem(images * 4 - 2)))  # (b, 2 width, 8, 8)
        return torch.cat([x.mean((2, 3)), x.amax((2, 3))], dim=1)  # (b, 4 width)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.features(images)
        return self.to_look(features), self.to_ingredients(features)


def conv(width: int, out: int, size: int, stride: int) -> nn.Sequential:
    layer = nn.Conv2d(width, out, size, stride, size // 2, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(out), nn.ReLU(inplace=True))


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = conv(width, width, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Seen(NamedTuple):
    """What the checker makes of pictures."""

    looks: NDArray[np.float32]
    """(n, all looks): log-probabilities."""
    scores: NDArray[np.float32]
    """(n, all ingredients): how far above the score from which it counts as seen."""
    features: NDArray[np.float32]
    """(n, d)"""

    @property
    def vessels(self) -> list[str]:
        """The vessel whose looks are together the likeliest."""
        names = list(dict.fromkeys(data.looks().values()))
        member = np.asarray([[vessel == name for name in names] for vessel in data.looks().values()])
        return [names[best] for best in (np.exp(self.looks) @ member).argmax(1)]


class Judge:
    """A trained checker."""

    def __init__(self, model: Checker) -> None:
        self.model = model.eval().to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def see(self, images: Sequence[Image.Image], batch: int = 64) -> Seen:
        size = (data.PIXELS, data.PIXELS)
        pixels = np.stack([np.asarray(image.resize(size, Image.Resampling.LANCZOS)) for image in images])
        return self.see_pixels(pixels, batch)

    @torch.inference_mode()
    def see_pixels(self, pixels: NDArray[np.uint8], batch: int = 64) -> Seen:
        parts = []
        for rows in data.chunks(len(pixels), batch):
            features = self.model.features(to_batch(pixels[rows]))
            looks = self.model.to_look(features).log_softmax(1)
            scores = self.model.to_ingredients(features) - self.model.least
            parts.append((looks.numpy(), scores.numpy(), features.numpy()))
        return Seen(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def to_batch(pixels: NDArray[np.uint8]) -> Tensor:
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    return images.contiguous(memory_format=torch.channels_last)


def train(lessons: data.Lessons, soft: NDArray[np.uint8], folder: Path, steps: int, batch: int = 64) -> Checker:
    """`soft` are the first lessons as a codec gives them back; a run that was stopped goes on."""
    torch.manual_seed(0)
    model = blank()
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.05, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps, pct_start=0.1)
    parts, notes, step = {"model": model, "optimizer": optimizer, "schedule": schedule}, folder / "training.pt", 0
    if notes.is_file():
        saved = torch.load(notes, weights_only=True)
        step = saved.pop("step")
        for name, part in parts.items():
            part.load_state_dict(saved[name])
    while step < steps:
        loss, looks, ingredients = learn(model, lessons, soft, step, batch)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        step += 1
        if step % 25 == 0:
            print(f"checker {step}/{steps}  looks {looks:.3f}  ingredients {ingredients:.3f}", flush=True)
        if step % SAVED == 0:
            torch.save({name: part.state_dict() for name, part in parts.items()} | {"step": step}, notes)
    return model


def learn(
    model: Checker, lessons: data.Lessons, soft: NDArray[np.uint8], step: int, batch: int
) -> tuple[Tensor, float, float]:
    """The loss of a step's lessons, which the step alone decides; two in five of those in `soft` as they are there."""
    chance = np.random.default_rng(step)
    rows = chance.integers(0, len(lessons.pictures), batch)
    pixels = lessons.pictures[rows]
    through = (rows < len(soft)) & (chance.random(batch) < 0.4)
    pixels[through] = soft[rows[through]]
    torch.manual_seed(step)
    looks, ingredients = model(varied(to_batch(pixels)))
    named = F.cross_entropy(looks, torch.from_numpy(lessons.looks[rows]))
    present = torch.from_numpy(lessons.ingredients[rows]).float()
    found = F.binary_cross_entropy_with_logits(ingredients, present, reduction="sum") / batch
    return named + found, float(named.detach()), float(found.detach())


def varied(images: Tensor) -> Tensor:
    """Turned, moved, nearer or further, in another light; every third one blurred."""
    n = len(images)
    turn, near = torch.empty(n).uniform_(-0.4, 0.4), torch.empty(n).uniform_(0.88, 1.12)
    cos, sin, move = turn.cos() * near, turn.sin() * near, torch.empty(2, n).uniform_(-0.06, 0.06)
    grid = F.affine_grid(
        torch.stack([torch.stack([cos, -sin, move[0]], 1), torch.stack([sin, cos, move[1]], 1)], 1),
        list(images.shape),
        align_corners=False,
    )
    images = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    light = torch.empty(n, 3, 1, 1).uniform_(0.93, 1.07) * torch.empty(n, 1, 1, 1).uniform_(0.9, 1.1)
    images = (images * light).clamp(0, 1)
    few = slice(0, n // 3)
    small = F.interpolate(images[few], scale_factor=0.5, mode="area")
    images[few] = F.interpolate(small, size=images.shape[2:], mode="bilinear", align_corners=False)
    return images


def calibrate(model: Checker, lessons: data.Lessons, soft: NDArray[np.uint8] | None = None) -> None:
    """Set for each ingredient the score that only FALSE_ALARMS of the pictures without it pass."""
    model.least.zero_()
    pictures = [lessons.pictures] if soft is None else [lessons.pictures, soft]
    scores = np.concatenate([Judge(model).see_pixels(each).scores for each in pictures])
    absent = ~np.concatenate([lessons.ingredients] * len(pictures))
    least = [np.quantile(scores[absent[:, k], k], 1 - FALSE_ALARMS) for k in range(scores.shape[1])]
    model.least.copy_(torch.tensor(least))


@torch.inference_mode()
def through(codec: Codec, pixels: NDArray[np.uint8], size: int = data.DRAWN, batch: int = 16) -> NDArray[np.uint8]:
    """Pictures as the codec gives them back, in their own size."""
    parts = []
    for rows in data.chunks(len(pixels), batch):
        images = torch.from_numpy(pixels[rows]).permute(0, 3, 1, 2).float() / 255
        large = F.interpolate(images, size=(size, size), mode="bicubic", antialias=True).clamp(0, 1)
        back = F.interpolate(codec.decode(codec.encode(large)), size=images.shape[2:], mode="area")
        parts.append((back.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy())
    return np.concatenate(parts)


def ready(folder: Path, codec: Codec, *, lessons: int, steps: int) -> Judge:
    """The checker in `folder`, made first where it is missing."""
    path = folder / "checker.safetensors"
    if not path.is_file():
        data.render(folder / "lessons", lessons)
        model = make(data.rendered(folder / "lessons").part(slice(0, lessons)), codec, folder, steps)
        save(model, path)
    model = blank()
    model.load_state_dict(load_file(path))
    return Judge(model)


def save(model: Checker, path: Path) -> None:
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path)


def make(lessons: data.Lessons, codec: Codec, folder: Path, steps: int) -> Checker:
    """Soften, train, calibrate."""
    kept = min(KEPT, len(lessons.pictures) // 4)
    learnt, last = lessons.part(slice(0, -kept)), lessons.part(slice(-kept, None))
    path = folder / "soft.npz"
    if not path.is_file():
        first = learnt.pictures[: min(SOFT, len(learnt.pictures) // 3)]
        np.savez(path, first=through(codec, first), last=through(codec, last.pictures))
    soft = np.load(path)
    model = train(learnt, soft["first"], folder, steps)
    calibrate(model, last, soft["last"])
    return model


def blank() -> Checker:
    return Checker(len(data.looks()), len(data.ingredients())).to(memory_format=torch.channels_last)
