"""CLIPScore, KID and the pictures they are measured on; FID's network is tested with its backend."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from t2icli.contract.entries import Entry
from t2icli.contract.hookspecs import hookimpl
from t2icli.pipelines.evaluate import distances, pictures
from t2icli.registry import discovery
from t2icli.testing import Runner, toys


def test_kid_of_equal_distributions_is_about_none_and_grows_with_the_distance() -> None:
    random = np.random.default_rng(0)
    near, same, far = (random.normal(shift, 1, (300, 16)) for shift in (0, 0, 1))
    assert abs(distances.kernel_distance(near, same)[0]) < 0.05
    assert distances.kernel_distance(near, far)[0] > 1


def test_kid_of_many_pictures_is_the_mean_over_subsets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distances, "SUBSET", 100)
    random = np.random.default_rng(0)
    a, b = random.normal(0, 1, (300, 8)), random.normal(0.5, 1, (400, 8))
    mean, deviation = distances.kernel_distance(a, b)
    monkeypatch.setattr(distances, "SUBSET", 300)
    whole, _ = distances.kernel_distance(a, b[:300])
    assert deviation is not None and 0 < deviation < mean
    assert mean == pytest.approx(whole, abs=3 * deviation)


def test_clip_score_is_a_hundred_times_the_cosine_and_never_negative(t2i: Runner, tmp_path: Path) -> None:
    t2i.use(toys)
    toys.pictures(tmp_path, "red", "green", "blue")
    captions = {"red": "a red apple", "green": "grass", "blue": "the sea"}
    for name, caption in captions.items():
        (tmp_path / f"{name}.txt").write_text(caption, encoding="utf-8")
    found = t2i.ok("evaluate", "pictures", tmp_path, "-r", "toy-vectors", "--json").json()
    embedder = toys.Embedder(toys.EmbedderSettings())
    images = embedder.embed_images([Image.open(tmp_path / f"{name}.png").convert("RGB") for name in captions])
    cosines = (images * embedder.embed_texts(list(captions.values()))).sum(1)
    assert found["clip_score"] == pytest.approx(100 * cosines.clamp(min=0).mean().item(), abs=1e-4)
    assert found["fid"] is None and cosines.min() < 0


def test_the_folder_of_generate_gives_its_pictures_and_prompts_without_the_grid(t2i: Runner, tmp_path: Path) -> None:
    t2i.use(toys)
    t2i.ok("generate", "a red apple", "-n", "3", "-m", "toy", "--seed", "1", "--output", tmp_path / "out")
    found = pictures.read(tmp_path / "out", captions=True)
    assert [picture.captions for picture in found] == [("a red apple",)] * 3
    assert all(picture.name != "grid.png" for picture in found)


def test_nothing_to_compare_with_is_refused(t2i: Runner, tmp_path: Path) -> None:
    toys.pictures(tmp_path, "red")
    t2i.fails("evaluate", "pictures", tmp_path, says="nothing to compare the pictures with")
    t2i.fails("evaluate", "pictures", tmp_path, "-r", "clip", says="has a sentence")


def test_generation_reports_the_same_figures(t2i: Runner, tmp_path: Path) -> None:
    """With a network of three features in the place of Inception."""

    class Means:
        name = "means"

        def __init__(self, settings: toys.NoSettings) -> None: ...

        def distance(self, images: Tensor, others: Tensor) -> Tensor:
            return (images - others).abs().mean((1, 2, 3))

        def features(self, images: Sequence[Image.Image]) -> Tensor:
            return torch.tensor([[float(value) for value in image.resize((1, 1)).getpixel((0, 0))] for image in images])

    class Plugin:
        @hookimpl
        def t2i_metrics(self) -> list[Entry[Any]]:
            return [Entry("means", "colours", toys.NoSettings, Means)]

    t2i.use(toys, Plugin())
    discovery.installed().offers["metric"]["inception"] = discovery.installed().offers["metric"]["means"]
    toys.pictures(tmp_path / "real", "red", "green", "blue")
    (tmp_path / "prompts.txt").write_text("a red apple\ngrass\n")
    words = ("evaluate", "generation", tmp_path / "prompts.txt", "-m", "toy", "-n", "2", "-r", "toy-vectors")
    t2i.fails(*words, "--fid", says="--fid needs real pictures")
    for name in ("red", "green", "blue"):
        (tmp_path / f"real/{name}.txt").write_text(name)
    found = t2i.ok(*words, "--reference", tmp_path / "real", "--fid", "--json").json()
    drawn = [
        image
        for prompt in ("a red apple", "grass")
        for image in toys.Generator(toys.GeneratorSettings()).generate(prompt, 2, seed=0)
    ]
    real = [Image.open(tmp_path / f"real/{name}.png").convert("RGB") for name in ("red", "green", "blue")]
    sides = [Means(toys.NoSettings()).features(images).numpy() for images in (drawn, real)]
    assert found["fid"] == pytest.approx(distances.frechet(*sides))
    assert found["kid"] == pytest.approx(distances.kernel_distance(*sides)[0])
    assert 0 <= found["clip_score"] <= 100 and found["frechet"] is not None
