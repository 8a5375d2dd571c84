"""What differs between families in training: how texts and pictures are encoded, what the denoiser is to predict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn import functional as F

from t2i_diffusers import autoencoder
from t2i_diffusers.libraries import diffusers
from t2icli.ground.errors import T2IError

CLIP_ROWS = 77
"""Tokens of a text as Stable Diffusion XL reads it, whatever its length."""


class Family(Protocol):
    """One family's pipelines. Encodings of a text are (rows, width + 1): the last number marks what is not padding."""

    targets: tuple[str, ...]
    """The layers that a LoRA changes, by the ends of their names."""

    def encode_texts(self, texts: Sequence[str], length: int) -> Tensor: ...
    def text_shape(self, length: int) -> tuple[int, int]:
        """Rows and width of a text's encoding, without encoding one."""
        ...

    def encode_images(self, images: Tensor) -> Tensor:
        """(b, 3, h, w) in [0, 1] -> latents as the denoiser sees them, of mean 0 and size 1."""
        ...

    def loss(self, latents: Tensor, encodings: Tensor) -> Tensor: ...
    def call(self, encodings: Tensor) -> dict[str, Any]:
        """The pipeline's arguments for one text, (1, rows, width + 1)."""
        ...


def family(pipeline: Any, kind: str) -> Family:
    """That of a pipeline of this class; others than these cannot be trained."""
    if kind not in FAMILIES:
        raise T2IError(
            f"LoRAs cannot be trained here for {kind}", f"the base must be one of: {', '.join(sorted(FAMILIES))}"
        )
    family: Family = FAMILIES[kind](pipeline)
    return family


def marked(rows: Tensor, mask: Tensor, length: int) -> Tensor:
    """(b, n, width) with its mask as one more number, cut or padded to `length` rows."""
    packed = torch.cat([rows.float(), mask[..., None].float()], dim=-1) * mask[..., None].float()
    return F.pad(packed, (0, 0, 0, max(0, length - packed.shape[1])))[:, :length]


def noised(latents: Tensor, shift: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    """Latents on the way to noise, how far each is, and the velocity there: the loss of flow matching."""
    sigma = torch.randn(len(latents), device=latents.device).sigmoid()  # the middle of the way is hardest
    sigma = shift * sigma / (1 + (shift - 1) * sigma)
    noise = torch.randn_like(latents)
    return torch.lerp(latents, noise, sigma.reshape(-1, 1, 1, 1)), sigma, noise - latents


@dataclass
class ZImage:
    pipeline: Any
    targets: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0")

    def encode_texts(self, texts: Sequence[str], length: int) -> Tensor:
        encodings, _ = self.pipeline.encode_prompt(
            list(texts), do_classifier_free_guidance=False, max_sequence_length=length
        )
        return torch.cat([marked(one[None], torch.ones(1, len(one), device=one.device), length) for one in encodings])

    def text_shape(self, length: int) -> tuple[int, int]:
        return length, self.pipeline.transformer.config.cap_feat_dim + 1

    def encode_images(self, images: Tensor) -> Tensor:
        return autoencoder.encode(self.pipeline.vae, images)

    def loss(self, latents: Tensor, encodings: Tensor) -> Tensor:
        noisy, sigma, velocity = noised(latents, self.pipeline.scheduler.config.get("shift") or 1.0)
        dtype = self.pipeline.transformer.dtype
        rows = list(noisy.to(dtype).unsqueeze(2).unbind())
        predicted = self.pipeline.transformer(rows, 1 - sigma, self._texts(encodings), return_dict=False)[0]
        return F.mse_loss(-torch.stack(list(predicted)).squeeze(2).float(), velocity)

    def call(self, encodings: Tensor) -> dict[str, Any]:
        return {"prompt_embeds": self._texts(encodings), "guidance_scale": 0.0}

    def _texts(self, encodings: Tensor) -> list[Tensor]:
        dtype = self.pipeline.transformer.dtype
        return [one[:rows, :-1].to(dtype) for one, rows in zip(encodings, _lengths(encodings), strict=True)]


@dataclass
class QwenImage:
    pipeline: Any
    targets: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj")

    def encode_texts(self, texts: Sequence[str], length: int) -> Tensor:
        encodings = [self.pipeline.encode_prompt([text], max_sequence_length=length) for text in texts]
        masks = [torch.ones(rows.shape[:2], device=rows.device) if mask is None else mask for rows, mask in encodings]
        return torch.cat([marked(rows, mask, length) for (rows, _), mask in zip(encodings, masks, strict=True)])

    def text_shape(self, length: int) -> tuple[int, int]:
        return length, self.pipeline.transformer.config.joint_attention_dim + 1

    def encode_images(self, images: Tensor) -> Tensor:
        return autoencoder.encode(self.pipeline.vae, images)

    def loss(self, latents: Tensor, encodings: Tensor) -> Tensor:
        noisy, sigma, velocity = noised(latents)
        transformer, (height, width) = self.pipeline.transformer, latents.shape[2:]
        rows, mask = _rows(encodings)
        predicted = transformer(
            hidden_states=self._packed(noisy).to(transformer.dtype),
            timestep=sigma.to(transformer.dtype),
            encoder_hidden_states=rows.to(transformer.dtype),
            encoder_hidden_states_mask=mask,
            img_shapes=[[(1, height // 2, width // 2)]] * len(latents),
            return_dict=False,
        )[0]
        return F.mse_loss(predicted.float(), self._packed(velocity))

    def call(self, encodings: Tensor) -> dict[str, Any]:
        rows, mask = _rows(encodings)
        return {
            "prompt_embeds": rows.to(self.pipeline.transformer.dtype),
            "prompt_embeds_mask": mask,
            "true_cfg_scale": 1.0,
        }

    def _packed(self, latents: Tensor) -> Tensor:
        packed: Tensor = self.pipeline._pack_latents(latents, *latents.shape)
        return packed


@dataclass
class Flux2Klein:
    pipeline: Any
    targets: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0", "to_qkv_mlp_proj")

    def encode_texts(self, texts: Sequence[str], length: int) -> Tensor:
        rows, _ = self.pipeline.encode_prompt(list(texts), max_sequence_length=length)
        return marked(rows, torch.ones(rows.shape[:2], device=rows.device), length)

    def text_shape(self, length: int) -> tuple[int, int]:
        return length, self.pipeline.transformer.config.joint_attention_dim + 1

    def encode_images(self, images: Tensor) -> Tensor:
        return autoencoder.encode(self.pipeline.vae, images)

    def loss(self, latents: Tensor, encodings: Tensor) -> Tensor:
        noisy, sigma, velocity = noised(latents)
        transformer, rows = self.pipeline.transformer, encodings[..., :-1]
        ids = self.pipeline._prepare_latent_ids(latents).to(latents.device)
        predicted = transformer(
            hidden_states=noisy.flatten(2).transpose(1, 2).to(transformer.dtype),
            timestep=sigma.to(transformer.dtype),
            guidance=None,
            encoder_hidden_states=rows.to(transformer.dtype),
            txt_ids=self.pipeline._prepare_text_ids(rows).to(latents.device),
            img_ids=ids,
            return_dict=False,
        )[0]
        return F.mse_loss(predicted.float(), velocity.flatten(2).transpose(1, 2))

    def call(self, encodings: Tensor) -> dict[str, Any]:
        return {"prompt_embeds": encodings[..., :-1].to(self.pipeline.transformer.dtype), "guidance_scale": 1.0}


@dataclass
class StableDiffusionXL:
    """Learns to predict the noise, or what else the scheduler's configuration names."""

    pipeline: Any
    targets: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0")

    def __post_init__(self) -> None:
        self.pooled = int(self.pipeline.text_encoder_2.config.projection_dim)

    def encode_texts(self, texts: Sequence[str], length: int) -> Tensor:
        rows, _, pooled, _ = self.pipeline.encode_prompt(list(texts), do_classifier_free_guidance=False)
        last = F.pad(pooled, (0, rows.shape[-1] - pooled.shape[-1]))[:, None]
        both = torch.cat([rows, last], dim=1)
        return marked(both, torch.ones(both.shape[:2], device=both.device), both.shape[1])

    def text_shape(self, length: int) -> tuple[int, int]:
        return CLIP_ROWS + 1, self.pipeline.unet.config.cross_attention_dim + 1

    def encode_images(self, images: Tensor) -> Tensor:
        return autoencoder.encode(self.pipeline.vae, images)

    def loss(self, latents: Tensor, encodings: Tensor) -> Tensor:
        schedule = diffusers.DDPMScheduler.from_config(self.pipeline.scheduler.config)
        times = torch.randint(schedule.config.num_train_timesteps, (len(latents),), device=latents.device)
        noise = torch.randn_like(latents)
        noisy = schedule.add_noise(latents, noise, times)
        unet, (rows, pooled) = self.pipeline.unet, self._parts(encodings)
        side = latents.shape[-1] * self.pipeline.vae_scale_factor
        shape = torch.tensor([side, side, 0, 0, side, side], device=latents.device, dtype=unet.dtype)
        predicted = unet(
            noisy.to(unet.dtype),
            times,
            encoder_hidden_states=rows,
            added_cond_kwargs={"text_embeds": pooled, "time_ids": shape.expand(len(latents), -1)},
            return_dict=False,
        )[0]
        aims = {"epsilon": noise, "sample": latents}
        kind = schedule.config.prediction_type
        return F.mse_loss(
            predicted.float(), aims[kind] if kind in aims else schedule.get_velocity(latents, noise, times)
        )

    def call(self, encodings: Tensor) -> dict[str, Any]:
        rows, pooled = self._parts(encodings)
        return {"prompt_embeds": rows, "pooled_prompt_embeds": pooled, "guidance_scale": 1.0}

    def _parts(self, encodings: Tensor) -> tuple[Tensor, Tensor]:
        both = encodings[..., :-1].to(self.pipeline.unet.dtype)
        return both[:, :-1], both[:, -1, : self.pooled]


def _rows(encodings: Tensor) -> tuple[Tensor, Tensor]:
    """Texts without the padding that none of them needs, and their mask."""
    longest = max(_lengths(encodings))
    return encodings[:, :longest, :-1], (encodings[:, :longest, -1] > 0).long()


def _lengths(encodings: Tensor) -> list[int]:
    """Rows of each text that are not padding; all of them where only shapes are known."""
    if isinstance(encodings, FakeTensor):
        return [encodings.shape[1]] * len(encodings)
    lengths: list[int] = (encodings[..., -1] > 0).sum(1).tolist()
    return lengths


FAMILIES: dict[str, Any] = {
    "ZImagePipeline": ZImage,
    "QwenImagePipeline": QwenImage,
    "Flux2KleinPipeline": Flux2Klein,
    "StableDiffusionXLPipeline": StableDiffusionXL,
}
