"""A training step of DALL-E's reference network, t2i compared with dalle-pytorch: batch 8, the same weights and pairs.

    make reference
    OMP_NUM_THREADS=1 .venv-reference/bin/python benchmarks/training.py

Times are this process's CPU seconds with one thread, so that a busy machine changes ratios little.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from generation import CODES, TEXT, VAE, WORDS, build_original, import_it
from table import record
from torch import Tensor, nn

from t2icli.contract.recipes import ParamGroup, Turn
from t2icli.ground import memory
from t2icli.nn import devices
from t2icli.training.devices import World
from t2icli.training.settings import LoopSettings
from t2icli.training.turns import RunningTurn

BATCH, ROUNDS = 8, 3
FORMATS = {"fp32": torch.float32, "bf16": torch.bfloat16}


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    original = build_original()
    torch.manual_seed(1)
    text = torch.randint(1, WORDS, (BATCH, TEXT))
    images = torch.rand(BATCH, 3, VAE["image_size"], VAE["image_size"])
    with torch.no_grad():
        codes = original.vae.get_codebook_indices(images)
    with tempfile.TemporaryDirectory() as scratch:
        model, _ = import_it(original, Path(scratch))
    model.train().requires_grad_(True)
    original.train()
    check_same_loss(model, original, text, codes)
    has_bf16 = devices.has_bf16(torch.device("cpu"))
    formats = list(FORMATS) if has_bf16 else ["fp32"]
    taken = {
        "dalle-pytorch 1.6.6: encodes each step": least(theirs(original, text, images)),
        "the same with codes given": least(theirs(original, text, codes)),
    }
    memory.keep_freed()  # as the loop does, and theirs does not
    for precision in formats:
        taken[f"t2i, {precision}"] = least(ours(model, text, codes, precision))
    flop = products(model)
    floors = {precision: floor(flop, FORMATS[precision]) for precision in formats}
    report(taken, floors, flop, has_bf16)


def report(taken: dict[str, float], floors: dict[str, float], flop: int, has_bf16: bool) -> None:
    best = "t2i, bf16" if has_bf16 else "t2i, fp32"
    about = f"""{__doc__.splitlines()[0]}

Codes are encoded once before the first step, each half of the sequence needs only its own rows of the output layer, and
Adam is fused; gradient clipping and the check for NaN are included. The loss is the same to 1e-4. The floor is
the layers' matrix products alone, {flop / 1e9:.0f} GFLOP at the rate of a large product here; attention and the output
layer come on top. The processor {"computes" if has_bf16 else "does not compute"} in bf16."""
    rows: list[list[object]] = []
    for name, value in taken.items():
        own = floors.get(name.removeprefix("t2i, "))
        rows.append([name, value, BATCH / value, value / taken[best], value / own if own else ""])
    rows += [[f"floor, {name}", value, BATCH / value, value / taken[best], 1] for name, value in floors.items()]
    record("Training", about, ["run", "CPU s a step", "pairs/s", f"times {best}'s", "times its floor"], rows)


def theirs(original: Any, text: Tensor, images: Tensor) -> Callable[[], None]:
    """The step of train_dalle.py: Adam, gradients clipped to 0.5."""
    trained = [p for name, p in original.named_parameters() if not name.startswith("vae.")]
    optimizer = torch.optim.Adam(trained, lr=3e-4)

    def step() -> None:
        original(text, images, return_loss=True).backward()
        torch.nn.utils.clip_grad_norm_(original.parameters(), 0.5)
        optimizer.step()
        optimizer.zero_grad()

    return step


def ours(model: Any, text: Tensor, codes: Tensor, precision: str) -> Callable[[], None]:
    """The loop's own step."""
    settings = LoopSettings(optimizer="adam", lr=3e-4, clip=0.5, precision=precision)  # type: ignore[arg-type]
    groups = [ParamGroup(list(model.parameters()))]
    turn = RunningTurn(
        Turn("dalle", groups, lambda batch, step: model.loss(*batch)), settings, 1000, World(torch.device("cpu"))
    )

    def step() -> None:
        turn.gradients([(text, codes)], 0)
        turn.norm()
        turn.move(0)
        turn.forget()

    return step


@torch.no_grad()
def check_same_loss(model: Any, original: Any, text: Tensor, codes: Tensor) -> None:
    ours, theirs = float(model.loss(text, codes)[0]), float(original(text, codes, return_loss=True))
    assert abs(ours - theirs) < 1e-4, f"not the same network: {ours} and {theirs}"


def products(model: Any) -> int:
    """Floating-point operations of the layers' matrix products, forward and twice backward."""
    weights = sum(layer.weight.numel() for layer in model.layers.modules() if isinstance(layer, nn.Linear))
    return 6 * BATCH * (TEXT + CODES) * weights


def floor(flop: int, dtype: torch.dtype) -> float:
    """CPU seconds for so many operations at the rate of a product of the layers' own size."""
    x, weight = torch.randn(BATCH * (TEXT + CODES), 512).to(dtype), torch.randn(512, 4096).to(dtype)
    return min(seconds(lambda: x @ weight) for _ in range(12)) * flop / (2 * x.shape[0] * weight.numel())


def least(step: Callable[[], None]) -> float:
    return min(seconds(step) for _ in range(ROUNDS))


def seconds(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


if __name__ == "__main__":
    main()
