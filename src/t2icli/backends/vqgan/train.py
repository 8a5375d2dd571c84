"""Training a VQGAN: what a step's losses are. The loop is `t2icli.training.loop`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch
import torch.nn.functional as F
from PIL.Image import Image
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from t2icli.backends.vqgan import RecipeSettings
from t2icli.contract.recipes import Frozen, ParamGroup, Samples, Turn
from t2icli.data.dataset import PreparedDataset
from t2icli.ground.errors import T2IError
from t2icli.nn import codebook as care
from t2icli.nn import weights
from t2icli.nn.codebook import Codebook
from t2icli.nn.discriminator import PatchDiscriminator, heed, hinge
from t2icli.nn.fidelity import psnr
from t2icli.nn.pixels import Squares, to_images
from t2icli.nn.shapes import VqganShape
from t2icli.nn.vqgan import Gumbel, Nearest, Vqgan
from t2icli.store import models
from t2icli.store.models import Card


class Trainee(nn.Module):
    """The VQGAN with all that is there only while it learns."""

    def __init__(self, settings: RecipeSettings) -> None:
        super().__init__()
        self.settings = settings
        start = settings.start
        self.shape = shape = msgspec.convert(start.card.config, VqganShape) if start is not None else settings.shape
        self.vqgan = weights.go_on(Vqgan(shape), start)
        self.keeps_codes = settings.tune == "decoder"
        if self.keeps_codes:
            for part in (self.vqgan.encoder, self.vqgan.quant_conv, self.vqgan.quantize):
                part.requires_grad_(False)
        elif isinstance(self.vqgan.quantize, Nearest):
            chosen = settings.codebook
            self.codebook = Codebook(
                shape.n_embed,
                shape.embed_dim,
                begin=chosen.begin,
                reseed_every=chosen.reseed_every,
                decay=chosen.decay,
                averages=chosen.learning == "average",
            )
            self.codebook.total.copy_(
                self.vqgan.quantize.embedding.weight.detach()
            )  # averages continue from the existing ones
        if settings.adversary.weight:
            a = settings.adversary
            self.adversary = PatchDiscriminator(a.width, a.layers, act_norm=a.act_norm)

    def forward(self, x: Tensor, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Pixels in [-1, 1] -> the same from codes, the codebook's loss, the codes."""
        z, quantize = self.vqgan.latents(x), self.vqgan.quantize
        if self.keeps_codes:
            codes = quantize.codes(z)
            return self.vqgan.reconstruct(quantize.look_up(codes)), z.new_zeros(()), codes
        if isinstance(quantize, Gumbel):
            quantized, loss, codes = self._softly(quantize, z, step)
        else:
            quantized, loss, codes = self._nearest(quantize, z, step)
        return self.vqgan.reconstruct(quantized), loss, codes

    def _nearest(self, quantize: Nearest, z: Tensor, step: int) -> tuple[Tensor, Tensor, Tensor]:
        z = quantize.prepare(z)
        codes = quantize.codes(z)
        if self.training:
            self.codebook.watch(z, codes)
            if step < self.settings.codebook.begin:  # held-out pictures are judged by their codes all the same
                return z, z.new_zeros(()), codes
        quantized = quantize.look_up(codes)
        loss = self.settings.commitment * care.commitment(z, quantized)
        if self.settings.codebook.learning == "gradient":
            loss = loss + self.settings.attraction * care.attraction(z, quantized)
        return care.straight_through(z, quantized), loss, codes

    def _softly(self, quantize: Gumbel, z: Tensor, step: int) -> tuple[Tensor, Tensor, Tensor]:
        logits = quantize.proj(z)
        codes = logits.argmax(1)
        if not self.training:
            return quantize.look_up(codes), z.new_zeros(()), codes
        drawn = F.gumbel_softmax(logits, tau=self._temperature(step), dim=1, hard=True)
        quantized = torch.einsum("bnhw,nd->bdhw", drawn, quantize.embed.weight)
        use = logits.float().softmax(1)
        uneven = (use * (use * logits.shape[1] + 1e-10).log()).sum(1).mean()
        return quantized, self.settings.kl_weight * uneven, codes

    def _temperature(self, step: int) -> float:
        s = self.settings
        return float(s.temperature * (s.cold / s.temperature) ** min(1.0, step / s.cooling))


class VqganRecipe:
    """One turn for the VQGAN, one for its adversary."""

    def __init__(self, settings: RecipeSettings) -> None:
        self.settings = settings
        if settings.tune == "decoder" and settings.start is None:
            raise T2IError("there is no decoder to tune", "name the VQGAN it belongs to: -o start=runs/vqgan/model")
        self.model = Trainee(settings)
        self.metric = settings.perceptual.load() if settings.perceptual_weight else None

    def frozen(self) -> Sequence[Frozen]:
        return ()

    def dataset(self, data: PreparedDataset, split: str, encoded: Mapping[str, Tensor]) -> Samples[Any]:
        return Squares(data, self.model.shape.resolution, at_random=split == "train")

    def turns(self) -> Sequence[Turn]:
        if any(isinstance(parameter, DTensor) for parameter in self.model.parameters()):
            raise T2IError("a VQGAN cannot be trained with fsdp", "use --strategy ddp")
        if isinstance(self.model.vqgan.quantize, Nearest) and self.settings.codebook.learning == "average":
            self.model.vqgan.quantize.requires_grad_(False)
        trained = [parameter for parameter in self.model.vqgan.parameters() if parameter.requires_grad]
        hidden = self.model.vqgan.decoder.hidden
        groups = [ParamGroup(hidden, hidden=True)] if hidden else []
        groups.append(ParamGroup(weights.besides(trained, hidden)))
        turns = [Turn("codec", groups, self.codec_loss, after=self._after)]
        if self.settings.adversary.weight:
            judge = ParamGroup(list(self.model.adversary.parameters()))
            turns.append(Turn("adversary", [judge], self.adversary_loss))
        return turns

    def _after(self) -> None:
        quantize = self.model.vqgan.quantize
        if isinstance(quantize, Nearest) and not self.model.keeps_codes:
            self.model.codebook.step(quantize)

    def codec_loss(self, images: Tensor, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Pictures in [0, 1]: L1 + squares + perceptual + codebook, and later what the adversary says."""
        back, codebook, codes = self.model(2 * images - 1, step)
        pixels = (back + 1) / 2
        apart = 2 * images - 1 - back
        l1 = apart.abs().mean()
        figures: dict[str, Tensor | float] = {
            "l1": l1,
            "psnr": psnr(images, pixels.detach().clamp(0, 1)).mean(),
            "codebook": codebook,
        }
        unlike = l1
        if self.metric is not None:
            distance = self.metric.distance(images, pixels).mean()
            figures[self.metric.name] = distance
            unlike = l1 + self.settings.perceptual_weight * distance
        if self.settings.squared_weight:
            unlike = unlike + self.settings.squared_weight * apart.square().mean()
        figures["codes"] = care.used(codes, self.model.shape.n_embed)
        loss = unlike + codebook
        if self.settings.adversary.weight and torch.is_grad_enabled():
            fooled, pull = self._adversary_says(back, unlike) if self._has_adversary(step) else (0.0, 0.0)
            loss = loss + self.settings.adversary.weight * pull * fooled
            figures |= {"fooled": fooled, "heed": pull}
        return loss, {name: torch.as_tensor(value).detach() for name, value in figures.items()}

    def _adversary_says(self, back: Tensor, unlike: Tensor) -> tuple[Tensor, Tensor]:
        """How far it is not fooled, and how much that should weigh."""
        fooled = -self.model.adversary(back).mean()
        return fooled, heed(unlike, fooled, self.model.vqgan.decoder.last.weight)

    def adversary_loss(self, images: Tensor, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        if not self._has_adversary(step):
            sums = (parameter.sum() for parameter in self.model.adversary.parameters())
            idle = sum(sums, images.new_zeros(())) * 0.0
            return idle, {"real": idle.detach(), "fake": idle.detach()}
        with torch.no_grad():
            z = self.model.vqgan.latents(2 * images - 1)
            codes = self.model.vqgan.quantize.codes(z)
            back = self.model.vqgan.reconstruct(self.model.vqgan.quantize.look_up(codes))
        real, fake = self.model.adversary(2 * images - 1), self.model.adversary(back)
        return hinge(real, fake), {"real": real.detach().mean(), "fake": fake.detach().mean()}

    def _has_adversary(self, step: int) -> bool:
        return self.settings.adversary.weight > 0 and step >= self.settings.adversary.start

    def preview(self, batch: Tensor, *, seed: int) -> Sequence[Image]:
        """Originals, then what their codes show."""
        some = batch[:4]
        codes = self.model.vqgan.to_codes(some)
        return to_images(torch.cat([some, self.model.vqgan.to_images(codes)]))

    def save(self, folder: Path) -> None:
        shape = self.model.shape
        weights.save(self.model.vqgan, folder)
        about = f"{shape.quantizer} f{shape.factor}, {shape.n_embed} codes, {shape.resolution} px"
        config = dict(msgspec.to_builtins(shape))
        models.seal(folder, Card(kind="codec", backend="vqgan", about=about, config=config))
