"""ClipCap: how fast it captions beside the original's way of doing it, and how well it captions held-out scenes.

    python benchmarks/clipcap.py speed [--tokens 30]
    python benchmarks/clipcap.py batch
    python benchmarks/clipcap.py shapes FOLDER

`speed` writes eight captions at once (the original's default: four images, two each), five and one, with the default
sizes and random weights, with the static cache and as the original does: GPT-2 over everything again for each word,
logits at every position. `batch` describes 200
pictures with a small model, eight at a time and one by one. `shapes` trains on drawn shapes and asks for the shape
and the colour of scenes that were held out.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable
from pathlib import Path

import shapes_clip
import shapes_data
import torch
from PIL import Image
from shapes_clip import PIXELS, t2i
from table import record

from t2i_clipcap.model import ClipCap, ClipCapShape
from t2i_clipcap.words import SPECIAL
from t2icli.nn import decode, int8

NEVER = 102
"""The word that ends a caption; kept from coming, so that every run draws the same number of words."""


def speed(tokens: int) -> None:
    model = ClipCap(ClipCapShape()).eval().requires_grad_(False)
    small = copy.deepcopy(model)
    int8.quantize(small, torch.device("cpu"))
    sampling = decode.Sampling(top_p=0.8, forbidden=(100, NEVER))
    rows = []
    for n in (8, 5, 1):
        embedding = torch.randn(1, 512)
        ours, eight_bits = (
            seconds(lambda n=n, e=embedding, m=m: list(decode.sample(m, e, range(n), tokens, sampling)))
            for m in (model, small)
        )
        theirs = seconds(lambda n=n, e=embedding: without_cache(model, e.repeat(n, 1), tokens))
        rows.append((n, theirs, ours, theirs / ours, eight_bits, theirs / eight_bits))
    record(
        "ClipCap sampling",
        f"Captions of {tokens} words with the default sizes and random weights.",
        ("captions at once", "the original algorithm, CPU s", "t2i, CPU s", "times", "int8, CPU s", "times"),
        rows,
    )


@torch.inference_mode()
def without_cache(model: ClipCap, embedding: torch.Tensor, n: int) -> torch.Tensor:
    """The original's loop: everything so far through GPT-2 for each new word, top-p by sorting all words."""
    drawn = torch.empty(len(embedding), 0, dtype=torch.int64)
    prefix = model.mapper(embedding)
    for _ in range(n):
        x = torch.cat([prefix, model.words(drawn)], dim=1)
        logits = model.head(model.decoder(model.placed(x)))[:, -1]
        logits[:, [100, NEVER]] = -torch.inf
        probabilities = decode.keep_top_p(logits.softmax(-1), 0.8)
        drawn = torch.cat([drawn, torch.multinomial(probabilities, 1)], dim=1)
    return drawn


def batch(folder: Path) -> None:
    from t2icli import load

    model = folder / "clipcap/model"
    pictures = [Image.open(path).convert("RGB") for path in sorted((folder / "shapes").glob("*.png"))[:200]]
    captioner = load("captioner", "clipcap", model=str(model), max_tokens=20)
    captioner.caption(pictures[:8], 1, seed=0)
    one_by_one = seconds(lambda: [captioner.caption([picture], 1, seed=i) for i, picture in enumerate(pictures)])
    at_once = seconds(lambda: captioner.caption(pictures, 1, seed=0))
    record(
        "ClipCap in batches",
        "200 pictures captioned by a small model.",
        ("run", "CPU s", "times"),
        [("one by one", one_by_one, 1), ("in batches of 16", at_once, one_by_one / at_once)],
    )


def seconds(work: Callable[[], object]) -> float:
    """Of the processor: other programs on the machine do not count."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def shapes(folder: Path) -> None:
    english = shapes_clip.pictures(folder / "shapes")
    clip, _ = shapes_clip.clip(folder / "clip", english)
    data = folder / "shapes-zh"
    if not (data / "00000.png").exists():
        shapes_data.write(data, 4000, pixels=PIXELS, captions=(1,))
    run = folder / "clipcap"
    if not (run / "model/model.toml").exists():
        print(f"clipcap trained in {train(run, data, clip):.0f} s", flush=True)
    record(
        "ClipCap on held-out scenes",
        "Likeliest captions, in Chinese, of drawn scenes that were held out.",
        ("", "right, %"),
        [("shape and colour", 100 * right(run / "model"))],
    )


def train(run: Path, data: Path, clip: Path) -> float:
    letters = sorted({letter for scene in shapes_data.scenes(held_out=False) for letter in scene.captions[1]})
    vocabulary = run.with_suffix(".txt")
    vocabulary.write_text("\n".join([*SPECIAL, *letters]), encoding="utf-8")
    gpt2 = {"width": 96, "layers": 2, "heads": 3, "positions": 32, "prefix": 4, "dropout": 0}
    options = {**gpt2, "vocabulary": vocabulary, "embedder.model": clip}
    words = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    loop = ("--lr", 1e-3, "--batch-size", 64, "--max-steps", 600, "--warmup", 50, "--eval-every", 0)
    return t2i("train", "clipcap", "--train-data", data, "--size", "original", "--output", run, *words, *loop)


def right(model: Path) -> float:
    """Of held-out scenes, the share whose likeliest caption has the right words for shape and colour."""
    from t2icli import load

    captioner = load("captioner", "clipcap", model=str(model), temperature=0.0, max_tokens=20)
    scenes = shapes_data.scenes(held_out=True)
    told = captioner.caption([shapes_data.draw(scene, PIXELS) for scene in scenes], 1, seed=0)
    good = [
        shapes_data.SHAPES[scene.shape] in text and shapes_data.COLOURS[scene.colour][0] in text
        for scene, (text,) in zip(scenes, told, strict=True)
    ]
    return sum(good) / len(good)


if __name__ == "__main__":
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("what", choices=["speed", "batch", "shapes"])
    words.add_argument("folder", type=Path, nargs="?", default=Path("runs/shapes"))
    words.add_argument("--tokens", type=int, default=30)
    chosen = words.parse_args()
    if chosen.what == "speed":
        speed(chosen.tokens)
    elif chosen.what == "batch":
        batch(chosen.folder)
    else:
        shapes(chosen.folder)
