"""The checks of datasets and recipes: each passes an honest entry and catches each way of breaking the promise."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from t2icli import testing
from t2icli.contract.entries import Entry
from t2icli.contract.recipes import Frozen, ParamGroup, Turn
from t2icli.data.dataset import SourceRow
from t2icli.store import models
from t2icli.testing.toys import NoSettings


def entry(thing: type) -> Entry[Any]:
    return Entry("sample", "for this test", NoSettings, thing)


class HonestDataset:
    def __init__(self, settings: NoSettings) -> None: ...

    def rows(self, source: Path) -> Iterator[SourceRow]:
        return (SourceRow(str(i), source / f"{i}.jpg", ("a dish",)) for i in range(3))


class DatasetOfNothing(HonestDataset):
    def rows(self, source: Path) -> Iterator[SourceRow]:
        return iter(())


class DatasetOfTuples(HonestDataset):
    def rows(self, source: Path) -> Iterator[Any]:
        return iter([("a.jpg", "a dish")])


class DatasetOfOneKey(HonestDataset):
    def rows(self, source: Path) -> Iterator[SourceRow]:
        return (SourceRow("same", source / f"{i}.jpg", ("a dish",)) for i in range(3))


class DatasetOfLetters(HonestDataset):
    def rows(self, source: Path) -> Iterator[SourceRow]:
        return iter([SourceRow("1", source, "a dish")])  # type: ignore[arg-type]


class DatasetThatChanges(HonestDataset):
    def rows(self, source: Path) -> Iterator[SourceRow]:
        return iter([SourceRow(str(random.random()), source, ("a dish",))])


def test_an_honest_dataset_passes(tmp_path: Path) -> None:
    testing.check_dataset(entry(HonestDataset), tmp_path)


@pytest.mark.parametrize(
    ("thing", "reason"),
    [
        (DatasetOfNothing, "there must be rows"),
        (DatasetOfTuples, "rows must be SourceRow"),
        (DatasetOfOneKey, "must have a key of its own"),
        (DatasetOfLetters, "must be several texts"),
        (DatasetThatChanges, "reading again must give the same"),
    ],
)
def test_a_broken_dataset_is_caught(thing: type, reason: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=reason):
        testing.check_dataset(entry(thing), tmp_path)


class HonestRecipe:
    """Fits one number to nothing in particular."""

    def __init__(self, settings: NoSettings) -> None:
        self.model = torch.nn.Linear(1, 1)

    def frozen(self) -> Sequence[Frozen]:
        return [Frozen("ones", "always the same", lambda data: range(3), lambda batch: torch.ones(len(batch), 1))]

    def dataset(self, data: Any, split: str, encoded: Mapping[str, torch.Tensor]) -> Any:
        return torch.utils.data.TensorDataset(encoded["ones"])

    def loss(self, batch: Any, step: int) -> tuple[torch.Tensor, dict[str, float]]:
        loss = self.model(batch[0]).square().mean()
        return loss, {"loss": float(loss.detach())}

    def turns(self) -> Sequence[Turn]:
        return [Turn("all", [ParamGroup(list(self.model.parameters()))], self.loss)]

    def preview(self, batch: Any, *, seed: int) -> Sequence[Image.Image]:
        return [Image.new("L", (2, 2))]

    def save(self, folder: Path) -> None:
        from t2icli.nn import weights

        weights.save(self.model, folder)
        models.seal(folder, models.Card(kind="generator", backend="sample"))


class RecipeThatDiverges(HonestRecipe):
    def loss(self, batch: Any, step: int) -> tuple[torch.Tensor, dict[str, float]]:
        return self.model(batch[0]).sum() * float("inf"), {}


class RecipeOfAnotherModel(HonestRecipe):
    def turns(self) -> Sequence[Turn]:
        return [Turn("all", [ParamGroup([torch.nn.Parameter(torch.ones(1))])], self.loss)]


class RecipeOfTooFewResults(HonestRecipe):
    def frozen(self) -> Sequence[Frozen]:
        return [Frozen("ones", "always the same", lambda data: range(3), lambda batch: torch.ones(1, 1))]


class RecipeThatRests(HonestRecipe):
    def turns(self) -> Sequence[Turn]:
        return []


class RecipeThatSavesNothing(HonestRecipe):
    def save(self, folder: Path) -> None:
        folder.mkdir()
        models.seal(folder, models.Card(kind="generator", backend="sample"))


def test_an_honest_recipe_passes(tmp_path: Path) -> None:
    testing.check_recipe(entry(HonestRecipe), None, tmp_path / "model")


@pytest.mark.parametrize(
    ("thing", "reason"),
    [
        (RecipeThatDiverges, "must be one finite number"),
        (RecipeOfAnotherModel, "must reach its parameters"),
        (RecipeOfTooFewResults, "must give one result for each sample"),
        (RecipeThatRests, "must have a turn"),
        (RecipeThatSavesNothing, "has no file 'weights.safetensors'"),
    ],
)
def test_a_broken_recipe_is_caught(thing: type, reason: str, tmp_path: Path) -> None:
    with pytest.raises((AssertionError, models.T2IError), match=reason):
        testing.check_recipe(entry(thing), None, tmp_path / "model")
