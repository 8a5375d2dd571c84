"""Ranking: our speed beside open_clip called directly, and what reranking gains with rankers trained on drawn shapes.

    python benchmarks/ranking.py FOLDER [--generator MODEL] [--only gain]

Without a generator's model the candidates are drawn by `Forgetful`, which draws the scene it is asked for but gets
each of shape, colour, size and place wrong one time in three: a stand-in, whose mistakes are known. Rankers are trained
by `t2i train` and have never met the prompts; whether a picture is right is read off its pixels.
"""

from __future__ import annotations

import argparse
import random
import resource
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import shapes_clip
import shapes_data
import torch
from PIL import Image
from table import record

from t2icli import load
from t2icli.backends.clip import Settings
from t2icli.backends.clip.embed import ClipEmbedder
from t2icli.backends.clip.model import OwnTexts
from t2icli.nn.embedding import report_prompt
from t2icli.pipelines.evaluate import generation
from t2icli.registry.cosine import CosineRanker
from t2icli.registry.open import Opened, open_one

WRONG = 1 / 3


def seconds(work: Callable[[], Any]) -> float:
    """This process's CPU time, which a busy machine changes little."""
    begun = resource.getrusage(resource.RUSAGE_SELF)
    work()
    ended = resource.getrusage(resource.RUSAGE_SELF)
    return ended.ru_utime - begun.ru_utime + ended.ru_stime - begun.ru_stime


def throughput(n: int = 64) -> None:
    """Score n pictures of 512 pixels for one prompt with ViT-B/32 (random weights: they change no speed)."""
    network, _, preprocess = open_clip.create_model_and_transforms("ViT-B-32")
    network.eval()
    pixels = np.random.default_rng(0).integers(0, 256, (n, 512, 512, 3), dtype=np.uint8)
    images, prompt = [Image.fromarray(each) for each in pixels], "a bowl of noodles"
    texts = OwnTexts(open_clip.get_tokenizer("ViT-B-32"), 77, report_prompt)
    ours = CosineRanker(ClipEmbedder(network, preprocess, texts, Settings(device="cpu"), "ViT-B-32"))

    @torch.inference_mode()
    def directly() -> Any:
        pictures = network.encode_image(torch.stack([preprocess(image) for image in images]), normalize=True)
        return pictures @ network.encode_text(texts([prompt]), normalize=True)[0]

    assert np.allclose(ours.score(prompt, images), directly().numpy(), atol=1e-5)
    rounds = [(seconds(directly), seconds(lambda: ours.score(prompt, images))) for _ in range(3)]
    direct, own = (min(column) for column in zip(*rounds, strict=True))
    rows = [["open_clip directly", n / direct, 1.0], ["t2i's ranker", n / own, direct / own]]
    about = "Pictures of 512 pixels scored for one prompt by ViT-B/32: pictures per CPU second, best of three rounds."
    record("Ranking throughput", about, ["", "pictures/s", "of open_clip"], rows)


class Forgetful:
    """Draws the held-out scene of a caption, with each of its four words wrong one time in three."""

    def __init__(self, scenes: Sequence[shapes_data.Scene]) -> None:
        self.scenes = {scene.captions[0]: scene for scene in scenes}

    def generate(self, prompt: str, n: int, *, seed: int) -> Iterator[Image.Image]:
        scene = self.scenes[prompt]
        tables = (shapes_data.SHAPES, shapes_data.COLOURS, shapes_data.SIZES, shapes_data.PLACES)
        for i in range(n):
            chance = random.Random(f"{prompt} {seed + i}")
            words = [
                chance.choice([word for word in table if word != right]) if chance.random() < WRONG else right
                for table, right in zip(tables, (scene.shape, scene.colour, scene.size, scene.place), strict=True)
            ]
            jitter = (chance.uniform(-0.02, 0.02), chance.uniform(-0.02, 0.02))
            yield shapes_data.draw(shapes_data.Scene(*words), shapes_clip.PIXELS, jitter)


def by_pixels(scenes: Sequence[shapes_data.Scene]) -> generation.Judge:
    """1 where the picture shows the prompt's shape and colour, else 0."""
    wanted = {scene.captions[0]: (scene.shape, scene.colour) for scene in scenes}

    def judge(prompts: Sequence[str], images: Sequence[Image.Image]) -> Any:
        seen = [shapes_data.judge(image) for image in images]
        return np.asarray([[float(each == wanted[prompt]) for each in seen] for prompt in prompts])

    return judge


def train_brivl(folder: Path, data: Path, steps: int) -> Path:
    size = shapes_clip.PIXELS
    options = [f"shape.image_size={size}", "shape.width=64", "shape.features=128", "objective.queue=512"]
    words = [part for option in options for part in ("-o", option)]
    if not (folder / "model/model.toml").exists():
        loop = ("--batch-size", 64, "--max-steps", steps, "--eval-every", 0)
        shapes_clip.t2i("train", "brivl", "--train-data", data, "--size", "original", "--output", folder, *loop, *words)
    return folder / "model"


def gain(folder: Path, model: str | None, steps: int, n: int = 16) -> None:
    """Random candidate against the best of n, chosen by CLIP and by BriVL, judged by the other and by the pixels."""
    data = shapes_clip.pictures(folder / "data")
    models = {"clip": shapes_clip.clip(folder / "clip", data, steps)[0]}
    models["brivl"] = train_brivl(folder / "brivl", data, steps)
    scenes = list({(s.shape, s.colour): s for s in shapes_data.scenes(held_out=True)}.values())
    prompts, judges = [scene.captions[0] for scene in scenes], {"pixels": by_pixels(scenes)}
    for name, path in models.items():
        judges[name] = generation.of_embedder(open_one("embedder", name, {"model": str(path)}))
    drawer = load("generator", model) if model else Forgetful(scenes)
    source = Opened("generator", model or "forgetful", None, drawer)
    rows = []
    for ranker, other in (("clip", "brivl"), ("brivl", "clip")):
        by_other = generation.evaluate(source, prompts, n, judges[ranker], judges[other], seed=0).curve
        right = generation.evaluate(source, prompts, n, judges[ranker], judges["pixels"], seed=0).curve
        rows += [
            [ranker, each.n, each.r_precision, other, 100 * truth.score]
            for each, truth in zip(by_other, right, strict=True)
        ]
    about = f"{len(prompts)} prompts that no ranker was trained on, {n} candidates each, drawn by {source.name!r}."
    columns = ["chosen by", "best of", "R-precision", "judged by", "right shape and colour, %"]
    record("What reranking gains", about, columns, rows)
    first, last = rows[0], rows[len(rows) // 2 - 1]
    assert last[4] > first[4] + 10, "choosing the best of more must draw what was asked for more often"


if __name__ == "__main__":
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("folder", type=Path)
    words.add_argument("--generator", help="a trained model in place of the stand-in")
    words.add_argument("--steps", type=int, default=600)
    words.add_argument("--only", choices=("throughput", "gain"))
    chosen = words.parse_args()
    if chosen.only != "gain":
        throughput()
    if chosen.only != "throughput":
        gain(chosen.folder, chosen.generator, chosen.steps)
