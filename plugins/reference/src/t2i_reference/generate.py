"""DALLE-pytorch as a generator."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL.Image import Image
from torch import Tensor

from t2i_reference.codec import open_vqgan
from t2icli.contract.kinds import Tokenizer
from t2icli.ground.errors import T2IError
from t2icli.nn.pixels import to_images

if TYPE_CHECKING:
    from t2i_reference import Settings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of packages of their time there are many
    from dalle_pytorch import DALLE, DiscreteVAE, VQGanVAE


class Original:
    """One image at a time, each with a seed of its own."""

    def __init__(self, model: DALLE, tokenizer: Tokenizer, **sampling: float) -> None:
        self.model, self.tokenizer, self.sampling = model, tokenizer, sampling

    def generate(self, prompt: str, n: int, *, seed: int) -> Iterator[Image]:
        text = self.tokenizer.encode([prompt], self.model.text_seq_len)
        for i in range(n):
            torch.manual_seed(seed + i)
            # A copy, for guidance overwrites the text it is given.
            painted = self.model.generate_images(text.clone(), **self.sampling)
            yield from to_images(self._as_pixels(painted))

    def _as_pixels(self, painted: Tensor) -> Tensor:
        """Its discrete VAE leaves images normalised."""
        if not isinstance(self.model.vae, DiscreteVAE):
            return painted
        mean, std = (torch.tensor(values)[:, None, None] for values in self.model.vae.normalization)
        return (painted * std + mean)[:, :3]


def load(settings: Settings) -> Original:
    model = open_original(settings.file, settings.vqgan_checkpoint, settings.vqgan_config)
    tokenizer = settings.tokenizer.load()
    return Original(
        model,
        tokenizer,
        temperature=settings.temperature,
        filter_thres=settings.filter_thres,
        cond_scale=settings.cond_scale,
    )


def open_original(file: Path, checkpoint: Path | None = None, config: Path | None = None) -> DALLE:
    """The original's own object, filled from its own file."""
    data = torch.load(file, weights_only=True)
    model = DALLE(vae=_vae(data, checkpoint, config), **data["hparams"])
    model.load_state_dict(data["weights"])
    return model.eval()


def _vae(data: Mapping[str, Any], checkpoint: Path | None, config: Path | None) -> DiscreteVAE | VQGanVAE:
    if data.get("vae_params") is not None:
        return DiscreteVAE(**data["vae_params"])
    if checkpoint is None or config is None:
        raise T2IError("this DALL-E was made with a VQGAN", "give -o vqgan_checkpoint=FILE -o vqgan_config=FILE")
    return open_vqgan(checkpoint, config)
