"""The recipe `wavbrivl`: sounds beside the vectors that a frozen embedder gives their captions or pictures."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import torch
import torch.nn.functional as F
from PIL.Image import Image
from torch import Tensor, nn
from torch.utils.data import Dataset

from t2i_wavbrivl import TowerShape, speech
from t2i_wavbrivl.model import HOP, LEAST, RATE, WINDOW, Tower, spectrogram
from t2icli.contract.recipes import Figures, Frozen, Samples, Turn
from t2icli.ground.errors import T2IError
from t2icli.nn import weights
from t2icli.nn.pixels import Squares, to_images
from t2icli.registry import parts
from t2icli.sounds.clips import resampled
from t2icli.store import models
from t2icli.store.models import Card
from t2icli.training.captions import Captions

if TYPE_CHECKING:
    from t2i_wavbrivl import RecipeSettings
    from t2icli.data.dataset import PreparedDataset

Batch = Mapping[str, Tensor]
SECONDS = 3.2
"""Of speech or of a piece that is looked at in training."""
SIDE = 224
"""Pixels of a picture's middle that is a target."""
SHIFT, HIDDEN = 2, 8
"""Bands that a spectrogram is moved by, and hidden, at most."""
PARTS = 4
"""Of a batch, by length."""
TEMPO = 0.15
"""By which share it is stretched at most."""


RECENT = 200
"""Steps that `LeastSquares` looks back, with falling weight."""
RIDGE = 1e-4
"""Of the features' mean square, against features that always go together."""


class LeastSquares(nn.Module):
    """The last layer whose vectors come nearest to the targets of recent batches.

    The contrast wants a sound's own target to be nearer than the others, so the tower guesses what it cannot tell. The
    least squares leave it at its mean.
    """

    products: Tensor
    wanted: Tensor

    def __init__(self, features: int, out: int) -> None:
        super().__init__()
        self.register_buffer("products", torch.zeros(features + 1, features + 1))
        self.register_buffer("wanted", torch.zeros(features + 1, out))

    @torch.no_grad()
    def see(self, features: Tensor, targets: Tensor) -> None:
        x = F.pad(features, (0, 1), value=1.0)
        self.products.lerp_(x.T @ x / len(x), 1 / RECENT)
        self.wanted.lerp_(x.T @ targets / len(x), 1 / RECENT)

    @torch.no_grad()
    def fit(self, layer: nn.Linear) -> None:
        products, wanted = self.products.double().cpu(), self.wanted.double().cpu()
        products.diagonal().add_(RIDGE * products.diagonal().mean())
        found = torch.linalg.solve(products, wanted)
        layer.weight.copy_(found[:-1].T)
        layer.bias.copy_(found[-1])


class Distillation(nn.Module):
    """The tower and the scale of its contrast."""

    others: Tensor
    """Targets of other rows, (m, out): negatives besides those of the batch."""

    def __init__(self, tower: Tower, *, least_squares: bool = False) -> None:
        super().__init__()
        self.tower = tower
        sizes = tower.last.in_features, tower.last.out_features
        self.least_squares = LeastSquares(*sizes) if least_squares else None
        self.scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.register_buffer("others", torch.empty(0, tower.width), persistent=False)

    def forward(self, batch: Batch, cosine: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Each sound has to find its target among all there are, and each target its sound; equal targets share."""
        features, targets, n = self._features(batch), batch["target"].float(), len(batch["mel"])
        vectors = self.tower.vector(features).float()
        with torch.autocast(vectors.device.type, enabled=False):  # in 16 bits a vector is not equal to itself
            if self.training and self.least_squares is not None:
                self.least_squares.see(features.float(), targets)
            gallery = torch.cat([targets, self.others])
            logits = vectors @ gallery.T * self.scale.clamp(max=math.log(100)).exp()
            same = (targets @ gallery.T > 1 - 1e-4).float()
        of_targets, of_sounds = (each / each.sum(dim=1, keepdim=True) for each in (same, same[:, :n].T))
        contrast = (F.cross_entropy(logits, of_targets) + F.cross_entropy(logits[:, :n].T, of_sounds)) / 2
        near = (vectors * targets).sum(dim=1).mean()
        right = same.gather(1, logits[:, :n].argmax(dim=1, keepdim=True)).mean()
        return contrast + cosine * (1 - near), {"cosine": near.detach(), "accuracy": right.detach()}

    def to_save(self) -> Tower:
        """The tower, its last layer as its training has it or fitted to what it saw."""
        if self.least_squares is None or not self.least_squares.products.any():
            return self.tower
        tower = copy.deepcopy(self.tower)
        self.least_squares.fit(tower.last)
        return tower

    def _features(self, batch: Batch) -> Tensor:
        """Sounds of about the same length go through the tower together: a fifth of the time is saved."""
        order = batch["frames"].argsort()
        parts = [(batch["mel"][some], batch["frames"][some]) for some in order.chunk(PARTS)]
        features = [self.tower.features(mel[..., : int(frames.max())], frames) for mel, frames in parts]
        return torch.cat(features)[order.argsort()]


class AudioRecipe:
    """Only the tower is trained; the embedder runs once for every caption or picture."""

    without_caption = "left out"

    def __init__(self, settings: RecipeSettings) -> None:
        self.settings = settings
        self.embedder = settings.space.load()
        self.space = parts.space(settings.space.name, settings.space.settings)
        start = settings.start
        self.shape = settings.shape
        if start is not None:
            known = dict(start.card.config)
            if known.pop("space", None) != self.space:
                raise T2IError(f"{start.name!r} was distilled from another embedder", "name it with -o space=NAME")
            self.shape = msgspec.convert(known, TowerShape)
        if self.shape.width % self.shape.heads:
            raise T2IError(f"{self.shape.heads} heads do not divide a width of {self.shape.width}")
        tower = weights.go_on(Tower(self.shape, self.embedder.width), start)
        self.model = Distillation(tower, least_squares=settings.least_squares)

    def frozen(self) -> Sequence[Frozen]:
        identity = parts.identity(self.settings.space)
        if self.settings.targets == "images":
            return [Frozen("targets", f"{identity} {SIDE}", _squares, self._embed)]
        captions = partial(Captions, hint="write some, or train with -o targets=images")
        return [Frozen("targets", identity, captions, self.embedder.embed_texts)]

    def _embed(self, images: Tensor) -> Tensor:
        return self.embedder.embed_images(to_images(images))

    def dataset(self, data: PreparedDataset, split: str, encoded: Mapping[str, Tensor]) -> Samples[dict[str, Tensor]]:
        rows = [i for i in range(len(data)) if data.has_audio(i)]
        kind = self.settings.sounds
        if kind == "auto":
            kind = "data" if rows else "speech"
        if kind == "data" and not rows:
            raise T2IError("the data has no sounds", "prepare some with t2i prepare audio-folder, or -o sounds=speech")
        if kind == "speech":
            speech.check()
        if split == "train":
            some = torch.randperm(len(encoded["targets"]), generator=torch.Generator().manual_seed(0))
            self.model.others = encoded["targets"][some[: self.settings.others]].to(self.model.others)
        return Sounds(data, encoded["targets"], self.settings, self.shape, rows if kind == "data" else None, split)

    def turns(self) -> Sequence[Turn]:
        linear = [part.get_parameter("weight") for part in self.model.modules() if isinstance(part, nn.Linear)]
        hidden = weights.besides(linear, self.model.tower.ends())
        return [Turn("tower", weights.groups(self.model.parameters(), hidden), self._loss)]

    def _loss(self, batch: Batch, step: int) -> tuple[Tensor, Figures]:
        loss, figures = self.model(batch, self.settings.cosine)
        return loss, figures

    def preview(self, batch: Batch, *, seed: int) -> Sequence[Image]:
        return ()

    def save(self, folder: Path) -> None:
        weights.save(self.model.to_save(), folder)
        own = parts.keep(self.settings.space, folder, "space")
        config = {**msgspec.to_builtins(self.shape), "space": self.space}
        about = f"an audio tower, {self.shape.width} wide, in the space of {self.settings.space.name}"
        models.seal(folder, Card(kind="embedder", backend="wavbrivl", about=about, config=config, settings=own))


def _squares(data: PreparedDataset) -> Samples[Tensor]:
    return Squares(data, SIDE)


class Sounds(Dataset[dict[str, Tensor]]):
    """A spectrogram of at most `SECONDS`, how many of its frames are heard, and the vector it should become."""

    def __init__(
        self,
        data: PreparedDataset,
        targets: Tensor,
        settings: RecipeSettings,
        shape: TowerShape,
        rows: list[int] | None,
        split: str,
    ) -> None:
        self.data, self.targets, self.how, self.bands = data, targets, settings.speech, shape.bands
        self.by_caption = settings.targets == "captions"
        self.first = [0, *accumulate(len(data.captions(i)) for i in range(len(data)))]
        self.speaks, self.varied = rows is None, split == "train"
        wanted = {i: self._wanted(i) for i in (range(len(data)) if rows is None else rows)}
        self.wanted = {i: texts for i, texts in wanted.items() if texts or not (self.speaks or self.by_caption)}
        self.rows = list(self.wanted)
        if not self.rows:
            raise T2IError(f"there are no captions in the language {self.how.language!r} to learn from")
        self.frames = 1 + (int(SECONDS * RATE) - WINDOW) // HOP

    def _wanted(self, i: int) -> list[int]:
        """The numbers of row i's captions that are trained on."""
        captions = self.data.captions(i)
        return [k for k in range(len(captions)) if not self.speaks or speech.is_wanted(captions[k], self.how)]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        i = self.rows[index]
        which = random.choice(self.wanted[i] or [0]) if self.varied else (self.wanted[i] or [0])[0]
        samples = self._samples(i, which)
        mel = spectrogram(samples, self.bands)
        mel = (varied(mel) if self.varied else mel)[:, : self.frames]
        target = self.targets[self.first[i] + which if self.by_caption else i]
        frames = torch.tensor(mel.shape[1])
        return {"mel": F.pad(mel, (0, self.frames - mel.shape[1])), "frames": frames, "target": target}

    def _samples(self, i: int, which: int) -> Tensor:
        """The sound at `RATE`: a random piece of the row's own, or its caption spoken."""
        chance = Random(random.getrandbits(63))
        if self.speaks:
            samples = self._spoken(self.data.captions(i)[which], chance)
        elif (clip := self.data.clip(i)) is None:
            raise T2IError(f"row {self.data.key(i)!r} has no sound", code=1)
        else:
            samples = resampled(clip, RATE)
        room = max(0, len(samples) - int(SECONDS * RATE))
        start = chance.randint(0, room) if self.varied else room // 2
        samples = samples[start : start + int(SECONDS * RATE)]
        if self.varied and not self.speaks:
            samples = speech.disturbed(samples, self.how.noise, chance)
        return torch.from_numpy(samples.copy())

    def _spoken(self, caption: str, chance: Random) -> np.ndarray:
        if self.varied:
            return speech.spoken(caption, self.how, chance)
        return resampled(speech.speak(caption, f"{self.how.voice}+{speech.UNSEEN[0]}", 170, 50), RATE)


def varied(mel: Tensor) -> Tensor:
    """In another tempo, moved by a few bands, with some hidden."""
    frames = max(LEAST, round(mel.shape[1] * random.uniform(1 - TEMPO, 1 + TEMPO)))
    mel = F.interpolate(mel[None], size=frames, mode="linear")[0]
    mel = mel.roll(random.randint(-SHIFT, SHIFT), 0)
    hidden = random.randint(0, HIDDEN)
    start = random.randint(0, len(mel) - hidden)
    mel[start : start + hidden] = 0
    return mel
