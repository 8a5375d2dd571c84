"""CLIP-GEN's VQGAN as a recipe: what a step's losses are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from PIL.Image import Image
from torch import Tensor, nn

from t2i_clipgen.vqgan.convert import card
from t2icli.contract.recipes import Figures, Frozen, ParamGroup, Samples, Turn
from t2icli.data.dataset import PreparedDataset
from t2icli.nn import codebook, weights
from t2icli.nn.discriminator import PatchDiscriminator, heed, hinge
from t2icli.nn.pixels import Squares, to_images
from t2icli.nn.vqgan import Nearest, Vqgan
from t2icli.store import models

if TYPE_CHECKING:
    from t2i_clipgen import CodecRecipeSettings


class Trainee(nn.Module):
    """The VQGAN with all that is there only while it learns. Images are in [-1, 1]."""

    def __init__(self, settings: CodecRecipeSettings) -> None:
        super().__init__()
        self.settings = settings
        self.vqgan = Vqgan(settings.shape.network)
        self.care = codebook.Codebook(
            settings.shape.codes,
            settings.shape.width,
            begin=settings.begin,
            reseed_every=settings.reseed_every,
            decay=0.99,
            averages=False,
        )
        self.adversary = PatchDiscriminator(settings.adversary_width, settings.adversary_layers)
        self.adversary.apply(as_torch_begins)

    def forward(self, images: Tensor, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """The reconstruction, the codebook's loss and the codes."""
        z = self.vqgan.latents(images)
        codes = self.vqgan.quantize.codes(z)
        if self.training and self.looks_after_codes:
            self.care.watch(z, codes)
        if step < self.settings.begin:
            return self.vqgan.reconstruct(z), z.new_zeros(()), codes
        chosen = self.vqgan.quantize.look_up(codes)
        loss = self.settings.commitment * codebook.commitment(z, chosen)
        loss = loss + self.settings.attraction * codebook.attraction(z, chosen)
        return self.vqgan.reconstruct(codebook.straight_through(z, chosen)), loss, codes

    @property
    def looks_after_codes(self) -> bool:
        return self.settings.begin > 0 or self.settings.reseed_every > 0


def as_torch_begins(module: nn.Module) -> None:
    """CLIP-GEN's discriminator starts from torch's own random weights, not taming's."""
    if isinstance(module, (nn.Conv2d, nn.BatchNorm2d)):
        module.reset_parameters()


class VQGANRecipe:
    """One turn for the VQGAN, one for its adversary."""

    def __init__(self, settings: CodecRecipeSettings) -> None:
        self.settings = settings
        self.model = Trainee(settings)
        self.metric = settings.perceptual.load() if settings.perceptual_weight else None
        self.adversary_start = settings.adversary_start

    def frozen(self) -> Sequence[Frozen]:
        return ()

    def dataset(self, data: PreparedDataset, split: str, encoded: Mapping[str, Tensor]) -> Samples[Tensor]:
        if split == "train" and self.adversary_start is None:
            self.adversary_start = len(data) // self.settings.loop.batch_size
        return Squares(data, self.settings.shape.size, at_random=split == "train")

    def turns(self) -> Sequence[Turn]:
        turns = [Turn("codec", [ParamGroup(list(self.model.vqgan.parameters()))], self.codec_loss, after=self.after)]
        if self.settings.adversary_weight:
            turns.append(Turn("adversary", [ParamGroup(list(self.model.adversary.parameters()))], self.adversary_loss))
        return turns

    def after(self) -> None:
        quantize = self.model.vqgan.quantize
        if isinstance(quantize, Nearest) and self.model.looks_after_codes:
            self.model.care.step(quantize)

    def codec_loss(self, images: Tensor, step: int) -> tuple[Tensor, Figures]:
        """L1 + the metric + the codebook's loss and, after `adversary_start`, the adversary's."""
        images = images * 2 - 1
        back, codebook_loss, codes = self.model(images, step)
        l1 = (images - back).abs().mean()
        unlike, figures = l1, {"l1": l1.detach(), "codebook": codebook_loss.detach()}
        if self.metric is not None:
            perceptual = self.metric.distance(images / 2 + 0.5, back / 2 + 0.5).mean()
            unlike = l1 + self.settings.perceptual_weight * perceptual
            figures[self.metric.name] = perceptual.detach()
        figures["codes"] = codebook.used(codes, self.settings.shape.codes)
        fooled, pull = self.adversary_says(back, unlike, step)
        loss = unlike + codebook_loss + self.settings.adversary_weight * pull * fooled
        return loss, {**figures, "fooled": fooled.detach(), "heed": pull}

    def adversary_says(self, back: Tensor, unlike: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """How far it is not fooled, and how much that should weigh; nothing before its time and in evaluation."""
        if not (self.has_adversary(step) and torch.is_grad_enabled()):
            return back.new_zeros(()), back.new_zeros(())
        fooled = -self.model.adversary(back).mean()
        return fooled, heed(unlike, fooled, self.model.vqgan.decoder.last.weight)

    def adversary_loss(self, images: Tensor, step: int) -> tuple[Tensor, Figures]:
        if not self.has_adversary(step):
            sums = (parameter.sum() for parameter in self.model.adversary.parameters())
            idle = sum(sums, images.new_zeros(())) * 0.0
            return idle, {"real": idle.detach(), "fake": idle.detach()}
        images = images * 2 - 1
        with torch.no_grad():
            back = self.model.vqgan(images)
        real, fake = self.model.adversary(images), self.model.adversary(back)
        return hinge(real, fake), {"real": real.mean().detach(), "fake": fake.mean().detach()}

    def has_adversary(self, step: int) -> bool:
        return self.settings.adversary_weight > 0 and step >= (self.adversary_start or 0)

    def preview(self, batch: Tensor, *, seed: int) -> Sequence[Image]:
        """Originals, then what their codes show."""
        return to_images(torch.cat([batch, self.model.vqgan(batch * 2 - 1) / 2 + 0.5]))

    def save(self, folder: Path) -> None:
        weights.save(self.model.vqgan, folder)
        models.seal(folder, card(self.settings.shape, "CLIP-GEN's VQGAN, trained here"))
