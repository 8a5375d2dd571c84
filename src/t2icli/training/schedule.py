"""The learning rate of each step."""

from __future__ import annotations

import math

from t2icli.training.settings import LoopSettings


class Schedule:
    """Warmup, then the chosen curve; a function of the step, but for the plateau, which remembers."""

    def __init__(self, settings: LoopSettings, total: int) -> None:
        self.settings, self.total = settings, total
        self.warmup = settings.warmup or int(settings.warmup_part * total)
        self.best, self.waited, self.factor = math.inf, 0, 1.0

    def lr(self, step: int) -> float:
        s = self.settings
        if step < self.warmup:
            return s.lr * (step + 1) / self.warmup
        return max(s.lr * self._curve(step), min(s.min_lr, s.lr))

    def _curve(self, step: int) -> float:
        s = self.settings
        part = (step - self.warmup) / max(1, self.total - self.warmup)
        if s.schedule == "cosine":
            lowest = min(1.0, s.min_lr / s.lr)
            return lowest + (1 - lowest) * (1 + math.cos(math.pi * part)) / 2
        if s.schedule == "linear":
            return 1 - part
        if s.schedule == "exponential":
            return s.lr_decay ** ((step - self.warmup) // s.lr_decay_every)
        return self.factor  # 1 when constant

    def evaluated(self, loss: float) -> None:
        """What the plateau schedule goes by: the loss on held-out data."""
        if self.settings.schedule != "plateau":
            return
        if loss < self.best:
            self.best, self.waited = loss, 0
            return
        self.waited += 1
        if self.waited > self.settings.lr_patience:
            self.factor, self.waited = self.factor * self.settings.lr_decay, 0

    def state(self) -> dict[str, float]:
        return {"best": self.best, "waited": self.waited, "factor": self.factor}

    def load(self, state: dict[str, float]) -> None:
        self.best, self.waited, self.factor = state["best"], int(state["waited"]), state["factor"]
