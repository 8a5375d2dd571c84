"""Captions as samples and as ids, and whether there are any to learn from."""

from __future__ import annotations

import warnings

from torch import Tensor
from torch.utils.data import Dataset

from t2icli.contract.kinds import Tokenizer
from t2icli.contract.recipes import CaptionedRecipe, Recipe
from t2icli.data.dataset import PreparedDataset
from t2icli.ground.errors import T2IError
from t2icli.training import launch


class Captions(Dataset[str]):
    """Every caption of every picture, one after another; `hint` is for data without any."""

    def __init__(self, data: PreparedDataset, hint: str) -> None:
        self.texts = [caption for i in range(len(data)) for caption in data.captions(i)]
        if not self.texts:
            raise T2IError("there are no captions to learn from", hint)

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, i: int) -> str:
        return self.texts[i]


class Ids:
    """Captions as ids (length,), 0 being padding. Each kind of warning is given once."""

    def __init__(self, tokenizer: Tokenizer, length: int) -> None:
        self.tokenizer, self.length = tokenizer, length
        self.warned: set[type[Warning]] = set()

    def __call__(self, caption: str) -> Tensor:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            text = self.tokenizer.encode([caption], self.length)[0]
        for each in caught:
            if each.category not in self.warned:
                self.warned.add(each.category)
                warnings.warn(f"{each.message} (reported once)", each.category, stacklevel=2)
        return text.masked_fill(text == self.tokenizer.padding, 0)


def check_captions(recipe: Recipe, data: PreparedDataset) -> None:
    """Refuse to train a recipe that learns from captions without any, and say how many pictures have none."""
    if isinstance(recipe, CaptionedRecipe):
        check_captioned(data, recipe.without_caption)


def check_captioned(data: PreparedDataset, without_caption: str) -> None:
    """The same for data alone; what happens to a picture without a caption, to be read after "they are"."""
    missing = sum(not data.captions(i) for i in range(len(data)))
    if missing and missing == len(data):
        raise T2IError(
            f"none of the {missing} pictures to train on has a caption",
            "write one beside each, as NAME.txt, by hand or with: t2i caption FOLDER --txt",
        )
    if missing and launch.speaks():
        message = f"{missing} of {len(data)} pictures to train on have no caption: they are {without_caption}"
        warnings.warn(message, UserWarning, stacklevel=1)
