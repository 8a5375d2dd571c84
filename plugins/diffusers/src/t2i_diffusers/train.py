"""Training a LoRA: a few small matrices beside the layers of a denoiser, which itself stays as it is."""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL.Image import Image
from torch import Tensor, nn
from torch.utils.data import Dataset

from t2i_diffusers import Settings, estimate, lora, schedulers, steps
from t2i_diffusers.families import Family, family
from t2i_diffusers.libraries import quiet
from t2i_diffusers.load import load_pipeline
from t2icli.contract.recipes import Figures, Frozen, ParamGroup, Samples, Turn
from t2icli.data.dataset import PreparedDataset
from t2icli.ground.errors import T2IError
from t2icli.ground.watch import unwatched
from t2icli.nn import devices
from t2icli.nn.pixels import Squares
from t2icli.store import models
from t2icli.store.models import Card
from t2icli.training.captions import Captions

if TYPE_CHECKING:
    from t2i_diffusers import LoraRecipeSettings

Batch = Mapping[str, Tensor]


class Adapter(nn.Module):
    """The LoRA's matrices alone, so that a checkpoint is small. The base they act in lies outside."""

    def __init__(self, denoiser: nn.Module, kind: Family) -> None:
        super().__init__()
        self.kind = kind
        for name, parameter in denoiser.named_parameters():
            if parameter.requires_grad:
                self.register_parameter(name.replace(".", "/"), parameter)

    def forward(self, latents: Tensor, encodings: Tensor) -> Tensor:
        return self.kind.loss(latents, encodings)


class LoraRecipe:
    without_caption = lora.WITHOUT_CAPTION

    def __init__(self, settings: LoraRecipeSettings) -> None:
        if importlib.util.find_spec("peft") is None:
            raise T2IError("LoRAs need the package peft, which is not installed", "run: t2i install peft")
        if lora.BASE in settings.base.bases:
            link = settings.base.card.links[lora.BASE]
            raise T2IError(f"{settings.base.name!r} is a LoRA itself", f"use its base: {link}")
        self.settings, self.base = settings, settings.base
        self.device = devices.pick_device("auto")
        precision = devices.pick_precision(settings.base_precision, self.device)
        estimate.check(settings, self.device)
        opened = Settings(model=self.base, quantize=settings.quantize)
        self.pipeline = load_pipeline(opened, torch.device("cpu"), precision)
        self.kind = family(self.pipeline, type(self.pipeline).__name__)
        self.name = "unet" if hasattr(self.pipeline, "unet") else "transformer"
        self.denoiser = self._prepared(getattr(self.pipeline, self.name))
        self.model = Adapter(self.denoiser, self.kind)
        for network in self.pipeline.components.values():
            if isinstance(network, nn.Module) and network is not self.denoiser:
                network.to(self.device)  # the denoiser follows when the text encoders have gone

    def _prepared(self, denoiser: Any) -> Any:
        """The denoiser with fresh matrices of the LoRA, which alone are to be trained."""
        for network in (value for value in self.pipeline.components.values() if isinstance(value, nn.Module)):
            network.requires_grad_(False)
        lora.adapt(denoiser, self.settings.rank, self.settings.targets or self.kind.targets)
        for parameter in denoiser.parameters():
            if parameter.requires_grad:  # in fp32, whatever the base is in
                parameter.data = parameter.data.float()
        if self.settings.checkpointing:
            denoiser.enable_gradient_checkpointing()
        return denoiser

    def frozen(self) -> Sequence[Frozen]:
        s, base = self.settings, self.base.sha256
        return [
            Frozen("latents", f"{base} {s.pixels}", partial(Squares, size=s.pixels), self.encode_images),
            Frozen(
                "texts", f"{base} {s.text_length}", partial(Captions, hint="write one beside each"), self.encode_texts
            ),
        ]

    @torch.inference_mode()
    def encode_images(self, images: Tensor) -> Tensor:
        return torch.cat([self.kind.encode_images(one[None].to(self.device)) for one in images])

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        with quiet():
            return torch.cat([self.kind.encode_texts([text], self.settings.text_length) for text in texts])

    def dataset(self, data: PreparedDataset, split: str, encoded: Mapping[str, Tensor]) -> Samples[Any]:
        return LatentTextPairs(data, encoded, at_random=split == "train")

    def turns(self) -> Sequence[Turn]:
        """The text encoders have done their work and leave the memory."""
        for name in [name for name in self.pipeline.components if name.startswith("text_encoder")]:
            setattr(self.pipeline, name, None)
        self.device = next(self.model.parameters()).device
        self.pipeline.to(self.device)
        return [Turn("lora", [ParamGroup(list(self.model.parameters()))], self.loss)]

    def loss(self, batch: Batch, step: int) -> tuple[Tensor, Figures]:
        return self.model(batch["latents"].float(), batch["texts"].float()), {}

    def preview(self, batch: Batch, *, seed: int) -> Sequence[Image]:
        """What is drawn for the texts, without guidance."""
        self.pipeline.progress_bar = partial(steps.Bar, unwatched)
        return [self._drawn(text[None].float().to(self.device), seed + i) for i, text in enumerate(batch["texts"][:4])]

    def _drawn(self, encodings: Tensor, seed: int) -> Image:
        self.pipeline.scheduler = schedulers.new(self.pipeline.scheduler, "auto")
        side = self.settings.pixels
        with quiet():
            drawn = self.pipeline(
                **self.kind.call(encodings),
                height=side,
                width=side,
                num_inference_steps=self.settings.preview_steps,
                generator=torch.Generator().manual_seed(seed),
            )
        image: Image = drawn.images[0].convert("RGB")
        return image

    def save(self, folder: Path) -> None:
        """One file, as diffusers and other programs read it, and on the card the base that it belongs to."""
        from peft.utils import get_peft_model_state_dict

        state = {name: value.detach().cpu() for name, value in get_peft_model_state_dict(self.denoiser).items()}
        self.pipeline.save_lora_weights(folder, **{f"{self.name}_lora_layers": state})
        about = f"LoRA of rank {self.settings.rank} for {self.base.name}"
        links = {lora.BASE: self.base.name}
        models.seal(folder, Card(kind="generator", backend="diffusers", about=about, links=links))


class LatentTextPairs(Dataset[dict[str, Tensor]]):
    """The latents of a picture, and the encoding of one of its captions; zeros where it has none."""

    def __init__(self, data: PreparedDataset, encoded: Mapping[str, Tensor], *, at_random: bool) -> None:
        self.latents, self.texts, self.at_random = encoded["latents"], encoded["texts"], at_random
        self.counts = [len(data.captions(i)) for i in range(len(data))]
        self.first = [0, *accumulate(self.counts)]

    def __len__(self) -> int:
        return len(self.latents)

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        return {"latents": self.latents[i], "texts": self._text(i)}

    def _text(self, i: int) -> Tensor:
        if not self.counts[i]:
            nothing = torch.zeros_like(self.texts[0])
            nothing[0, -1] = 1  # one row, of zeros: attention needs something to look at
            return nothing
        return self.texts[self.first[i] + (random.randrange(self.counts[i]) if self.at_random else 0)]
