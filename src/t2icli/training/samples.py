"""Samples that several recipes read: pictures cut to squares. And whether there are captions to learn from."""

from __future__ import annotations

import random
import warnings

from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from t2icli.contract.kinds import CaptionedRecipe, Recipe
from t2icli.data.dataset import PreparedDataset
from t2icli.ground.errors import T2IError
from t2icli.nn.pixels import square, to_tensor
from t2icli.training import launch


class Squares(Dataset[Tensor]):
    """Each picture's middle square; or, at random, one from anywhere of at least `smallest` of that one's area."""

    def __init__(self, data: PreparedDataset, size: int, *, at_random: bool = False, smallest: float = 1.0) -> None:
        self.data, self.size, self.at_random, self.smallest = data, size, at_random, smallest

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, i: int) -> Tensor:
        image = self.data.image(i)
        if self.at_random:
            image = _cut(image, self.smallest)
        return to_tensor(square(image, self.size))


def _cut(image: Image.Image, smallest: float) -> Image.Image:
    side = max(1, round(min(image.size) * random.uniform(smallest, 1) ** 0.5))
    left, top = random.randint(0, image.width - side), random.randint(0, image.height - side)
    return image.crop((left, top, left + side, top + side))


def check_captions(recipe: Recipe, data: PreparedDataset) -> None:
    """Refuse to train a recipe that learns from captions without any, and say how many pictures have none."""
    if not isinstance(recipe, CaptionedRecipe):
        return
    missing = sum(not data.captions(i) for i in range(len(data)))
    if missing and missing == len(data):
        raise T2IError(
            f"none of the {missing} pictures to train on has a caption",
            "write one beside each, as NAME.txt, by hand or with: t2i caption FOLDER --txt",
        )
    if missing and launch.speaks():
        told = f"{missing} of {len(data)} pictures to train on have no caption: they are {recipe.without_caption}"
        warnings.warn(told, UserWarning, stacklevel=1)
