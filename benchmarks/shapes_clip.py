"""A small CLIP of drawn shapes, trained by `t2i train clip`: what clipgen and clipcap see through in the benchmarks."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import shapes_data

PIXELS = 32
ARCHITECTURE = {
    "embed_dim": 64,
    "vision_cfg": {"image_size": PIXELS, "layers": 2, "width": 96, "head_width": 32, "patch_size": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1},
}


def t2i(*words: object) -> float:
    """Run a command of ours; returns the seconds it took."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-m", "t2icli", *map(str, words)], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def pictures(folder: Path, n: int = 4000, *, partial: bool = False) -> Path:
    """The data set: pictures with English captions, if wanted with a second one that leaves parts out."""
    if not (folder / "00000.png").exists():
        shapes_data.write(folder, n, pixels=PIXELS, captions=(0,), partial=partial)
    return folder


def clip(folder: Path, data: Path, steps: int = 600, schedule: str = "constant") -> tuple[Path, float]:
    """The model's folder, and the seconds its training took (0 where it was there already)."""
    model = folder / "model"
    if (model / "model.toml").exists():
        return model, 0.0
    shape = folder.with_suffix(".json")
    shape.write_text(json.dumps(ARCHITECTURE))
    words = ("--lr", 1e-3, "--batch-size", 64, "--max-steps", steps, "--warmup", 50, "--eval-every", 0)
    words += ("--schedule", schedule, "--size", "original", "-o", f"architecture={shape}")
    seconds = t2i("train", "clip", "--train-data", data, "--output", folder, *words)
    return model, seconds


def found(model: Path, n: int = 96) -> float:
    """Of held-out scenes, how often the nearest of all captions names the right shape and colour."""
    from t2icli import load

    embedder, scenes = load("embedder", "clip", model=str(model)), shapes_data.scenes(held_out=True)[:n]
    images = embedder.embed_images([shapes_data.draw(scene, PIXELS) for scene in scenes])
    texts = embedder.embed_texts([scene.captions[0] for scene in scenes])
    nearest = (images @ texts.T).argmax(1).tolist()
    right = [
        (scenes[i].shape, scenes[i].colour) == (scene.shape, scene.colour)
        for scene, i in zip(scenes, nearest, strict=True)
    ]
    return sum(right) / len(right)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    where, seconds = clip(folder / "clip", pictures(folder / "shapes"))
    print(f"clip trained in {seconds:.0f} s, finds shape and colour of {found(where):.1%} of held-out scenes")
