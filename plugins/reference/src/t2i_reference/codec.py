"""taming-transformers' VQGAN, through DALLE-pytorch's wrapper, as a codec."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import yaml
from torch import Tensor

if TYPE_CHECKING:
    from t2i_reference import CodecSettings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of packages of their time there are many
    from dalle_pytorch import VQGanVAE


class Taming:
    """256 x 256 pixels in, rows of codes out, and back."""

    def __init__(self, vae: VQGanVAE) -> None:
        self.model = vae.eval()
        side = vae.image_size // 2**vae.num_layers
        self.codes, self.grid = vae.num_tokens, (side, side)
        self.size = (vae.image_size, vae.image_size)

    @torch.inference_mode()
    def encode(self, images: Tensor) -> Tensor:
        codes: Tensor = self.model.get_codebook_indices(images)
        return codes

    @torch.inference_mode()
    def decode(self, codes: Tensor) -> Tensor:
        pixels: Tensor = self.model.decode(codes)
        return pixels.clamp(0, 1)


def load(settings: CodecSettings) -> Taming:
    return Taming(open_vqgan(settings.checkpoint, settings.config))


def open_vqgan(checkpoint: Path, config: Path) -> VQGanVAE:
    """Their own object without its loss, for which they would download a network."""
    tables = yaml.safe_load(config.read_text(encoding="utf-8"))
    tables["model"]["params"]["lossconfig"] = {"target": "taming.modules.losses.DummyLoss"}
    with tempfile.TemporaryDirectory() as scratch:
        without_loss = Path(scratch) / "model.yaml"
        without_loss.write_text(yaml.safe_dump(tables), encoding="utf-8")
        return VQGanVAE(str(checkpoint), str(without_loss))
