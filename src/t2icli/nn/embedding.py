"""What all dual encoders share around their towers: batches in, unit vectors out."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from t2icli.ground.batches import batched
from t2icli.ground.errors import T2IError
from t2icli.nn.blocks import by_themselves
from t2icli.nn.devices import pick_precision

T = TypeVar("T")
ReportCut = Callable[[str, int, int], None]
"""Called for a text that is too long: the text, how many tokens it has, how many the model reads."""


def report_prompt(text: str, length: int, most: int) -> None:
    shown = text if len(text) <= 40 else text[:40] + "..."
    warnings.warn(f"prompt '{shown}' has {length} tokens and was cut to the {most} the model reads", stacklevel=2)


def report_captions(text: str, length: int, most: int) -> None:
    """The same message for every caption, so that training shows it once."""
    warnings.warn(f"captions of more than {most} tokens are cut", stacklevel=2)


def finite(features: Tensor, owner: str) -> Tensor:
    """Features in fp32; a broken checkpoint is refused rather than ranked with."""
    if not torch.isfinite(features).all():
        raise T2IError(
            f"{owner} returned features that are not finite",
            "the weights are damaged or training diverged: import or train the model again",
            code=1,
        )
    return features.float()


def unit(features: Tensor, owner: str) -> Tensor:
    return F.normalize(finite(features, owner), dim=-1)


@dataclass(frozen=True)
class Runner:
    """Runs a tower over many items and collects its features on the CPU, as unit vectors.

    None depends on the others: see `nn.blocks`.
    """

    owner: str
    """Named in the error about features that are not finite."""
    width: int
    batch: int
    """Items prepared at once, and on a GPU also computed at once."""
    device: torch.device
    precision: str = "auto"

    def __call__(
        self,
        items: Sequence[T],
        prepare: Callable[[T], tuple[Tensor, ...]],
        encode: Callable[..., Tensor],
        *,
        finish: Callable[[Tensor, str], Tensor] = unit,
    ) -> Tensor:
        """(n, width): `prepare` makes the tower's inputs of one item, `encode` the features of a stacked batch."""

        def compute(*inputs: Tensor) -> Tensor:
            with torch.inference_mode(), autocast(self.device, self.precision):
                return finish(encode(*(column.to(self.device) for column in inputs)), self.owner).cpu()

        parts = [torch.empty(0, self.width)]
        with torch.inference_mode(), ThreadPoolExecutor() as pool:
            for some in batched(items, self.batch):
                columns = [torch.stack(column) for column in zip(*pool.map(prepare, some), strict=True)]
                parts.append(by_themselves(compute, columns, self.device, self.batch))
        return torch.cat(parts)


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The number format of the forward pass."""
    return torch.autocast(device.type, torch.bfloat16, enabled=autocast_precision(precision, device) == "bf16")


def autocast_precision(precision: str, device: torch.device) -> str:
    """The number format's name: `auto` is fp32 on a CPU, where scores stay exact, and bf16 on a GPU that has it."""
    return "fp32" if precision == "auto" and device.type == "cpu" else pick_precision(precision, device)
