"""Where to compute, and in which number format."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

from t2icli.ground.errors import T2IError
from t2icli.nn import int8


def pick_device(word: str) -> torch.device:
    """`auto` is the GPU if there is one; a GPU asked for by name that is not there is an error."""
    if word == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if _has_mps() else "cpu")
    try:
        device = torch.device(word)
    except RuntimeError as error:
        raise T2IError(f"there is no kind of device called {word!r}", "known: auto, cpu, cuda, cuda:1, mps") from error
    missing = (device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()) or (
        device.type == "mps" and not _has_mps()
    )
    if missing:
        raise T2IError(f"device {word!r} is not available", "omit it, or use cpu")
    return device


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Compute with this many threads, for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def place(model: nn.Module, precision: str, word: str) -> str:
    """Move a loaded model to its device and into its number format, to be drawn from; returns the format's name."""
    device = pick_device(word)
    model.to(device, pick_dtype(precision, device))
    if precision == "int8":
        int8.quantize(model, device)
    return pick_precision(precision, device)


def pick_precision(precision: str, device: torch.device) -> str:
    """The name of the number format: what `auto` is here."""
    if precision != "auto":
        return precision
    return "bf16" if pick_dtype(precision, device) == torch.bfloat16 else "fp32"


def pick_dtype(precision: str, device: torch.device) -> torch.dtype:
    """`auto` is bf16 wherever the processor computes in it rather than imitating it."""
    if precision == "auto":
        return torch.bfloat16 if has_bf16(device) else torch.float32
    return torch.bfloat16 if precision == "bf16" else torch.float32


def has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        # Private until torch offers a public question; without an answer fp32 is right everywhere.
        return any(getattr(torch.cpu, name, bool)() for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return False


def memory_of(device: torch.device) -> int:
    """Bytes that a GPU has in all."""
    return int(torch.cuda.get_device_properties(device).total_memory)


def _has_mps() -> bool:
    return torch.backends.mps.is_available()


def halved(batch: int, error: Exception) -> int:
    """A smaller batch after the GPU ran out of memory; one that cannot be smaller is an error."""
    if batch == 1:
        raise T2IError("the GPU has not enough memory for a single image", "use --device cpu", code=1) from error
    torch.cuda.empty_cache()
    return batch // 2
