"""Following a pipeline while it draws: its progress bar counts the steps, its scheduler shows the pictures so far."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor

from t2icli.ground.watch import Watch


class Bar:
    """Stands where a pipeline expects its progress bar, and hands the steps on. The watch may raise, which cancels."""

    def __init__(self, watch: Watch, iterable: Iterable[Any] | None = None, total: int | None = None) -> None:
        self.watch, self.items = watch, list(iterable) if iterable is not None else []
        self.done, self.total = 0, len(self.items) if total is None else total
        watch.step(0, self.total)

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None: ...

    def __iter__(self) -> Iterator[Any]:
        for item in self.items:
            yield item
            self.update()

    def update(self, n: int = 1) -> None:
        self.done += n
        self.total = max(self.total, self.done)
        self.watch.step(self.done, self.total)

    def close(self) -> None: ...
    def set_description(self, *_: object) -> None: ...
    def set_postfix(self, *_: object, **__: object) -> None: ...


Paint = Callable[[Tensor], Image]


def follow(
    scheduler: Any, watch: Watch, indices: Sequence[int], paint: Paint | None, generators: Sequence[torch.Generator]
) -> None:
    """Let `scheduler.step` offer previews, and draw its noise, where it adds some, from the pictures' own seeds."""
    step = scheduler.step
    takes_generator = "generator" in inspect.signature(step).parameters

    @functools.wraps(step)
    def wrapped(output: Any, timestep: Any, sample: Any, *words: Any, **options: Any) -> Any:
        if takes_generator and options.get("generator") is None:
            options["generator"] = list(generators) if len(generators) > 1 else generators[0]
        before = sample
        result = step(output, timestep, sample, *words, **options)
        if paint is not None:
            clean = estimate(scheduler, output, before, result)
            for row, index in enumerate(indices):
                watch.preview(index, functools.partial(paint, clean[row : row + 1]))
        return result

    scheduler.step = wrapped


def estimate(scheduler: Any, output: Tensor, sample: Tensor, result: Any) -> Tensor:
    """The clean latents that a step aims at, as far as the scheduler's class lets them be known."""
    original = getattr(result, "pred_original_sample", None)
    if original is None and isinstance(result, tuple) and len(result) > 1:
        original = result[1]
    if isinstance(original, Tensor):
        return original
    if "FlowMatch" in type(scheduler).__name__ and scheduler.step_index:
        sigma: Tensor = scheduler.sigmas[scheduler.step_index - 1]
        return sample.float() - sigma.to(sample.device) * output.float()
    first: Tensor = result[0] if isinstance(result, tuple) else result.prev_sample
    return first
