"""Whether losses are numbers: asked at once on a CPU; on a GPU, which would wait, before anything is written."""

from __future__ import annotations

import math
import warnings
from typing import NamedTuple

import torch
from torch import Tensor

from t2icli.data.dataset import PreparedDataset
from t2icli.ground.errors import T2IError
from t2icli.training.cache import name_of
from t2icli.training.checkpoint import Run
from t2icli.training.devices import World
from t2icli.training.settings import LoopSettings


class Place(NamedTuple):
    """Where a loss came from."""

    step: int
    turn: str
    rows: list[int]


def may_defer(settings: LoopSettings, world: World) -> bool:
    """Whether losses may be looked at later: not where a bad step is to be left out."""
    return world.device.type != "cpu" and settings.on_nan == "stop"


class LossCheck:
    """Stops the training at a loss that is not finite, or has its step left out."""

    def __init__(self, settings: LoopSettings, world: World, data: PreparedDataset, run: Run) -> None:
        self.settings, self.world, self.data, self.run = settings, world, data, run
        self.defers = may_defer(settings, world)
        self.waiting: list[tuple[Place, Tensor]] = []

    def passes(self, place: Place, loss: Tensor, norm: Tensor | None) -> bool:
        """Whether to take the step. Without a norm the gradient may be anything."""
        if self.defers:
            self.waiting.append((place, loss if norm is None else loss + norm))
            return True
        if not self.world.any(not math.isfinite(float(loss) + (0.0 if norm is None else float(norm)))):
            return True
        self._not_a_number(place)
        return False

    def catch_up(self) -> None:
        """Look at the losses that were left for later."""
        if not self.waiting:
            return
        places, losses = zip(*self.waiting, strict=True)
        self.waiting = []
        bad = torch.stack(losses).isfinite().logical_not().nonzero()[:, 0].tolist()
        if self.world.any(bool(bad)):
            self._not_a_number(places[bad[0] if bad else -1])

    def _not_a_number(self, place: Place) -> None:
        rows = [name_of(self.data, row) for row in place.rows]
        message = f"the loss of turn {place.turn!r} is not a number at step {place.step}, for the batch"
        if self.settings.on_nan == "skip":
            warnings.warn(f"{message} {', '.join(rows[:8])}: skipped", UserWarning, stacklevel=2)
            return
        newest = self.run.latest()
        hint = f"the last good checkpoint is '{newest}'" if newest else "there is no checkpoint yet"
        raise T2IError(
            f"{message} {', '.join(rows)}",
            f"{hint}; continue with --resume --on-nan skip, or start over with a smaller --lr",
            code=1,
        )
