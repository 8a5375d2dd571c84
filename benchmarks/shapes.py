"""A proof that it learns: vae, then dalle, trained by the command line on drawn shapes, draw what prompts ask for.

    python benchmarks/shapes.py FOLDER

Prompts are the captions of scenes that were never drawn for training, in English and in Chinese; shape and
colour are read off the pixels. Fails below 90 %. Takes minutes on a CPU.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from pathlib import Path

import shapes_data
from table import record

PIXELS = 32
VAE = (
    "image_size=32 num_layers=2 num_tokens=64 codebook_dim=64 hidden_dim=48 num_resnet_blocks=1 temperature_min=0.3 "
    "anneal_rate=1e-5 loop.lr_decay=0.97"
)
DALLE = (
    "text_length=12 dim=128 depth=3 heads=4 dim_head=32 null_condition=0.15 attention_dropout=0.1 "
    "feed_forward_dropout=0.1 loop.schedule=cosine loop.warmup=50 loop.clip=1"
)


def t2i(*words: object) -> float:
    """Run one command and return its seconds."""
    begun = time.monotonic()
    subprocess.run([sys.executable, "-m", "t2icli", *map(str, words)], check=True)
    return time.monotonic() - begun


def options(text: str) -> list[str]:
    return [part for word in text.split() for part in ("-o", word)]


def write_vocabulary(folder: Path) -> Path:
    """Every word and character of the captions, in BERT's form."""
    text = " ".join(
        caption for held_out in (False, True) for s in shapes_data.scenes(held_out=held_out) for caption in s.captions
    )
    tokens = sorted(set(re.findall(r"[a-z]+|[^\sa-z]", text)))
    path = folder / "vocab.txt"
    path.write_text("\n".join(["[PAD]", "[UNK]", *tokens]) + "\n", encoding="utf-8")
    return path


def train(folder: Path, vae_steps: int, dalle_steps: int) -> dict[str, float]:
    data = folder / "data"
    shapes_data.write(data, 2400, pixels=PIXELS)
    every = ["--eval-every", 200, "--preview-every", 200, "--save-every", 200, "--report-to", "none", "--resume"]
    vae = [
        "train",
        "vae",
        "--train-data",
        data,
        "--size",
        "original",
        "--output",
        folder / "vae",
        *options(VAE),
        *every,
    ]
    spent = {"vae": t2i(*vae, "--batch-size", 32, "--lr", 2e-3, "--max-steps", vae_steps)}
    parts = [f"codec={folder}/vae/model", "tokenizer=chinese", f"tokenizer.vocabulary={write_vocabulary(folder)}"]
    dalle = [
        "train",
        "dalle",
        "--train-data",
        data,
        "--size",
        "original",
        "--output",
        folder / "dalle",
        *options(f"{DALLE} {' '.join(parts)}"),
    ]
    spent["dalle"] = t2i(*dalle, *every, "--batch-size", 32, "--lr", 2e-3, "--max-steps", dalle_steps)
    return spent


def score(folder: Path) -> list[tuple[str, float, float, float]]:
    """Of the held-out prompts in each language: percent of pictures with the right shape, colour, and both."""
    import t2icli

    dalle = t2icli.load("generator", "dalle", model=str(folder / "dalle/best"), precision="fp32", temperature=0.3)
    rows = []
    for i, scene in enumerate(shapes_data.scenes(held_out=True)):
        for language, prompt in zip(("english", "chinese"), scene.captions, strict=True):
            (image,) = dalle.generate(prompt, 1, seed=1000 + i)
            seen = shapes_data.judge(image) or ("nothing", "nothing")
            right = seen[0] == scene.shape, seen[1] == scene.colour
            rows.append((language, *right, all(right)))
            if not all(right):
                print(f"{prompt}: drew {' '.join(reversed(seen))}", file=sys.stderr)
    half = len(rows) // 2
    return [
        (which, *(100 * sum(row[k] for row in rows if row[0] == which) / half for k in (1, 2, 3)))
        for which in ("english", "chinese")
    ]


def main() -> int:
    words = argparse.ArgumentParser(description="Train vae and dalle on drawn shapes and judge what they draw.")
    words.add_argument("folder", type=Path)
    words.add_argument("--vae-steps", type=int, default=800)
    words.add_argument("--dalle-steps", type=int, default=1500)
    chosen = words.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    spent = train(chosen.folder, chosen.vae_steps, chosen.dalle_steps)
    found = score(chosen.folder)
    record(
        "DALL-E on held-out scenes",
        f"Of {len(shapes_data.scenes(held_out=True))} drawn scenes that were held out, in percent; vae trained for "
        f"{chosen.vae_steps} steps in {spent['vae']:.0f} s,\ndalle for {chosen.dalle_steps} in {spent['dalle']:.0f} s.",
        ("prompts", "shape", "colour", "both"),
        found,
    )
    return 0 if sum(both for *_, both in found) / len(found) >= 90 else 1


if __name__ == "__main__":
    sys.exit(main())
