from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from t2icli.backends.dalle.config import Config
from t2icli.backends.dalle.model import DallE
from t2icli.nn import decode, replay
from t2icli.nn.decode import Sampling

NETWORKS = {
    "plain": {"reversible": True},
    "rotary": {"rotary": True, "shift_tokens": True, "sandwich_norm": True, "stable": True},
    "mixed": {"attention": ("full", "axial_row", "axial_col", "conv_like"), "depth": 4, "shift_tokens": True},
    "guided": {"attention": ("conv_like",), "rotary": True},
}


def network(name: str) -> DallE:
    torch.manual_seed(0)
    base = {"dim": 32, "depth": 2, "heads": 2, "dim_head": 16, "text_vocabulary": 20, "text_length": 5}
    return DallE(Config(**{**base, "codes": 24, "grid": (4, 4), **NETWORKS[name]})).eval()


def codes_of(model: Any, condition: Any, length: int, **options: Any) -> Tensor:
    return torch.stack(list(decode.sample(model, condition, [3, 1, 4], length, **options)))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("begun", [0, 6], ids=["whole", "begun"])
def test_dalle_draws_the_same_from_a_fixed_state(
    name: str, begun: int, dtype: torch.dtype, fix_states: Callable[[], list[Any]]
) -> None:
    model, text = network(name).to(dtype), torch.tensor([[4, 5, 6, 0, 0], [0, 0, 0, 0, 0]])
    options = {"sampling": Sampling(cfg_scale=2.0)} if name == "guided" else {}
    condition = (text[: 1 + len(options)], torch.arange(begun).repeat(1 + len(options), 1))
    expected = codes_of(model, condition, 16 - begun, **options)
    states = fix_states()
    assert codes_of(model, condition, 16 - begun, **options).equal(expected)
    assert states and all(state.place.tolist() == [15] for state in states)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_from_a_fixed_state_never_asks_the_gpu_what_it_computed(name: str) -> None:
    """Which could not be recorded: tensors without contents cannot answer. Nor does it bring anything from the CPU."""
    with FakeTensorMode(), torch.inference_mode():
        model = network(name)
        for module in model.modules():  # Module.to cannot replace such parameters
            for held in (module._parameters, module._buffers):
                held.update({key: tensor.to("cuda") for key, tensor in held.items() if tensor is not None})
        text = torch.zeros(4, 5, dtype=torch.long, device="cuda")
        _, state = model.prefill((text, text[:, :0]), 16)
        fixed = state.fixed()
        for _ in range(2):
            logits = model.step(text[:, 0], fixed)
    assert logits.device.type == "cuda"
    assert logits.shape == (4, 24)


class Tape:
    """Stands for a CUDA graph: while it is recorded nothing is computed, replayed it computes on the same memory."""

    def __init__(self, refuses: Exception | None = None) -> None:
        self.refuses, self.recording, self.total = refuses, False, torch.zeros(2)
        self.recorded: list[tuple[Tensor, Tensor]] = []

    def step(self, codes: Tensor) -> Tensor:
        """A step with a memory: the sum of all codes so far."""
        if self.recording:
            self.recorded.append((codes, torch.empty(2)))
            return self.recorded[-1][1]
        self.total += codes
        return self.total.clone()

    @contextmanager
    def graph(self, *_: object, **__: object) -> Iterator[None]:
        self.recording = True
        yield
        self.recording = False
        if self.refuses is not None:
            raise self.refuses

    def replay(self) -> None:
        codes, logits = self.recorded[-1]
        logits.copy_(self.step(codes))

    def install(self, monkeypatch: pytest.MonkeyPatch) -> replay.Replayed:
        stream = SimpleNamespace(wait_stream=lambda _: None)
        doubles = {
            "Stream": lambda: stream,
            "current_stream": lambda: stream,
            "stream": nullcontext,
            "CUDAGraph": lambda: self,
            "graph": self.graph,
        }
        for name, double in doubles.items():
            monkeypatch.setattr(torch.cuda, name, double)
        return replay.Replayed(self.step)


def test_steps_are_recorded_once_and_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    tape = Tape()
    step = tape.install(monkeypatch)
    sums = [step(torch.tensor([n, 10 * n])).tolist() for n in (1, 2, 3, 4)]
    assert sums == [[1, 10], [3, 30], [6, 60], [10, 100]]
    assert len(tape.recorded) == 1


def test_what_cannot_be_recorded_is_computed_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    step = Tape(RuntimeError("operation not permitted when stream is capturing")).install(monkeypatch)
    sums = [step(torch.tensor([1, 1])).tolist()]
    with pytest.warns(UserWarning, match="not replayed, which is slower: operation not permitted"):
        sums.append(step(torch.tensor([2, 2])).tolist())
    sums.append(step(torch.tensor([3, 3])).tolist())
    assert sums == [[1, 1], [3, 3], [6, 6]]


def test_too_little_memory_to_record_in_is_for_a_smaller_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    step = Tape(torch.OutOfMemoryError("no room")).install(monkeypatch)
    step(torch.tensor([1, 1]))
    with pytest.raises(torch.OutOfMemoryError):
        step(torch.tensor([1, 1]))


@pytest.mark.gpu
@pytest.mark.parametrize("name", NETWORKS)
def test_on_a_gpu_replayed_steps_draw_what_single_steps_draw(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, text = network(name).to("cuda"), torch.tensor([[4, 5, 6, 0, 0]], device="cuda")
    drawn = [codes_of(model, (text, text[:, :0]), 16)]
    monkeypatch.setattr(replay, "Replayed", lambda step: step)
    drawn.append(codes_of(model, (text, text[:, :0]), 16))
    assert drawn[0].equal(drawn[1])
