"""A tower beside the embedder that it learnt from."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import torch
import torch.nn.functional as F
from PIL.Image import Image
from torch import Tensor

from t2i_wavbrivl import Settings, Shape
from t2i_wavbrivl.model import Tower, pieces, spectrogram
from t2icli.contract.kinds import Clip, Embedder
from t2icli.ground.errors import T2IError
from t2icli.nn import weights
from t2icli.nn.devices import pick_device
from t2icli.nn.embedding import Runner
from t2icli.registry import parts


class WavBrivl:
    """Texts and pictures go to the embedder, sounds to the tower."""

    def __init__(self, tower: Tower, embedder: Embedder, space: str, device: torch.device, owner: str) -> None:
        self.tower, self.embedder, self.space = tower.to(device), embedder, space
        self.width = embedder.width
        # Pieces have lengths of their own, so each is a batch of its own.
        self.run = Runner(owner, self.width, 1, device)

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        return self.embedder.embed_texts(texts)

    def embed_images(self, images: Sequence[Image]) -> Tensor:
        return self.embedder.embed_images(images)

    def embed_audio(self, clips: Sequence[Clip]) -> Tensor:
        """A long clip is heard in pieces, whose vectors are averaged."""
        cut = [pieces(clip, self.tower.shape.seconds) for clip in clips]
        vectors = self.run([piece for each in cut for piece in each], self._prepare, self.tower)
        means = [part.mean(dim=0) for part in vectors.split([len(each) for each in cut])]
        return F.normalize(torch.stack(means), dim=1) if means else torch.empty(0, self.width)

    def _prepare(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        mel = spectrogram(samples, self.tower.shape.bands)
        return mel, torch.tensor(mel.shape[1])


def load(settings: Settings) -> WavBrivl:
    embedder = settings.space.load()
    space = parts.space(settings.space.name, settings.space.settings)
    learnt = settings.model.card.config.get("space")
    if space != learnt:
        raise T2IError(
            f"model {settings.model.name!r} learnt from another embedder than {settings.space.name!r} as it is now",
            "omit the space to use the model's own",
        )
    config = {name: value for name, value in settings.model.card.config.items() if name != "space"}
    tower = weights.load(Tower(msgspec.convert(config, Shape), embedder.width), settings.model)
    return WavBrivl(tower, embedder, space, pick_device(settings.device), f"model {settings.model.name!r}")
