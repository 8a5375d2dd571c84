"""The drawn shapes that the learning proofs train on and judge by."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image, ImageFilter


@pytest.fixture(scope="module")
def shapes() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "shapes_data.py"
    spec = importlib.util.spec_from_file_location("shapes_data", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["shapes_data"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("pixels", [32, 64])
def test_the_judge_reads_every_drawn_scene(shapes: ModuleType, pixels: int) -> None:
    for scene in shapes.scenes(held_out=False) + shapes.scenes(held_out=True):
        assert shapes.judge(shapes.draw(scene, pixels)) == (scene.shape, scene.colour)


def test_the_judge_reads_blurred_scenes(shapes: ModuleType) -> None:
    every = shapes.scenes(held_out=True)
    blurred = [shapes.draw(scene, 32).filter(ImageFilter.GaussianBlur(0.8)) for scene in every]
    right = sum(shapes.judge(image) == (s.shape, s.colour) for image, s in zip(blurred, every, strict=True))
    assert right >= 0.95 * len(every)


def test_the_judge_sees_nothing_in_an_empty_picture(shapes: ModuleType) -> None:
    assert shapes.judge(Image.new("RGB", (32, 32), shapes.BACKGROUND)) is None


def test_held_out_captions_are_never_written(shapes: ModuleType, tmp_path: Path) -> None:
    shapes.write(tmp_path, 200)
    written = {line for path in tmp_path.glob("*.txt") for line in path.read_text(encoding="utf-8").splitlines()}
    held_out = {caption for scene in shapes.scenes(held_out=True) for caption in scene.captions}
    assert written and not written & held_out
