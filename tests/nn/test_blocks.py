"""Results do not depend on company, on any processor: what is promised by shape, and what is tried."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from t2icli.backends.dalle.config import Config
from t2icli.backends.dalle.model import DallE
from t2icli.ground.errors import T2IError
from t2icli.nn import blocks, decode, devices, int8, packed
from t2icli.nn.gpt import Cache, Decoder, GptShape

CPU, ELSEWHERE = torch.device("cpu"), torch.device("cuda")
"""The second is only told, nothing is computed there: what it means is that batches are used."""
PRECISIONS = ["fp32", "bf16", pytest.param("int8", marks=pytest.mark.skipif(not int8.is_possible(), reason="no int8"))]


class Prior(nn.Module):
    """A small model of each code and one number before them, as CLIP-GEN's and ClipCap's."""

    def __init__(self) -> None:
        super().__init__()
        self.start, self.code = nn.Linear(48, 64), nn.Embedding(40, 64)
        self.decoder, self.head = Decoder(GptShape(64, 2, 4)), nn.Linear(64, 40)

    def prefill(self, condition: Tensor, length: int) -> tuple[Tensor, Cache]:
        start = self.start(condition.to(self.code.weight))[:, None]
        cache = self.decoder.reserve(start, length)
        return self.head(self.decoder(start, cache)[:, -1]), cache

    def step(self, codes: Tensor, cache: Cache) -> Tensor:
        return self.head(self.decoder(self.code(codes)[:, None], cache)[:, -1])


def dalle(**changes: object) -> DallE:
    sizes = {"dim": 64, "depth": 2, "heads": 2, "dim_head": 32, "text_vocabulary": 50, "text_length": 6}
    return DallE(Config(codes=40, grid=(4, 4), **{**sizes, **changes}))


def texts(n: int) -> tuple[Tensor, Tensor]:
    ids = torch.randint(1, 50, (n, 6), generator=torch.Generator().manual_seed(1))
    return ids, torch.zeros(n, 0, dtype=torch.long)


MODELS = {
    "dalle": (dalle, texts),
    "rows and columns": (lambda: dalle(attention=("axial_row", "conv_like"), shift_tokens=True, rotary=True), texts),
    "gpt": (Prior, lambda n: torch.randn(n, 48, generator=torch.Generator().manual_seed(1))),
}


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_a_sequence_is_the_same_in_any_company_and_place(
    name: str, precision: str, scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(int8, "LEAST", 0)
    torch.manual_seed(0)
    make, conditions = MODELS[name]
    model = make().eval()
    devices.place(model, precision, "cpu")
    if scale != 1 and name == "gpt":
        pytest.skip("has no guidance")
    sampling, both = decode.Sampling(cfg_scale=scale), conditions(6)

    def rows(prompts: list[int], seeds: list[int], owners: list[int], **options: object) -> list[list[int]]:
        which = prompts if scale == 1 else [*prompts, *(prompt + 3 for prompt in prompts)]
        condition = tuple(part[which] for part in both) if isinstance(both, tuple) else both[which]
        found = decode.sample(model, condition, seeds, 12, sampling, prompts=len(prompts), owners=owners, **options)
        return [row.tolist() for row in found]

    n = 20  # a block of 16 and a part of another
    expected = {p: rows([p], list(range(n)), [0] * n) for p in range(3)}
    for p in range(3):
        assert rows([p], list(range(16)), [0] * 16) == expected[p][:16]
        assert rows([p], list(range(7, 10)), [0] * 3) == expected[p][7:10]
    assert rows([0], list(range(n)), [0] * n, batch=16) == expected[0]
    owners = [(i * 7) % 3 for i in range(n)]
    mixed = rows([0, 1, 2], list(range(n)), owners)
    assert mixed == [expected[owner][i] for i, owner in enumerate(owners)]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("shape", [(64, 192), (256, 100), (512, 1024)], ids=str)
@torch.inference_mode()
def test_a_layers_rows_are_the_same_in_any_company_and_place(shape: tuple[int, int], precision: str) -> None:
    torch.manual_seed(0)
    layer: nn.Module = nn.Linear(*shape)
    if precision == "int8":
        layer = int8.Int8Linear(layer.weight.detach(), layer.bias.detach())
    layer = layer.to(torch.bfloat16 if precision == "bf16" else torch.float32)
    x = torch.randn(64, 1, shape[0]).to(torch.bfloat16 if precision == "bf16" else torch.float32)
    with packed.packed(nn.ModuleList([layer]), 64):
        whole = layer(x)
    for n in (16, 32, 48):
        with packed.packed(nn.ModuleList([layer]), n):
            for start in range(0, 64 - n + 1, 8):
                assert layer(x[start : start + n]).equal(whole[start : start + n])


class Kernel:
    """Multiplies by 2, as a library might that adds what depends on the number of rows, or on a row's place."""

    def __init__(self, by_number: float, by_place: float) -> None:
        self.by_number, self.by_place = by_number, by_place

    def __call__(self, rows: int) -> blocks.Callable[[Tensor], Tensor]:
        return lambda x: 2 * x + self.by_number * len(x) + self.by_place * torch.arange(len(x))[:, None, None]


@pytest.mark.parametrize(("kernel", "size"), [(Kernel(0, 0), 64), (Kernel(1, 0), 16), (Kernel(0, 1), 1)])
def test_kernels_that_look_at_more_than_a_row_are_found_out(kernel: Kernel, size: int) -> None:
    assert blocks.safe_size(kernel, torch.randn(16, 1, 8), 64) == size


@pytest.mark.parametrize("kernel", [Kernel(1, 0), Kernel(0, 1)])
def test_a_layers_rows_do_not_depend_on_others_whatever_the_library_does(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nn.Linear, "forward", lambda self, x: kernel(len(x))(x))
    monkeypatch.setattr(packed, "_sizes", {})  # what was tried with the real library
    layer, x = nn.Linear(8, 8, dtype=torch.float64), torch.randn(48, 1, 8, dtype=torch.float64)
    with torch.inference_mode(), packed.packed(nn.ModuleList([layer]), 48):
        whole = layer(x)
        assert layer(x.roll(5, 0)).equal(whole.roll(5, 0))
        assert all(layer(x[start : start + 16]).equal(whole[start : start + 16]) for start in (0, 16, 32))


def test_batches_are_filled_up_and_halved_when_memory_runs_out() -> None:
    sizes: list[int] = []

    def compute(x: Tensor) -> Tensor:
        sizes.append(len(x))
        if len(x) > 4:
            raise torch.OutOfMemoryError("too many")
        return x * 2

    x = torch.arange(7)
    assert blocks.by_themselves(compute, [x], ELSEWHERE, 16).equal(x * 2)
    assert sizes == [16, 8, 4, 4]


def test_too_little_memory_for_one_item_is_said() -> None:
    def none(x: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("too many")

    with pytest.raises(T2IError, match="not enough memory for a single image"):
        blocks.by_themselves(none, [torch.arange(2)], ELSEWHERE, 4)


@pytest.mark.parametrize("threads", [1, 3])
def test_on_a_cpu_each_item_is_computed_by_itself_and_in_one_thread(threads: int) -> None:
    before = torch.get_num_threads()
    seen: list[tuple[int, int]] = []

    def compute(x: Tensor, y: Tensor) -> Tensor:
        seen.append((len(x), torch.get_num_threads()))
        return x + y

    try:
        torch.set_num_threads(threads)
        x = torch.arange(5)
        assert blocks.by_themselves(compute, [x, x], CPU, 16).equal(2 * x)
        assert seen == [(1, 1)] * 5
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_a_network_in_two_threads_is_that_in_one() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 48, 3, padding=1), nn.GroupNorm(4, 48), nn.SiLU(), nn.Conv2d(48, 3, 3))
    images, before = torch.randn(3, 3, 40, 40), torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            compute = torch.no_grad()(copy.deepcopy(network))
            found.append(blocks.by_themselves(compute, [images], CPU, 16))
    finally:
        torch.set_num_threads(before)
    assert found[0].equal(found[1]) and found[0].equal(found[2])
