"""A tower beside the embedder whose space sounds are embedded in."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import torch
import torch.nn.functional as F
from PIL.Image import Image
from torch import Tensor, nn

from t2i_wavbrivl import Settings, TowerShape
from t2i_wavbrivl.model import RATE, Tower, spectrogram
from t2icli.contract.kinds import AudioClip, Embedder
from t2icli.ground.errors import T2IError
from t2icli.nn import weights
from t2icli.nn.devices import pick_device
from t2icli.nn.embedding import Runner
from t2icli.registry import parts
from t2icli.sounds.clips import resampled

SHORTEST = 0.25
"""Seconds of a last piece that still says something."""


class AudioTower:
    """Texts and pictures go to the embedder, sounds to the tower, after `prepare`."""

    def __init__(
        self,
        tower: nn.Module,
        prepare: Callable[[Tensor], tuple[Tensor, ...]],
        embedder: Embedder,
        space: str,
        device: torch.device,
        owner: str,
        seconds: float,
    ) -> None:
        self.tower, self.prepare = tower.to(device), prepare
        self.embedder, self.space, self.width = embedder, space, embedder.width
        self.seconds = seconds
        # Pieces have lengths of their own, so each is a batch of its own.
        self.run = Runner(owner, self.width, 1, device)

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        return self.embedder.embed_texts(texts)

    def embed_images(self, images: Sequence[Image]) -> Tensor:
        return self.embedder.embed_images(images)

    def embed_audio(self, clips: Sequence[AudioClip]) -> Tensor:
        """A long clip is embedded in pieces, whose vectors are averaged."""
        cut = [pieces(clip, RATE, self.seconds, SHORTEST) for clip in clips]
        vectors = self.run([piece for each in cut for piece in each], self.prepare, self.tower)
        return averaged(vectors, cut)


def pieces(clip: AudioClip, rate: int, seconds: float, shortest: float = 0.0) -> list[Tensor]:
    """The samples at `rate` in pieces of at most so many seconds, without a last one that is too short."""
    parts = list(torch.from_numpy(resampled(clip, rate).copy()).split(int(seconds * rate)))
    return parts if len(parts) == 1 or len(parts[-1]) >= shortest * rate else parts[:-1]


def averaged(vectors: Tensor, cut: Sequence[Sequence[Tensor]]) -> Tensor:
    """The unit vector of each clip from those of its pieces, which follow one another in `vectors`."""
    means = [part.mean(dim=0) for part in vectors.split([len(each) for each in cut])]
    return F.normalize(torch.stack(means), dim=1) if means else vectors


def load(settings: Settings) -> AudioTower:
    embedder = settings.space.load()
    space = parts.space(settings.space.name, settings.space.settings)
    config = dict(settings.model.card.config)
    if config.pop("space", None) != space:
        raise T2IError(
            f"model {settings.model.name!r} was distilled from another embedder than today's {settings.space.name!r}",
            "omit the space to use the model's own",
        )
    shape = msgspec.convert(config, TowerShape)
    tower = weights.load(weights.unfilled(Tower, shape, embedder.width), settings.model)

    def prepare(samples: Tensor) -> tuple[Tensor, Tensor]:
        mel = spectrogram(samples, shape.bands)
        return mel, torch.tensor(mel.shape[1])

    device, owner = pick_device(settings.device), f"model {settings.model.name!r}"
    return AudioTower(tower, prepare, embedder, space, device, owner, shape.seconds)
