"""How well a flow, trained by the command line on drawn shapes, draws what prompts ask for.

    python benchmarks/flow.py FOLDER

As benchmarks/shapes.py does for DALL-E, on the same held-out scenes, for several numbers of steps. What the codec blurs
cannot be drawn, so the true pictures are judged as well, after they have been through it. Takes minutes on a quiet CPU.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import shapes_data
import torch
from PIL import Image
from shapes import options, t2i, write_vocabulary
from table import record

PIXELS = 32
VQGAN = (
    "shape.resolution=32 shape.patch=2 shape.ch=32 shape.ch_mult=2,4 shape.num_res_blocks=1 shape.attn_resolutions= "
    "shape.middle_attention=false shape.groups=4 shape.z_channels=32 shape.embed_dim=8 shape.n_embed=256 "
    "perceptual=laplacian adversary.weight=0 commitment=0.25 codebook.begin=100 loop.schedule=cosine"
)
FLOW = (
    "text_length=12 width=128 layers=4 heads=4 patch=2 loop.schedule=cosine loop.warmup=50 loop.clip=1 "
    "loop.optimizer=muon loop.ema=0"
)
STEPS = (4, 8, 16)


def train(folder: Path, vqgan_steps: int, flow_steps: int) -> dict[str, float]:
    data = folder / "data"
    shapes_data.write(data, 2400, pixels=PIXELS)
    every = ["--eval-every", 200, "--preview-every", 200, "--save-every", 200, "--report-to", "none", "--resume"]
    common = ["--train-data", data, "--size", "original", *every]
    vqgan = [
        "--output",
        folder / "vqgan",
        *options(VQGAN),
        "--batch-size",
        16,
        "--lr",
        1e-3,
        "--max-steps",
        vqgan_steps,
    ]
    spent = {"vqgan": t2i("train", "vqgan", *common, *vqgan)}
    parts = f"codec.model={folder}/vqgan/best tokenizer=chinese tokenizer.vocabulary={write_vocabulary(folder)}"
    flow = ["--output", folder / "flow", *options(f"{FLOW} {parts}"), "--batch-size", 16, "--lr", 2e-3]
    spent["flow"] = t2i("train", "flow", *common, *flow, "--max-steps", flow_steps)
    return spent


def score(folder: Path, steps: int) -> list[float]:
    """Of the held-out prompts in both languages: percent of pictures with the right shape, colour, and both."""
    import t2icli
    from t2icli.contract.requests import Request

    flow = t2icli.load("generator", "flow", model=str(folder / "flow/best"), precision="fp32", steps=steps)
    asked = [(scene, prompt) for scene in shapes_data.scenes(held_out=True) for prompt in scene.captions]
    drawn = flow.draw(Request(prompt, 1000 + i) for i, (_, prompt) in enumerate(asked))
    return shares([scene for scene, _ in asked], drawn)


def ceiling(folder: Path) -> list[float]:
    """The same of the true pictures through the codec: what it blurs no generator can draw."""
    import t2icli
    from t2icli.nn.pixels import to_images, to_tensor

    codec, scenes = t2icli.load("codec", "vqgan", model=str(folder / "vqgan/best")), shapes_data.scenes(held_out=True)
    pixels = torch.stack([to_tensor(shapes_data.draw(scene, PIXELS)) for scene in scenes])
    return shares(scenes, to_images(codec.decode_latents(codec.encode_latents(pixels))))


def shares(scenes: Sequence[shapes_data.Scene], images: Iterable[Image.Image]) -> list[float]:
    rows: list[Sequence[bool]] = []
    for scene, image in zip(scenes, images, strict=True):
        seen = shapes_data.judge(image) or ("nothing", "nothing")
        rows.append((seen[0] == scene.shape, seen[1] == scene.colour))
    return [100 * sum(map(right, rows)) / len(rows) for right in (lambda row: row[0], lambda row: row[1], all)]


def main() -> int:
    words = argparse.ArgumentParser(description="Train vqgan and flow on drawn shapes and judge what they draw.")
    words.add_argument("folder", type=Path)
    words.add_argument("--vqgan-steps", type=int, default=1000)
    words.add_argument("--flow-steps", type=int, default=3000)
    chosen = words.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    spent = train(chosen.folder, chosen.vqgan_steps, chosen.flow_steps)
    most, drawn = ceiling(chosen.folder), {steps: score(chosen.folder, steps) for steps in STEPS}
    found = [(name, *shown) for name, shown in {"true, through the codec": most, **drawn}.items()]
    record(
        "The flow on held-out scenes",
        f"Of {len(shapes_data.scenes(held_out=True))} drawn scenes that were held out, in two languages, in percent;\n"
        f"vqgan trained for {chosen.vqgan_steps} steps in {spent['vqgan']:.0f} s, flow for {chosen.flow_steps} in "
        f"{spent['flow']:.0f} s.",
        ("steps", "shape", "colour", "both"),
        found,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
