"""DALL-E's reference task, compared with dalle-pytorch: 16 images of 256 codes, a network of 56 million weights.

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
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import torch
import torch.nn.functional as F
from table import record
from torch import Tensor, nn

from t2icli import load
from t2icli.backends.dalle import convert
from t2icli.backends.dalle.config import Config
from t2icli.backends.dalle.model import DallE
from t2icli.contract.entries import Upstream
from t2icli.nn import decode, devices, int8, packed, weights
from t2icli.nn.pixels import to_images
from t2icli.store import models

IMAGES, CODES, TEXT, WORDS = 16, 256, 64, 21128
NETWORK = {"dim": 512, "depth": 8, "heads": 8, "dim_head": 64, "num_text_tokens": WORDS, "text_seq_len": TEXT}
PLAIN = {"rotary_emb": False, "shift_tokens": False}
VAE = {"image_size": 256, "num_layers": 4, "num_tokens": 1024, "codebook_dim": 256, "hidden_dim": 64}
SHIPPED_STEPS = 3
READ = 1 << 28
"""Bytes that are read to measure how fast memory is; more than caches hold."""
MEMORY = torch.ones(READ // 4)


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    original = build_original()
    text = torch.randint(1, WORDS, (1, TEXT), generator=torch.Generator().manual_seed(1))
    with tempfile.TemporaryDirectory() as scratch:
        model, codecs = import_it(original, Path(scratch))
    taken, floors = {}, {}
    for name, one in in_formats(model).items():
        codec = codecs["fp32" if name == "fp32" else "auto"]
        least = [floor(one, codec)]
        taken[name] = min(seconds(partial(draw, one, codec, text, IMAGES, CODES)) for _ in range(2))
        floors[name] = min([*least, floor(one, codec)])
    before = peak()
    draw(model, codecs["fp32"], text, 4 * IMAGES, 8)
    memory = peak() - before
    shipped = seconds(lambda: as_shipped(original, text)) / SHIPPED_STEPS * CODES
    cached = seconds(lambda: with_working_cache(original, text))
    report(taken, floors, shipped, cached, memory)


def in_formats(model: DallE) -> dict[str, DallE]:
    """The model in each number format that is fast on this processor."""
    formats = {"fp32": model}
    if devices.has_bf16(torch.device("cpu")):
        formats["bf16"] = copy.deepcopy(model).bfloat16()
    if int8.is_possible():
        formats["int8"] = copy.deepcopy(model)
        int8.quantize(formats["int8"], torch.device("cpu"))
    return formats


def report(taken: dict[str, float], floors: dict[str, float], shipped: float, cached: float, memory: float) -> None:
    least = min(floors.values())
    runs = {
        "dalle-pytorch 1.6.6 as shipped (scaled)": shipped,
        "dalle-pytorch with its cache passed on": cached,
        **{f"t2i, {name}": cost for name, cost in taken.items()},
        **{f"floor, {name}": cost for name, cost in floors.items()},
    }
    rows = [
        [name, cost, IMAGES * CODES / cost, shipped / cost, cached / cost, cost / least] for name, cost in runs.items()
    ]
    about = f"""{__doc__.splitlines()[0]}

As shipped, it computes the whole sequence again for every code: {SHIPPED_STEPS} codes in the middle of the image were
timed and scaled to {CODES}. A floor is what cannot be left out in that format: in each step the products of
{IMAGES} rows with the weights and, as fast as memory is read here, the keys and values so far; then painting.
Memory grew by {memory:.0f} MB when {4 * IMAGES} images were drawn after {IMAGES}, {IMAGES} at a time."""
    ratios = ["as shipped / this", "with its cache / this", "this / least floor"]
    columns = ["run", f"CPU s for {IMAGES} images", "codes/s", *ratios]
    record("Generation", about, columns, rows)


def build_original() -> Any:
    """Their network with random weights."""
    from dalle_pytorch import DALLE, DiscreteVAE

    torch.manual_seed(0)
    return DALLE(vae=DiscreteVAE(**VAE), **NETWORK, **PLAIN).eval()


def import_it(original: Any, scratch: Path) -> tuple[DallE, dict[str, Any]]:
    """The same weights, by way of the file they would save; the codec by its precision."""
    file, folder = scratch / "dalle.pt", scratch / "model"
    torch.save({"hparams": {**NETWORK, **PLAIN}, "vae_params": VAE, "weights": original.state_dict()}, file)
    folder.mkdir()
    convert.convert(Upstream((file,), {}), folder)
    model = models.open_model(folder)
    config = msgspec.convert(model.card.config, Config)
    codecs = {precision: load("codec", str(folder / "codec"), precision=precision) for precision in ("fp32", "auto")}
    return weights.load(DallE(config), model), codecs


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


@torch.inference_mode()
def floor(model: DallE, codec: Any) -> float:
    """CPU seconds of the products, of reading keys and values, and of painting."""
    inner = NETWORK["heads"] * NETWORK["dim_head"]
    kept = model.prefill((torch.zeros(1, TEXT, dtype=torch.long), torch.zeros(1, 0, dtype=torch.long)), 1)[1]
    places = sum(TEXT + 1 + i for i in range(CODES))
    cache = 2 * NETWORK["depth"] * IMAGES * places * inner * kept.layers[0].cache.values.itemsize
    codes = torch.zeros(IMAGES, CODES, dtype=torch.long)
    return CODES * best(products(model)) + cache / READ * best(read) + best(lambda: to_images(codec.decode(codes)), 2)


def products(model: DallE) -> Callable[[], None]:
    """The products of one step, with weights packed beforehand and inputs at hand."""
    layers: list[Any] = [layer for layer in model.layers.modules() if isinstance(layer, nn.Linear | int8.Int8Linear)]
    multiplied = []
    for layer in [*layers, model.code_head]:
        if isinstance(layer, int8.Int8Linear):
            multiplied.append((layer.multiply, torch.rand(IMAGES, 1, layer.shape[1])))
        else:
            x = torch.rand(IMAGES, 1, layer.weight.shape[1]).to(layer.weight.dtype)
            multiplied.append((packed.multiplier(layer, IMAGES), x))

    def step() -> None:
        for multiply, x in multiplied:
            multiply(x)

    return step


def read() -> Tensor:
    return MEMORY.sum()


def best(run: Callable[[], object], repeats: int = 12) -> float:
    return min(seconds(run) for _ in range(repeats))


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
