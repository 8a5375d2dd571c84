"""DALL-E 2: how well a prior and a decoder draw held-out scenes, and how fast they sample.

    python benchmarks/dalle2.py FOLDER [--clip MODEL] [--prior-steps 1500] [--decoder-steps 2000]

Trains CLIP, prior and decoder by the command line, then reads shape and colour off the pictures for prompts that were
never met, by DDPM, and in fewer steps by DDIM and DPM-Solver++. Fails where the best is below 80 %. Tens of minutes on
a CPU.
"""

from __future__ import annotations

import argparse
import sys
import time
from itertools import product
from pathlib import Path

import shapes_clip
import shapes_data
from shapes_clip import t2i
from table import record

SIZE = 16
"""Half the pictures' size, for a CPU: the judge reads those as well."""
FIRST = {
    "size": SIZE,
    "width": 32,
    "multipliers": "1,2,4",
    "blocks": 1,
    "kernels": 3,
    "condition": 32,
    "heads": 4,
    "head_width": 16,
    "cross_heads": 2,
    "cross_head_width": 16,
    "predicts": "v",
    "learned_variance": "no",
}
PRIOR = {"layers": 3, "heads": 4, "head_width": 32, "text_length": 16}
SAMPLERS = {f"{name} {steps}": (name, steps) for name, steps in (("ddpm", 100), *product(("ddim", "dpm"), (25, 10, 5)))}
"""With as many steps of the prior and of the decoder."""


def options(values: dict[str, object], before: str = "") -> list[str]:
    return [word for key, value in values.items() for word in ("-o", f"{before}{key}={value}")]


def train_prior(run: Path, data: Path, clip: Path, steps: int) -> float:
    words = ("--lr", 1e-3, "--batch-size", 64, "--max-steps", steps, "--warmup", 50, "--schedule", "cosine")
    every = ("--eval-every", 0, "--preview-every", 0, "--report-to", "none", "--resume", "-o", "loop.ema=0.99")
    own = options({"embedder.model": clip, **PRIOR})
    return t2i(
        "train", "dalle2-prior", "--train-data", data, "--size", "original", "--output", run, *own, *words, *every
    )


def train_decoder(run: Path, data: Path, clip: Path, prior: Path, steps: int) -> float:
    words = ("--lr", 1e-3, "--batch-size", 32, "--max-steps", steps, "--warmup", 50, "--schedule", "cosine")
    every = ("--eval-every", 0, "--preview-every", 0, "--report-to", "none", "--resume", "-o", "loop.ema=0.99")
    own = options({"embedder.model": clip, "prior": prior, "unets": 1}) + options(FIRST, "first.")
    return t2i(
        "train", "dalle2-decoder", "--train-data", data, "--size", "original", "--output", run, *own, *words, *every
    )


def right(model: Path, sampler: str, steps: int, scale: float) -> dict[str, float]:
    """The shares of held-out prompts whose picture shows the shape, the colour, and both; and pictures a second."""
    from t2icli import load

    scenes = shapes_data.scenes(held_out=True)
    known = {"sampler": sampler, "prior_steps": steps, "steps": (steps,), "cfg_scale": scale}
    generator = load("generator", "dalle2", model=str(model), **known)
    rows, begun = [], time.perf_counter()
    for i, scene in enumerate(scenes):
        (image,) = generator.generate(scene.captions[0], 1, seed=i)
        seen = shapes_data.judge(image) or ("nothing", "nothing")
        rows.append((seen[0] == scene.shape, seen[1] == scene.colour))
    rate = len(rows) / (time.perf_counter() - begun)
    shape, colour = (sum(row[k] for row in rows) / len(rows) for k in (0, 1))
    both = sum(all(row) for row in rows) / len(rows)
    return {"shape": shape, "colour": colour, "both": both, "pictures_per_second": round(rate, 2)}


def main() -> int:
    words = argparse.ArgumentParser(description="Train DALL-E 2 on drawn shapes and judge what it draws.")
    words.add_argument("folder", type=Path)
    words.add_argument("--clip", type=Path, help="a CLIP of the shapes that is here already")
    words.add_argument("--prior-steps", type=int, default=1500)
    words.add_argument("--decoder-steps", type=int, default=2000)
    words.add_argument("--cfg-scale", type=float, default=2.0)
    chosen = words.parse_args()
    data = shapes_clip.pictures(chosen.folder / "shapes")
    clip = chosen.clip or shapes_clip.clip(chosen.folder / "clip", data)[0]
    print(f"clip finds shape and colour of {shapes_clip.found(clip):.1%} of held-out pictures", flush=True)
    prior, decoder = chosen.folder / "prior", chosen.folder / "decoder"
    print(f"prior trained in {train_prior(prior, data, clip, chosen.prior_steps):.0f} s", flush=True)
    seconds = train_decoder(decoder, data, clip, prior / "model", chosen.decoder_steps)
    print(f"decoder trained in {seconds:.0f} s", flush=True)
    found = {name: right(decoder / "model", *way, chosen.cfg_scale) for name, way in SAMPLERS.items()}
    record(
        "DALL-E 2 on held-out scenes",
        f"Of {len(shapes_data.scenes(held_out=True))} prompts of scenes that were held out, in percent;\n"
        f"{chosen.prior_steps} steps of the prior, {chosen.decoder_steps} of a decoder of {SIZE} pixels, "
        f"guidance {chosen.cfg_scale:g}.",
        ("steps of prior and decoder", "shape", "colour", "both", "pictures/s"),
        [
            (name, *(100 * one[k] for k in ("shape", "colour", "both")), one["pictures_per_second"])
            for name, one in found.items()
        ],
    )
    return 0 if max(one["both"] for one in found.values()) >= 0.8 else 1


if __name__ == "__main__":
    sys.exit(main())
