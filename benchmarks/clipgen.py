"""CLIP-GEN: how fast it samples beside its own way of doing it, and whether it draws what it was never told.

    python benchmarks/clipgen.py speed [--codes 24]
    python benchmarks/clipgen.py shapes FOLDER [--noise 0.5] [--text-share 0.5]

`speed` draws the first codes of an image with the default sizes (336.7 M parameters) and random weights, with the
static cache and as the original does: the whole prefix again for each code, the output layer at every position.
`shapes` trains CLIP, VQGAN and prior on drawn shapes, the last two without a caption, and reads shape and colour
off the pictures it draws for prompts it has never met.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import shapes_clip
import shapes_data
import torch
from shapes_clip import PIXELS, t2i


def speed(codes: int) -> None:
    from t2i_clipgen.model import Prior, Shape
    from t2icli.nn import decode

    prior = Prior(Shape()).eval().requires_grad_(False)
    embedding = torch.nn.functional.normalize(torch.randn(1, prior.shape.condition), dim=1)
    ours = seconds(lambda: list(decode.sample(prior, embedding, [0], codes, decode.Sampling(top_k=500, top_p=0.95))))
    theirs = seconds(lambda: without_cache(prior, embedding, codes))
    print(f"first {codes} of 256 codes: {theirs:.2f} s without a cache, {ours:.2f} s with: {theirs / ours:.1f}x")
    theirs, ours = last_code(prior, embedding)
    print(f"the 256th code alone: {theirs:.3f} s without, {ours:.3f} s with: {theirs / ours:.1f}x")


@torch.inference_mode()
def without_cache(prior: torch.nn.Module, embedding: torch.Tensor, n: int) -> torch.Tensor:
    """The original's sampler."""
    drawn = torch.empty(1, 0, dtype=torch.int64)
    for _ in range(n):
        logits = prior(embedding, drawn)[:, -1]
        kept = logits.masked_fill(logits < logits.topk(500).values[:, -1:], -torch.inf)
        drawn = torch.cat([drawn, torch.multinomial(kept.softmax(-1), 1)], dim=1)
    return drawn


@torch.inference_mode()
def last_code(prior: torch.nn.Module, embedding: torch.Tensor) -> tuple[float, float]:
    """Seconds for the last code of an image, without and with a cache that holds the others."""
    before = torch.randint(prior.shape.codes, (1, prior.shape.length - 1))
    _, cache = prior.prefill(embedding, prior.shape.length)
    for layer in cache.layers:
        layer.length = prior.shape.length - 1
    return seconds(lambda: prior(embedding, before)), seconds(lambda: prior.step(before[:, -1], _again(cache)))


def _again(cache: object) -> object:
    for layer in cache.layers:
        layer.length = layer.keys.shape[2] - 1
    return cache


def seconds(work: object) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def shapes(folder: Path, noise: float, text_share: float, steps: int) -> None:
    data = shapes_clip.pictures(folder / "shapes")
    clip, _ = shapes_clip.clip(folder / "clip", data)
    print(f"clip finds shape and colour of {shapes_clip.found(clip):.1%} of held-out pictures", flush=True)
    codec = folder / "vqgan"
    if not (codec / "model/model.toml").exists():
        print(f"clipgen-vqgan trained in {train_codec(codec, data):.0f} s", flush=True)
    run = folder / f"clipgen-noise{noise}-text{text_share}"
    if not (run / "model/model.toml").exists():
        print(f"clipgen trained in {train_prior(run, data, clip, codec, noise, text_share, steps):.0f} s", flush=True)
    for k in (1, 10):
        share = right(run / "model", k)
        print(f"noise {noise}, texts {text_share}, top_k {k}: right for {share:.1%} of prompts", flush=True)


def train_codec(run: Path, data: Path) -> float:
    shape = {"codes": 64, "width": 16, "size": PIXELS, "base": 32, "multipliers": "1,1,2", "blocks": 1, "attention": 8}
    options = [word for key, value in shape.items() for word in ("-o", f"shape.{key}={value}")]
    options += ["-o", "perceptual=laplacian", "-o", "adversary_weight=0", "-o", "begin=100", "-o", "reseed_every=50"]
    words = ("--lr", 1e-3, "--batch-size", 16, "--max-steps", 450, "--eval-every", 0, "--schedule", "cosine")
    return t2i("train", "clipgen-vqgan", "--train-data", data, "--output", run, *options, *words)


def train_prior(run: Path, data: Path, clip: Path, codec: Path, noise: float, text_share: float, steps: int) -> float:
    parts = {"codec.model": codec / "model", "embedder.model": clip, "width": 128, "layers": 3, "heads": 4}
    options = {**parts, "noise": noise, "text_share": text_share, "dropout": 0}
    words = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    loop = ("--lr", 2e-3, "--batch-size", 32, "--max-steps", steps, "--eval-every", 0)
    return t2i("train", "clipgen", "--train-data", data, "--output", run, *words, *loop)


def right(model: Path, top_k: int) -> float:
    """Of the held-out scenes' prompts, the share whose picture shows the shape and the colour asked for."""
    from t2icli import load

    generator = load("generator", "clipgen", model=str(model), top_k=top_k)
    scenes = shapes_data.scenes(held_out=True)
    drawn = [next(iter(generator.generate(scene.captions[0], 1, seed=i))) for i, scene in enumerate(scenes)]
    good = [shapes_data.judge(image) == (scene.shape, scene.colour) for image, scene in zip(drawn, scenes, strict=True)]
    return sum(good) / len(good)


if __name__ == "__main__":
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("what", choices=["speed", "shapes"])
    words.add_argument("folder", type=Path, nargs="?", default=Path("runs/shapes"))
    words.add_argument("--codes", type=int, default=24)
    words.add_argument("--noise", type=float, default=0.0)
    words.add_argument("--text-share", type=float, default=0.0)
    words.add_argument("--steps", type=int, default=600)
    chosen = words.parse_args()
    if chosen.what == "speed":
        speed(chosen.codes)
    else:
        shapes(chosen.folder, chosen.noise, chosen.text_share, chosen.steps)
