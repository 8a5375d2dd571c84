"""The memory a pipeline needs, against what is free; computed from the headers of its files before any is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from t2i_diffusers.folder import PipelineFolder, numbers
from t2icli.ground import memory
from t2icli.ground.errors import T2IError

if TYPE_CHECKING:
    import torch

    from t2i_diffusers import Settings

BYTES = {"fp32": 4.0, "bf16": 2.0, "fp16": 2.0}
DENOISERS = ("transformer", "unet", "prior", "transformer_2")
SMALL = 500_000_000
"""Bytes that are not worth a warning."""


@dataclass(frozen=True)
class Need:
    """The weights of a pipeline, and how they are to be held."""

    parts: dict[str, int]
    """Numbers of each component."""
    precision: str
    quantize: str = "none"
    offload: str = "none"
    gguf: int | None = None
    """Bytes of the file in place of the denoiser's weights."""

    def held(self) -> dict[str, float]:
        """Bytes of each component."""
        return {name: count * self._each(name) for name, count in self.parts.items()}

    def bytes(self) -> int:
        held = self.held()
        if self.gguf is not None:
            held |= {name: float(self.gguf) for name in held if name in DENOISERS}
        if self.offload == "group":  # a layer or two at a time
            return int(max(held.values(), default=0) / 10)
        return int(max(held.values(), default=0) if self.offload == "model" else sum(held.values()))

    def _each(self, name: str) -> float:
        return 1.05 if self.quantize == "int8" and name != "vae" else BYTES[self.precision]

    def smaller(self, on_gpu: bool) -> Iterator[tuple[str, Need]]:
        """Flags that make it smaller, each with what is needed then."""
        if self.precision == "fp32" and self.quantize == "none":
            yield "-o precision=bf16", replace(self, precision="bf16")
        if self.quantize == "none":
            yield "-o quantize=int8", replace(self, quantize="int8")
        if on_gpu and self.offload == "none":
            yield "-o offload=model", replace(self, offload="model")
        if on_gpu and self.offload != "group":
            yield "-o offload=group", replace(self, offload="group")
        if self.gguf is None:
            largest = max((count for name, count in self.parts.items() if name in DENOISERS), default=0)
            fewer_bits = replace(self, gguf=int(largest * 0.6))
            yield "-o gguf=FILE of 4 bits", fewer_bits
            if self.quantize == "none":
                yield "-o quantize=int8 -o gguf=FILE of 4 bits", replace(fewer_bits, quantize="int8")


def need(repository: PipelineFolder, settings: Settings, precision: str) -> Need:
    parts = {
        component.name: sum(count for path in component.weights()[1] for count in numbers(path).values())
        for component in repository.components
    }
    file = settings.gguf.stat().st_size if settings.gguf is not None and settings.gguf.is_file() else None
    return Need(parts, precision, settings.quantize, settings.offload, file)


def check(wanted: Need, device: torch.device) -> None:
    """Refuse what cannot fit, with flags that would make it fit."""
    there = free(device)
    if there is None or wanted.bytes() < SMALL or wanted.bytes() <= there:
        return
    where = "the GPU" if device.type == "cuda" else "this machine"
    helpful = sorted(wanted.smaller(device.type == "cuda"), key=lambda each: each[1].bytes() > there)  # what fits first
    flags = [f"{flag} ({size(less.bytes())})" for flag, less in helpful[:3]]
    raise T2IError(
        f"the weights need {size(wanted.bytes())} and {where} has {size(there)} of memory left",
        f"use one or several of: {', '.join(flags)}; or a smaller model: t2i models list",
        code=1,
    )


def free(device: torch.device) -> int | None:
    if device.type == "cuda":
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    return memory.free()


def size(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
