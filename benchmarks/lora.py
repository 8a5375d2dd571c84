"""What `t2i train lora` takes beside Z-Image, by the configurations that its networks are published with."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
from cost import Cost, Counted, Tally

from t2i_diffusers import LoraRecipeSettings, folder
from t2i_diffusers.estimate import FEW, Shadow
from t2i_diffusers.libraries import quiet
from t2i_diffusers.presets import LORA_SIZES
from t2i_diffusers.testing.shapes import BASES
from t2icli.registry import settings
from t2icli.store.models import Card, Model

NAME = "lora"
BASE = "Z-Image"
"""What the sizes are for where they do not differ by base."""
BATCHES = (1, 4)
PRECISION = "bf16"


class Lora:
    """A size's settings, and its networks without contents."""

    def __init__(self, size: str, place: Path) -> None:
        self.size = size
        self.repository = folder.open_repository(BASES[BASE].write(place))
        base = Model(place, Card(kind="generator", backend="diffusers", about=""), "any")
        values: dict[str, Any] = {"base": base, **LORA_SIZES.get(size, {})}
        self.settings = settings.convert(LoraRecipeSettings, values, NAME)

    def shadow(self, **changed: Any) -> Shadow:
        with quiet():
            return Shadow(self.repository, msgspec.structs.replace(self.settings, **changed), PRECISION)

    def counted(self) -> tuple[int, Counted, Counted]:
        """Numbers that are trained; the step without and with checkpointing."""
        # In int8 the products lie within a class of tensors that hides them; they are the same.
        flop = self._flop(self.shadow(quantize="none", checkpointing=False))
        trained, plain = self._counted(self.shadow(checkpointing=False), flop)
        return trained, plain, self._counted(self.shadow(checkpointing=True), flop)[1]

    def _counted(self, shadow: Shadow, flop: int) -> tuple[int, Counted]:
        _, latents = shadow.encoding()
        costs = {}
        for batch in BATCHES:
            set_batch(shadow, batch)
            trained, weights, peak = shadow.full(latents)
            costs[batch] = Cost(batch * flop, peak)
        copies = 4 + bool(shadow.settings.loop.ema)  # in fp32: itself, its gradient, two averages of Adam
        autoencoder = bytes_of(shadow.vae.parameters())
        return trained, Counted(weights + autoencoder + copies * 4 * trained, costs)

    def _flop(self, shadow: Shadow) -> int:
        """Of one sample: blocks that repeat are counted once and multiplied."""
        _, latents = shadow.encoding()
        set_batch(shadow, 1)
        for stack in shadow.stacks:
            stack.cut(FEW)
        few = operations(shadow, latents)
        flop = few
        for stack in shadow.stacks:
            stack.cut(FEW + 1)
            flop += (stack.length - FEW) * (operations(shadow, latents) - few)
            stack.cut(FEW)
        return flop


def set_batch(shadow: Shadow, batch: int) -> None:
    loop = msgspec.structs.replace(shadow.settings.loop, batch_size=batch, grad_accum=1)
    shadow.settings = msgspec.structs.replace(shadow.settings, loop=loop)


def operations(shadow: Shadow, latents: tuple[int, ...]) -> int:
    with Tally() as tally:
        shadow.step(latents)
    return tally.flop


def bytes_of(tensors: Iterable[Any]) -> int:
    return sum(tensor.nbytes for tensor in tensors)
