"""A network that maps images to codes and back, offered as a codec: sizes, batches, device, number format."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from t2icli.ground.errors import T2IError
from t2icli.nn import devices
from t2icli.nn.blocks import by_themselves


class Network(Protocol):
    """What the module must have, beside the methods of `nn.Module`."""

    def to_codes(self, images: Tensor) -> Tensor:
        """(b, 3, h, w) in [0, 1] -> (b, rows, columns)."""
        ...

    def to_images(self, codes: Tensor) -> Tensor:
        """(b, rows, columns) -> (b, 3, h, w), about [0, 1]."""
        ...


class LatentNetwork(Network, Protocol):
    """A network with a latent space."""

    def to_latents(self, images: Tensor) -> Tensor:
        """(b, 3, h, w) in [0, 1] -> (b, channels, rows, columns)."""
        ...

    def from_latents(self, latents: Tensor) -> Tensor:
        """(b, channels, rows, columns) -> (b, 3, h, w), about [0, 1]."""
        ...


class NetworkCodec:
    """Images of one size to a grid of codes and back."""

    def __init__(
        self,
        model: Network,
        *,
        codes: int,
        factor: int,
        size: tuple[int, int],
        batch: int = 16,
        device: str = "auto",
        precision: str = "auto",
    ) -> None:
        if min(size) < factor or size[0] % factor or size[1] % factor:
            raise T2IError(f"images of {size[0]} x {size[1]} pixels have no whole codes", f"use multiples of {factor}")
        module = cast(nn.Module, model)  # Python has no type for both
        self.codes, self.size, self.batch = codes, size, batch
        self.grid = (size[0] // factor, size[1] // factor)
        self.device = devices.pick_device(device)
        # On CPUs codes near a tie would change in bf16, and the group norm of channels-last tensors is off by 1e-4,
        # enough to change codes as well. No eye sees what bf16 changes in a picture: 59 dB for the starter's codec.
        on_cpu = self.device.type == "cpu"
        self.paints_in = devices.pick_dtype(precision, self.device)
        self.reads_in = torch.float32 if on_cpu and precision == "auto" else self.paints_in
        slips = on_cpu and any(isinstance(part, nn.GroupNorm) for part in module.modules())
        self.layout = torch.contiguous_format if slips else torch.channels_last
        module.eval().to(self.device).to(memory_format=self.layout)
        self.model = model

    def encode(self, images: Tensor) -> Tensor:
        self._check_size(images)
        if not len(images):
            return torch.zeros(0, self.grid[0] * self.grid[1], dtype=torch.long, device=images.device)
        return self._read(images, lambda part: self.model.to_codes(part).flatten(1))

    def decode(self, codes: Tensor) -> Tensor:
        rows, columns = self.grid
        if codes.ndim != 2 or codes.shape[1] != rows * columns:
            raise T2IError(f"codes of shape {tuple(codes.shape)} do not fit a grid of {rows} x {columns}")
        if not len(codes):
            return torch.zeros(0, 3, *self.size, device=codes.device)
        return self._paint(codes, lambda part: self.model.to_images(part.unflatten(1, self.grid)))

    def _check_size(self, images: Tensor) -> None:
        if tuple(images.shape[1:]) != (3, *self.size):
            raise T2IError(
                f"images of shape {tuple(images.shape[1:])} do not fit a codec of {(3, *self.size)}",
                "resize them, or set the codec's height and width",
            )

    def _read(self, images: Tensor, read: Callable[[Tensor], Tensor]) -> Tensor:
        return self._run(images, read, self.reads_in)

    def _paint(self, things: Tensor, paint: Callable[[Tensor], Tensor]) -> Tensor:
        return self._run(things, lambda part: paint(part).float().clamp(0, 1), self.paints_in)

    def _run(self, whole: Tensor, function: Callable[[Tensor], Tensor], dtype: torch.dtype) -> Tensor:
        """`function` of each item by itself; the results come back to where `whole` is."""

        def compute(part: Tensor) -> Tensor:
            here = part.to(self.device)
            laid = here.contiguous(memory_format=self.layout) if here.ndim == 4 else here
            # Both belong to a thread, and this may be another than the caller's.
            with torch.no_grad(), torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32):
                return function(laid).to(part.device)

        return by_themselves(compute, [whole], self.device, self.batch)


class LatentNetworkCodec(NetworkCodec):
    """The same with latents beside the codes."""

    model: LatentNetwork

    def __init__(self, model: LatentNetwork, *, channels: int, **more: Any) -> None:
        super().__init__(model, **more)
        self.latent_shape = (channels, *self.grid)

    def encode_latents(self, images: Tensor) -> Tensor:
        self._check_size(images)
        if not len(images):
            return torch.zeros(0, *self.latent_shape, device=images.device)
        return self._read(images, lambda part: self.model.to_latents(part).float())

    def decode_latents(self, latents: Tensor) -> Tensor:
        if tuple(latents.shape[1:]) != self.latent_shape:
            raise T2IError(f"latents of shape {tuple(latents.shape[1:])} do not fit a codec of {self.latent_shape}")
        if not len(latents):
            return torch.zeros(0, 3, *self.size, device=latents.device)
        return self._paint(latents, self.model.from_latents)
