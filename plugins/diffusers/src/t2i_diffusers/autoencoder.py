"""Autoencoders of diffusers: pictures to latents as denoisers see them, and back; each alone as a codec of latents."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from t2i_diffusers import folder
from t2i_diffusers.folder import Component
from t2i_diffusers.libraries import diffusers, quiet
from t2i_diffusers.load import DAMAGED, default_dtype_kept, first_line, refuse_missing
from t2icli.ground.errors import T2IError
from t2icli.nn.blocks import by_themselves
from t2icli.nn.devices import pick_device

if TYPE_CHECKING:
    from t2i_diffusers import AutoencoderSettings


def encode(vae: Any, images: Tensor) -> Tensor:
    """(b, 3, h, w) in [0, 1] -> (b, c, rows, columns), of mean 0 and size 1 where the autoencoder says how."""
    encoded = vae.encode(_framed(vae, (images * 2 - 1).to(vae.dtype)))
    latents: Tensor = encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latent
    if hasattr(vae, "bn"):
        mean, std = _of_patches(vae)
        return (_patches(latents.float()) - mean) / std
    return _flat(vae, _scaled(vae.config, latents.float()))


def decode(vae: Any, latents: Tensor) -> Tensor:
    """The inverse, for (b, c, rows, columns) or with one frame of time between; about [0, 1]."""
    if hasattr(vae, "bn"):  # FLUX.2: patches are normalised by the statistics of training
        mean, std = _of_patches(vae)
        latents = _from_patches(latents * std + mean)
    else:
        latents = _unscaled(vae.config, _framed(vae, latents))
    pixels: Tensor = _flat(vae, vae.decode(latents.to(vae.dtype), return_dict=False)[0])
    return pixels[:, :3].float() / 2 + 0.5


def _framed(vae: Any, tensor: Tensor) -> Tensor:
    """With one frame, for networks that know of time."""
    return tensor[:, :, None] if tensor.ndim == 4 and _has_time(vae) else tensor


def _flat(vae: Any, tensor: Tensor) -> Tensor:
    return tensor[:, :, 0] if tensor.ndim == 5 and _has_time(vae) else tensor


def _has_time(vae: Any) -> bool:
    return "temperal_downsample" in vae.config


def _of_patches(vae: Any) -> tuple[Tensor, Tensor]:
    std = torch.sqrt(vae.bn.running_var + vae.config.batch_norm_eps)
    return vae.bn.running_mean.reshape(1, -1, 1, 1).float(), std.reshape(1, -1, 1, 1).float()


def _patches(latents: Tensor) -> Tensor:
    """(b, c, 2 h, 2 w) -> (b, 4 c, h, w)."""
    return torch.nn.functional.pixel_unshuffle(latents, 2)


def _from_patches(latents: Tensor) -> Tensor:
    return torch.nn.functional.pixel_shuffle(latents, 2)


def _scaled(config: Any, latents: Tensor) -> Tensor:
    mean, std = _statistics(config, latents)
    scale = config.get("scaling_factor") or 1.0
    if mean is None or std is None:
        return (latents - (config.get("shift_factor") or 0.0)) * scale
    return (latents - mean) / std * scale


def _unscaled(config: Any, latents: Tensor) -> Tensor:
    mean, std = _statistics(config, latents)
    scale = config.get("scaling_factor") or 1.0
    if mean is None or std is None:
        return latents / scale + (config.get("shift_factor") or 0.0)
    return latents * std / scale + mean


def _statistics(config: Any, latents: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """Of each channel, where the configuration has them."""
    mean, std = config.get("latents_mean"), config.get("latents_std")
    if mean is None or std is None:
        return None, None
    shape = (1, -1, *[1] * (latents.ndim - 2))
    return torch.tensor(mean).reshape(shape).to(latents), torch.tensor(std).reshape(shape).to(latents)


class Autoencoder:
    """A codec without codes: every picture is computed by itself."""

    def __init__(self, vae: Any, size: tuple[int, int], batch: int, device: torch.device) -> None:
        self.vae, self.size, self.batch, self.device = vae.to(device), size, batch, device
        with torch.inference_mode():
            channels, rows, columns = encode(vae, torch.zeros(1, 3, *size, device=device)).shape[1:]
            back = tuple(decode(vae, torch.zeros(1, channels, rows, columns, device=device)).shape[2:])
        if back != size:
            height, width = size
            raise T2IError(f"pictures of {width}x{height} come back as {back[1]}x{back[0]}", "set another size")
        self.latent_shape = (channels, rows, columns)

    def encode_latents(self, images: Tensor) -> Tensor:
        return self._run(encode, images, self.latent_shape)

    def decode_latents(self, latents: Tensor) -> Tensor:
        return self._run(decode, latents, (3, *self.size)).clamp(0, 1)

    def _run(self, compute: Any, items: Tensor, shape: tuple[int, int, int]) -> Tensor:
        if not len(items):
            return torch.zeros(0, *shape, device=items.device)

        def run(part: Tensor) -> Tensor:
            with torch.inference_mode():
                result: Tensor = compute(self.vae, part.to(self.device)).float()
                return result

        return by_themselves(run, [items], self.device, self.batch).to(items.device)


def load(settings: AutoencoderSettings) -> Autoencoder:
    place = folder.locate(settings.model, settings.source)
    if (place / folder.INDEX).is_file():
        place = place / "vae"
    kind = folder.autoencoder_class(place)
    cls = getattr(diffusers, kind, None)
    if cls is None:
        raise T2IError(
            f"'{place}' needs {kind}, which diffusers does not have", "update it: t2i install --upgrade diffusers"
        )
    variant, _ = Component("vae", "diffusers", kind, place).weights()
    with quiet(), default_dtype_kept():
        try:
            vae, report = cls.from_pretrained(
                place, variant=variant, local_files_only=True, use_safetensors=True, output_loading_info=True
            )
        except DAMAGED as error:
            raise T2IError(f"'{place}' cannot be loaded: {first_line(error)}", code=1) from error
    refuse_missing(Path(place), report)
    width, height = map(int, settings.size.split("x"))
    try:
        return Autoencoder(
            vae.eval().requires_grad_(False), (height, width), settings.batch, pick_device(settings.device)
        )
    except RuntimeError as error:
        raise T2IError(f"{kind} cannot encode pictures of {settings.size}: {first_line(error)}") from error
