"""The judge of what a picture shows: a small network that names vessel, colour, count, filling and every ingredient.

It learns from pictures that are composed for it (`starter_data.lesson`), every other one made soft or blocky, so that
it does not take softness for absence. No generator and no ranker has seen them, and it has seen none of theirs, nor
any composition that they are asked for.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy as np
import starter_data as data
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from t2i_starter import photos
from t2icli.contract.kinds import Codec
from t2icli.nn.devices import has_bf16

PIXELS = 80
"""Of a side of what it looks at."""
KEPT = 1500
"""Lessons that are not learnt from: they say from which score on an ingredient counts as seen."""
FALSE_ALARMS = 0.002
"""How often that score is passed where the ingredient is not there."""


class Checker(nn.Module):
    """Pictures of 80 pixels to the logits of every aspect and of each ingredient."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(3, 24, 5, 2), conv(24, width, 3, 2))
        self.fine = nn.Sequential(Residual(width), Residual(width))
        self.coarse = nn.Sequential(conv(width, 2 * width, 3, 2), Residual(2 * width), Residual(2 * width))
        self.to_aspects = nn.Linear(4 * width, sum(map(len, data.aspects().values())))
        self.to_ingredients = nn.Linear(4 * width, len(data.ingredients()))
        self.register_buffer("least", torch.zeros(len(data.ingredients())))
        nn.init.constant_(self.to_ingredients.bias, math.log(0.025))

    def features(self, images: Tensor) -> Tensor:
        x = self.coarse(self.fine(self.stem(images * 4 - 2)))  # (b, 2 width, 10, 10)
        return torch.cat([x.mean((2, 3)), x.amax((2, 3))], dim=1)  # (b, 4 width)

    def aspects(self, features: Tensor) -> dict[str, Tensor]:
        sizes = [len(values) for values in data.aspects().values()]
        return dict(zip(data.aspects(), self.to_aspects(features).split(sizes, dim=1), strict=True))


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

    aspects: dict[str, NDArray[np.float32]]
    """(n, all values) each: log-probabilities."""
    scores: NDArray[np.float32]
    """(n, all ingredients): how far above the score from which it counts as seen."""
    features: NDArray[np.float32]
    """(n, d)"""

    def which(self, aspect: str) -> list[str]:
        """The likeliest value for each picture."""
        return [data.aspects()[aspect][best] for best in self.aspects[aspect].argmax(1)]

    def rows(self, rows: slice) -> Seen:
        kept = {name: each[rows] for name, each in self.aspects.items()}
        return Seen(kept, self.scores[rows], self.features[rows])


class Judge:
    """A trained checker."""

    def __init__(self, model: Checker) -> None:
        self.model = model.eval().to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def see(self, images: Sequence[Image.Image], batch: int = 64) -> Seen:
        aspects, scores, features = [], [], []
        for rows in data.chunks(len(images), batch):
            seen = self.model.features(to_batch([reduced(image) for image in images[rows]]))
            found = self.model.aspects(seen)
            aspects.append({name: each.log_softmax(1).numpy() for name, each in found.items()})
            scores.append((self.model.to_ingredients(seen) - self.model.least).numpy())
            features.append(seen.numpy())
        joined = {name: np.concatenate([each[name] for each in aspects]) for name in data.aspects()}
        return Seen(joined, np.concatenate(scores), np.concatenate(features))


def reduced(image: Image.Image, box: tuple[float, float, float, float] | None = None) -> Image.Image:
    return image.resize((PIXELS, PIXELS), Image.Resampling.BILINEAR, box=box)


def to_batch(images: Sequence[Image.Image]) -> Tensor:
    pixels = torch.from_numpy(np.stack([np.asarray(image) for image in images]))
    return (pixels.permute(0, 3, 1, 2).float() / 255).contiguous(memory_format=torch.channels_last)


class Lessons(NamedTuple):
    pictures: Tensor
    aspects: dict[str, Tensor]
    present: Tensor


def lessons(rows: range) -> Lessons:
    """Those of `rows`, composed when they are wanted, each twice: that takes less time than learning from them does."""
    plan = [data.lesson(at) for at in rows]
    drawn = [(photos.draw(*each), Random(each[1])) for each in plan]
    pictures = [varied(image, random) for image, random in drawn for _ in range(2)]
    known = [data.labels(serving) for serving, _ in plan for _ in range(2)]
    aspects = {name: torch.tensor([each.aspects[name] for each in known]) for name in data.aspects()}
    return Lessons(to_batch(pictures), aspects, torch.from_numpy(np.stack([each.present for each in known])))


def varied(image: Image.Image, random: Random) -> Image.Image:
    """A little nearer and elsewhere; one of three blurred, one of five packed until it shows."""
    left, top, right, bottom = (random.uniform(0, 8) for _ in range(4))
    image = reduced(image, (left, top, image.width - right, image.height - bottom))
    if random.random() < 1 / 3:
        side = random.randint(PIXELS // 3, PIXELS - 10)
        image = image.resize((side, side), Image.Resampling.BOX).resize((PIXELS, PIXELS), Image.Resampling.BICUBIC)
    if random.random() < 1 / 5:
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=random.randint(15, 60))
        image = Image.open(stream)
        image.load()
    return image


def train(steps: int, batch: int = 64) -> Checker:
    torch.manual_seed(0)
    model = blank()
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.05, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps, pct_start=0.1)
    quick = has_bf16(torch.device("cpu"))
    for step in range(steps):
        some = lessons(range(step * batch // 2, (step + 1) * batch // 2))
        light = torch.empty(batch, 3, 1, 1).uniform_(0.96, 1.04) * torch.empty(batch, 1, 1, 1).uniform_(0.9, 1.1)
        with torch.autocast("cpu", torch.bfloat16, enabled=quick):
            features = model.features((some.pictures * light).clamp(max=1))
        found = model.aspects(features.float())
        told = sum(F.cross_entropy(found[name], true) for name, true in some.aspects.items())
        logits = model.to_ingredients(features.float())
        seen = F.binary_cross_entropy_with_logits(logits, some.present.float(), reduction="sum") / batch
        optimizer.zero_grad()
        (told + seen).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        if step % 25 == 0:
            print(f"checker {step}/{steps}  aspects {told.item():.3f}  ingredients {seen.item():.3f}", flush=True)
    return model


def calibrate(model: Checker, kept: range, false_alarms: float = FALSE_ALARMS) -> None:
    """Set for each ingredient the score that only this share of the pictures without it pass."""
    model.eval().least.zero_()
    scores, absent = [], []
    with torch.inference_mode():
        for rows in data.chunks(len(kept), 32):
            some = lessons(kept[rows])
            scores.append(model.to_ingredients(model.features(some.pictures)).numpy())
            absent.append(~some.present.numpy())
    without, all_scores = np.concatenate(absent), np.concatenate(scores)
    least = [np.quantile(all_scores[without[:, k], k], 1 - false_alarms) for k in range(without.shape[1])]
    model.least.copy_(torch.tensor(least))


@torch.inference_mode()
def through(codec: Codec, pixels: data.Pixels, batch: int = 8) -> data.Pixels:
    """Pictures as the codec gives them back, in their own size."""
    parts = []
    for rows in data.chunks(len(pixels), batch):
        images = torch.from_numpy(pixels[rows]).permute(0, 3, 1, 2).float() / 255
        back = codec.decode(codec.encode(images)).clamp(0, 1)
        parts.append((back * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy())
    return np.concatenate(parts)


def ready(folder: Path, *, steps: int) -> Judge:
    """The checker in `folder`, made first where it is missing."""
    path = folder / "checker.safetensors"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        model = train(steps)
        first = 1_000_000
        calibrate(model, range(first, first + KEPT))
        save(model, path)
    model = blank()
    model.load_state_dict(load_file(path))
    return Judge(model)


def save(model: Checker, path: Path) -> None:
    save_file({key: tensor.contiguous() for key, tensor in model.state_dict().items()}, path)


def blank() -> Checker:
    return Checker().to(memory_format=torch.channels_last)
