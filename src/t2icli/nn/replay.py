"""Steps that are recorded once and replayed, for GPUs that compute faster than kernels can be launched.

A step of a small network is some hundred kernels of a few microseconds, and starting each of them costs as much. CUDA
starts a whole recorded graph at once. What is recorded always does the same work on the same memory, so the model's
state has to keep all that changes in tensors: it offers `fixed()`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

Step = Callable[[Tensor], Tensor]


@runtime_checkable
class Growing(Protocol):
    """A state that can be turned into one whose tensors stay where they are."""

    def fixed(self) -> Any: ...


def stepper(model: Any, state: Any) -> Step:
    """Appends one code to each row of `state`: codes (b,) to logits (b, v) of the next."""
    is_replayed = isinstance(state, Growing) and isinstance(model, nn.Module) and next(model.parameters()).is_cuda
    if is_replayed:
        state = state.fixed()
    step = partial(_step, model, state)
    return Replayed(step) if is_replayed else step


def _step(model: Any, state: Any, codes: Tensor) -> Tensor:
    return cast(Tensor, model.step(codes, state))


class Replayed:
    """A step that is done once as it is, recorded the second time, and replayed from then on.

    The logits it returns are overwritten by its next call.
    """

    def __init__(self, step: Step) -> None:
        self.step = step
        self.stream = torch.cuda.Stream()
        self.calls = 0
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, codes: Tensor) -> Tensor:
        self.calls += 1
        if self.calls == 1:
            return self._first(codes)
        if self.calls == 2:
            self._record(codes)
        if self.graph is None:
            return self.step(codes)
        self.codes.copy_(codes)
        self.graph.replay()
        return self.logits

    def _first(self, codes: Tensor) -> Tensor:
        """Where it will be recorded, so that the libraries have made there what they make at first use."""
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            logits = self.step(codes)
        torch.cuda.current_stream().wait_stream(self.stream)
        return logits

    def _record(self, codes: Tensor) -> None:
        self.codes = codes.clone()
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=self.stream):
                self.logits = self.step(self.codes)
        except torch.OutOfMemoryError:
            raise  # a smaller batch is tried
        except RuntimeError as error:  # nothing was computed, so the plain way still works
            warnings.warn(f"steps are not replayed, which is slower: {error}", UserWarning, stacklevel=2)
        else:
            self.graph = graph
