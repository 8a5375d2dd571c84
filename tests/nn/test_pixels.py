from __future__ import annotations

import random

import torch
from PIL import Image

from t2icli.nn.pixels import random_square, square, to_images, to_tensor


def test_a_picture_survives_the_way_through_a_tensor() -> None:
    image = Image.linear_gradient("L").convert("RGB")
    assert to_images(to_tensor(image)[None])[0].tobytes() == image.tobytes()


def test_values_outside_the_range_are_clamped_not_wrapped() -> None:
    pixel = to_images(torch.tensor([-0.5, 1.5, 0.5]).reshape(1, 3, 1, 1))[0].getpixel((0, 0))
    assert pixel == (0, 255, 128)


def test_a_square_is_the_middle_of_the_picture_or_a_random_place() -> None:
    image = Image.new("RGB", (30, 10), "white")
    image.paste("black", (10, 0, 20, 10))
    assert square(image, 10).getextrema() == ((0, 0),) * 3
    random.seed(0)
    assert {random_square(image).getpixel((0, 0)) for _ in range(20)} == {(0, 0, 0), (255, 255, 255)}
    sides = [random_square(image, 0.25).size for _ in range(50)]
    assert all(width == height for width, height in sides)
    assert (min(sides)[0], max(sides)[0]) == (5, 10)


def test_a_small_picture_is_enlarged() -> None:
    assert square(Image.new("RGB", (5, 7)), 16).size == (16, 16)
