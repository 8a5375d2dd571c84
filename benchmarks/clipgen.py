"""CLIP-GEN: how fast it samples beside its own way of doing it, and how well it draws held-out scenes.

    python benchmarks/clipgen.py speed [--images 8]
    python benchmarks/clipgen.py shapes FOLDER

`speed` compares sampling with the default sizes (336.7 M parameters) and random weights, with the static cache and
as the original does: the whole prefix again for each code, the output layer at every position. Eight images are the
original's own batch.
`shapes` trains CLIP, VQGAN and prior on drawn shapes, the last two without a caption, and reads shape and colour
off the pictures it draws for prompts it has never met; then again with noise in the embeddings, and with captions.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import shapes_clip
import shapes_data
import torch
from shapes_clip import PIXELS, t2i
from table import record

from t2i_clipgen.model import Prior, PriorShape
from t2icli.nn import decode, devices, int8
from t2icli.nn.packed import fewest, packed

SAMPLING = decode.Sampling(top_k=500, top_p=0.95)


LENGTHS = (1, 64, 128, 256)
"""Where the cost of a step is measured; in between it is taken to be a straight line."""


def speed(images: int) -> None:
    """CPU seconds of whole images, from single steps at several lengths: other programs on the machine do not count."""
    prior = Prior(PriorShape()).eval().requires_grad_(False)
    embedding = torch.nn.functional.normalize(torch.randn(1, prior.shape.condition), dim=1)
    theirs = whole(lambda length: without_cache(prior, embedding.expand(images, -1), length))
    dtype = devices.pick_dtype("auto", torch.device("cpu"))
    prior = prior.to(dtype)
    ours = whole(partial(with_cache, prior, embedding, images))
    int8.quantize(prior.float(), torch.device("cpu"))
    eight_bits = whole(partial(with_cache, prior, embedding, images))
    kind = str(dtype).removeprefix("torch.")
    record(
        "CLIP-GEN sampling",
        f"{images} images of 256 codes with the default sizes, 337 million weights that are random: single steps at\n"
        f"{len(LENGTHS)} lengths, interpolated linearly between them.",
        (f"run, {images} images", "CPU s", "times faster"),
        [
            ("the original algorithm: no cache, fp32", theirs, 1),
            (f"t2i, {kind}", ours, theirs / ours),
            ("t2i, int8", eight_bits, theirs / eight_bits),
        ],
    )


def whole(step: Callable[[int], float]) -> float:
    """The cost of 256 steps."""
    costs = [step(length) for length in LENGTHS]
    pieces = zip(LENGTHS, LENGTHS[1:], costs, costs[1:], strict=False)
    return sum((end - start) * (first + last) / 2 for start, end, first, last in pieces)


@torch.inference_mode()
def without_cache(prior: Prior, embedding: torch.Tensor, length: int) -> float:
    """One step of the original's sampler: the whole prefix, the output layer everywhere, top-k, softmax, a draw."""
    before = torch.randint(prior.shape.codes, (len(embedding), length - 1))
    begun = time.process_time()
    logits = prior(embedding, before)[:, -1]
    kept = logits.masked_fill(logits < logits.topk(500).values[:, -1:], -torch.inf)
    torch.multinomial(kept.softmax(-1), 1)
    return time.process_time() - begun


@torch.inference_mode()
def with_cache(prior: Prior, embedding: torch.Tensor, images: int, length: int) -> float:
    """One step of ours, in the rows that `decode.sample` fills a batch up to; the mean of three."""
    _, cache = prior.prefill(embedding, prior.shape.length)
    rows = fewest(prior, cache, prior.shape.codes, prior.shape.length, images)
    state, codes = cache.select(torch.zeros(rows, dtype=torch.int64)), torch.zeros(rows, dtype=torch.int64)
    with packed(prior, rows):
        prior.step(codes, state)
        for layer in state.layers:  # as if more were drawn: what is not written yet could be anything, even no number
            layer.keys[:, :, layer.length :] = layer.values[:, :, layer.length :] = 0
            layer.length = max(1, length - 4)
        begun = time.process_time()
        for _ in range(3):
            uniform = torch.rand(rows)
            decode.draw(prior.step(codes, state).float(), uniform, SAMPLING)
        return (time.process_time() - begun) / 3


VARIANTS = ((0.0, 0.0), (0.5, 0.0), (0.0, 0.5))
"""Noise on the embeddings of pictures, and the share of captions' embeddings: the plain recipe first."""


def shapes(folder: Path, steps: int) -> None:
    # Its captions leave parts out, for a CLIP that is told whole scenes only learns them by heart.
    data = shapes_clip.pictures(folder / "shapes", 6000, partial=True)
    clip, _ = shapes_clip.clip(folder / "clip", data, 1500, "cosine")
    seen = shapes_clip.found(clip)
    codec, rows = folder / "vqgan", []
    if not (codec / "model/model.toml").exists():
        print(f"clipgen-vqgan trained in {train_codec(codec, data):.0f} s", flush=True)
    for noise, text_share in VARIANTS:
        run = folder / f"clipgen-noise{noise}-text{text_share}"
        if not (run / "model/model.toml").exists():
            seconds = train_prior(run, data, clip, codec, noise, text_share, steps)
            print(f"clipgen trained in {seconds:.0f} s", flush=True)
        rows.append((noise, text_share, *figures(run / "model")))
        print(*rows[-1], flush=True)
    known, unmet = (len(shapes_data.scenes(held_out=held_out)) for held_out in (False, True))
    record(
        "CLIP-GEN on held-out scenes",
        f"Shape and colour right, in percent of {known + unmet} prompts; {steps} steps, without captions except in\n"
        f"the last row. It saw pictures of {known} scenes, not their captions; {unmet} were held out, of CLIP's\n"
        f"training too, which distinguishes {seen:.0%} of them. Drawn with top_k=1, in the last column with 10.",
        ("noise", "share of captions", "right", "of known scenes", "of held-out ones", "right, of 10 codes"),
        rows,
    )


def figures(model: Path) -> tuple[float, float, float, float]:
    likeliest, by_chance = right(model, 1), right(model, 10)
    known = len(shapes_data.scenes(held_out=False))
    return share(likeliest), share(likeliest[:known]), share(likeliest[known:]), share(by_chance)


def share(marks: list[bool]) -> float:
    return 100 * sum(marks) / len(marks)


def train_codec(run: Path, data: Path) -> float:
    shape = {"codes": 256, "width": 16, "size": PIXELS, "base": 32, "multipliers": "1,1,2", "blocks": 1, "attention": 8}
    options = [word for key, value in shape.items() for word in ("-o", f"shape.{key}={value}")]
    options += ["-o", "perceptual=laplacian", "-o", "adversary_weight=0", "-o", "begin=60", "-o", "reseed_every=20"]
    words = ("--lr", 1e-3, "--batch-size", 16, "--max-steps", 2500, "--eval-every", 0, "--schedule", "cosine")
    return t2i("train", "clipgen-vqgan", "--train-data", data, "--size", "original", "--output", run, *options, *words)


def train_prior(run: Path, data: Path, clip: Path, codec: Path, noise: float, text_share: float, steps: int) -> float:
    parts = {"codec.model": codec / "model", "embedder.model": clip, "width": 128, "layers": 3, "heads": 4}
    options = {**parts, "noise": noise, "text_share": text_share, "dropout": 0.1}
    words = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    loop = ("--lr", 2e-3, "--batch-size", 64, "--max-steps", steps, "--schedule", "cosine", "--warmup", 50)
    return t2i(
        "train",
        "clipgen",
        "--train-data",
        data,
        "--size",
        "original",
        "--output",
        run,
        *words,
        *loop,
        "--eval-every",
        0,
    )


def right(model: Path, top_k: int) -> list[bool]:
    """For each scene's prompt, those held out last, whether the picture shows the shape and the colour asked for."""
    from t2icli import load

    generator = load("generator", "clipgen", model=str(model), top_k=top_k)
    marks = []
    for held_out in (False, True):
        for seed, scene in enumerate(shapes_data.scenes(held_out=held_out)):
            (image,) = generator.generate(scene.captions[0], 1, seed=seed)
            marks.append(shapes_data.judge(image) == (scene.shape, scene.colour))
    return marks


if __name__ == "__main__":
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("what", choices=["speed", "shapes"])
    words.add_argument("folder", type=Path, nargs="?", default=Path("runs/shapes"))
    words.add_argument("--images", type=int, default=8)
    words.add_argument("--steps", type=int, default=2000)
    chosen = words.parse_args()
    if chosen.what == "speed":
        speed(chosen.images)
    else:
        shapes(chosen.folder, chosen.steps)
