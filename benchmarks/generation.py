"""DALL-E's reference task, ours beside dalle-pytorch: 16 images of 256 codes with a network of 56 million weights.

    make bench-generation

Times are this process's CPU seconds with one thread, so that a busy machine changes ratios little.
"""

from __future__ import annotations

import copy
import resource
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import torch
import torch.nn.functional as F
from table import record
from torch import Tensor

from t2icli import load
from t2icli.backends.dalle import convert
from t2icli.backends.dalle.config import Config
from t2icli.backends.dalle.model import DallE
from t2icli.contract.entries import Upstream
from t2icli.nn import decode, devices, int8, weights
from t2icli.nn.pixels import to_images
from t2icli.store import models

IMAGES, CODES, TEXT, WORDS = 16, 256, 64, 21128
NETWORK = {"dim": 512, "depth": 8, "heads": 8, "dim_head": 64, "num_text_tokens": WORDS, "text_seq_len": TEXT}
PLAIN = {"rotary_emb": False, "shift_tokens": False}
VAE = {"image_size": 256, "num_layers": 4, "num_tokens": 1024, "codebook_dim": 256, "hidden_dim": 64}
SHIPPED_STEPS = 3


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    original = build_original()
    text = torch.randint(1, WORDS, (1, TEXT), generator=torch.Generator().manual_seed(1))
    with tempfile.TemporaryDirectory() as scratch:
        model, codec = import_it(original, Path(scratch))
    floors = [floor(model)]
    ours, peaks = [], [peak()]
    for n in (IMAGES, IMAGES, 4 * IMAGES):
        ours.append(seconds(lambda n=n: draw(model, codec, text, n, CODES if n == IMAGES else 8)))
        peaks.append(peak())
        floors.append(floor(model))
    small = copy.deepcopy(model)
    int8.quantize(small, torch.device("cpu"))
    eight_bits = min(seconds(lambda: draw(small, codec, text, IMAGES, CODES)) for _ in range(2))
    floors.append(floor(model))
    shipped = seconds(lambda: as_shipped(original, text)) / SHIPPED_STEPS * CODES
    cached = seconds(lambda: with_working_cache(original, text))
    floors.append(floor(model))
    report(min(ours[:2]), eight_bits, shipped, cached, floors, memory=peaks[3] - peaks[2])


def report(ours: float, eight_bits: float, shipped: float, cached: float, floors: list[float], memory: float) -> None:
    least = sorted(floors)[len(floors) // 2]
    runs = {
        "dalle-pytorch 1.6.6 as shipped (scaled)": shipped,
        "dalle-pytorch with its cache passed on": cached,
        "t2i, fp32": ours,
        "t2i, int8": eight_bits,
        "floor, fp32": least,
    }
    rows = [[name, cost, IMAGES * CODES / cost, cost / ours, cost / eight_bits] for name, cost in runs.items()]
    about = f"""{__doc__.splitlines()[0]}

As shipped, it computes the whole sequence again for every code: {SHIPPED_STEPS} codes in the middle of the image were
timed and scaled to {CODES}. The floor is the matrix products of {IMAGES} texts and images, {flops() / 1e9:.0f} GFLOP,
at the rate of products of {IMAGES} rows with the same weights here (median of {len(floors)} measurements
around the others, from {min(floors):.3g} to {max(floors):.3g} s). All painting is included. Peak memory grew by
{memory:.0f} MB from {IMAGES} images to {4 * IMAGES}, {IMAGES} at a time."""
    record("Generation", about, ["run", f"CPU s for {IMAGES} images", "codes/s", "times fp32's", "times int8's"], rows)


def build_original() -> Any:
    """Their network with random weights."""
    from dalle_pytorch import DALLE, DiscreteVAE

    torch.manual_seed(0)
    return DALLE(vae=DiscreteVAE(**VAE), **NETWORK, **PLAIN).eval()


def import_it(original: Any, scratch: Path) -> tuple[DallE, Any]:
    """The same weights, by way of the file they would save."""
    file, folder = scratch / "dalle.pt", scratch / "model"
    torch.save({"hparams": {**NETWORK, **PLAIN}, "vae_params": VAE, "weights": original.state_dict()}, file)
    folder.mkdir()
    convert.convert(Upstream((file,), {}), folder)
    model = models.open_model(folder)
    config = msgspec.convert(model.card.config, Config)
    return weights.load(DallE(config), model), load("codec", str(folder / "codec"), precision="fp32")


def draw(model: DallE, codec: Any, text: Tensor, n: int, length: int) -> None:
    """What `generate` does, with a text that is ids already."""
    for codes in decode.sample(model, (text, text[:, :0]), range(n), length, batch=IMAGES):
        to_images(codec.decode(F.pad(codes, (0, CODES - length))[None]))


@torch.inference_mode()
def as_shipped(original: Any, text: Tensor) -> None:
    """Its step without the cache that its wrapper drops, from the middle of the image on."""
    from dalle_pytorch.dalle_pytorch import gumbel_sample, top_k

    texts, codes = text.repeat(IMAGES, 1), torch.zeros(IMAGES, CODES // 2, dtype=torch.long)
    for _ in range(SHIPPED_STEPS):
        logits = original(texts, codes)[:, -1]
        drawn = gumbel_sample(top_k(logits, thres=0.9), temperature=1.0)
        codes = torch.cat([codes, (drawn - WORDS - TEXT).clamp(0, 1023)[:, None]], dim=1)


@torch.inference_mode()
def with_working_cache(original: Any, text: Tensor) -> None:
    """Its step with the cache passed on, as its authors meant it."""
    from dalle_pytorch.dalle_pytorch import gumbel_sample, top_k

    texts, codes, cache = text.repeat(IMAGES, 1), torch.zeros(IMAGES, 0, dtype=torch.long), {}
    for _ in range(CODES):
        logits = original(texts, codes, cache=cache)[:, -1]
        drawn = gumbel_sample(top_k(logits, thres=0.9), temperature=1.0)
        codes = torch.cat([codes, (drawn - WORDS - TEXT).clamp(0, 1023)[:, None]], dim=1)
    original.vae.decode(codes)


def flops() -> float:
    """Of all matrix products with weights, for every position of every image."""
    inner = NETWORK["heads"] * NETWORK["dim_head"]
    dim = NETWORK["dim"]
    layer = 3 * dim * inner + inner * dim + 8 * dim * dim + 4 * dim * dim
    return 2 * IMAGES * ((TEXT + 1 + CODES) * NETWORK["depth"] * layer + CODES * dim * VAE["num_tokens"])


@torch.inference_mode()
def floor(model: DallE, repeats: int = 12) -> float:
    """CPU seconds for `flops()` at the rate of one step's products, repeated."""
    linears = [module for layer in model.layers for module in layer.modules() if isinstance(module, torch.nn.Linear)]
    inputs = [torch.randn(IMAGES, linear.in_features) for linear in linears]
    counted = 2 * IMAGES * sum(linear.weight.numel() for linear in linears)

    def step() -> None:
        for linear, x in zip(linears, inputs, strict=True):
            linear(x)

    step()
    return min(seconds(step) for _ in range(repeats)) * flops() / counted


def seconds(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def peak() -> float:
    """Most memory this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    print(f"bf16 in this processor: {devices.has_bf16(torch.device('cpu'))}")
    main()
