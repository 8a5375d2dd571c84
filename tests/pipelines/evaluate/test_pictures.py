"""CLIPScore, KID and the pictures they are measured on; FID's network is tested with its backend."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from t2icli.pipelines.evaluate import pictures
from t2icli.testing import Runner, toys


def test_kid_of_equal_distributions_is_about_none_and_grows_with_the_distance() -> None:
    random = np.random.default_rng(0)
    near, same, far = (random.normal(shift, 1, (300, 16)) for shift in (0, 0, 1))
    assert abs(pictures.kernel_distance(near, same)[0]) < 0.05
    assert pictures.kernel_distance(near, far)[0] > 1


def test_kid_of_many_pictures_is_the_mean_over_subsets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "SUBSET", 100)
    random = np.random.default_rng(0)
    a, b = random.normal(0, 1, (300, 8)), random.normal(0.5, 1, (400, 8))
    mean, deviation = pictures.kernel_distance(a, b)
    monkeypatch.setattr(pictures, "SUBSET", 300)
    whole, _ = pictures.kernel_distance(a, b[:300])
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
    images = embedder.embed_images([toys.Image.open(tmp_path / f"{name}.png").convert("RGB") for name in captions])
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
