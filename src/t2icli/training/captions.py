"""Whether there are captions to learn from."""

from __future__ import annotations

import warnings

from t2icli.contract.kinds import CaptionedRecipe, Recipe
from t2icli.data.dataset import PreparedDataset
from t2icli.ground.errors import T2IError
from t2icli.training import launch


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
