from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from t2i_clipgen import RecipeSettings
from t2i_clipgen.model import Prior, PriorShape
from t2i_clipgen.train import Conditions, noisy
from t2icli import load
from t2icli.data.dataset import PreparedDataset
from t2icli.ground.errors import T2IError
from t2icli.registry import discovery
from t2icli.store import models
from t2icli.testing import check_recipe
from t2icli.training.schedule import Schedule

TINY = {"embedder": "fake", "width": 32, "layers": 1, "heads": 2}


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("options", [{}, {"views": 2, "noise": 0.5, "text_share": 0.5}, {"whiten": True}])
def test_the_prior_keeps_a_recipes_promises(
    tiny_model: Path, data: PreparedDataset, tmp_path: Path, options: dict[str, Any]
) -> None:
    entry = discovery.find("recipe", "clipgen")
    check_recipe(entry, data, tmp_path / "saved", codec={"model": tiny_model / "codec"}, **TINY, **options)
    saved = models.open_model(tmp_path / "saved")
    assert saved.part("codec").sha256 == models.open_model(tiny_model / "codec").sha256
    assert len(list(load("generator", "clipgen", model=saved).generate("red", 2, seed=0))) == 2


@pytest.mark.usefixtures("fake")
def test_training_goes_on_from_a_prior_with_its_own_sizes_and_codec(tiny_model: Path, data: PreparedDataset) -> None:
    started = models.open_model(tiny_model)
    recipe = load("recipe", "clipgen", start=str(tiny_model), embedder="fake")
    assert recipe.shape == msgspec.convert(started.card.config, PriorShape)
    assert recipe.settings.codec.settings.model.sha256 == started.part("codec").sha256
    with pytest.raises(T2IError, match=f"its width is {recipe.shape.width}, but 96 was requested"):
        load("recipe", "clipgen", start=str(tiny_model), embedder="fake", width=96)
    for name, weight in load_file(started.file()).items():
        assert recipe.model.get_parameter(name).equal(weight)
    assert recipe.model.training and all(weight.requires_grad for weight in recipe.model.parameters())


@pytest.mark.usefixtures("fake")
def test_whitening_a_trained_prior_changes_nothing_at_first_and_is_measured_once(
    tiny_model: Path, data: PreparedDataset, tmp_path: Path
) -> None:
    start = {"embedder": "fake", "codec": {"model": tiny_model / "codec"}}
    before = load("recipe", "clipgen", start=str(tiny_model), **start).model
    recipe = load("recipe", "clipgen", start=str(tiny_model), **start, whiten=True)
    length, width = recipe.shape.length, recipe.shape.condition
    codes, embeddings = torch.zeros(50, length, dtype=torch.int64), F.normalize(torch.randn(50, width), dim=1)
    recipe.dataset(data, "train", {"codes": codes, "embeddings": embeddings})
    axes = recipe.model.whitening.axes
    expected = before.eval()(embeddings, codes[:, 1:])

    assert recipe.shape.whitened and not axes.equal(torch.eye(width))
    torch.testing.assert_close(recipe.model.eval()(embeddings, codes[:, 1:]), expected, atol=1e-4, rtol=1e-4)
    recipe.save(tmp_path / "whitened")
    later = load("recipe", "clipgen", start=str(tmp_path / "whitened"), embedder="fake", whiten=True)
    later.dataset(data, "train", {"codes": codes, "embeddings": 2 * embeddings})
    assert later.model.whitening.axes.equal(axes)


@pytest.mark.parametrize("sharpness", [10.0, 14.0, 18.0])
def test_small_losses_are_the_originals_to_1e_4(sharpness: float) -> None:
    from t2i_clipgen.train import PriorRecipe

    torch.manual_seed(0)
    prior, codes = (
        Prior(PriorShape(codes=3000, length=16, condition=8, width=32, layers=1, heads=2)),
        torch.full((4, 16), 7),
    )
    torch.nn.init.normal_(prior.head.bias)
    prior.head.bias.data[7] = sharpness
    recipe = PriorRecipe.__new__(PriorRecipe)
    recipe.settings, recipe.model, embedding = RecipeSettings(), prior, torch.randn(4, 8)
    original = F.cross_entropy(prior(embedding, codes[:, :-1]).flatten(0, 1), codes.flatten()).item()
    assert prior.loss(embedding, codes).item() == pytest.approx(original, rel=1e-4)
    found, _ = recipe.loss({"embedding": embedding, "codes": codes}, 0)
    assert found.item() == pytest.approx(original, rel=1e-4)


def test_learning_rate_and_weight_decay_are_the_originals(golden: Any) -> None:
    known = json.loads(golden("clipgen/optimizer_schedule.json").read_text())
    loop = RecipeSettings().loop
    schedule = Schedule(loop, total=200 * 1000)
    for epoch, lr in known["lr"].items():
        assert schedule.lr(int(float(epoch) * 1000)) == pytest.approx(lr, rel=1e-3, abs=1e-8)
    assert (loop.weight_decay, loop.betas) == (known["wd"][0], (0.9, 0.95))


def test_only_the_weights_of_linear_layers_decay() -> None:
    from t2i_clipgen.train import PriorRecipe

    recipe = PriorRecipe.__new__(PriorRecipe)
    recipe.model = Prior(PriorShape(8, 4, 4, 8, 1, 2))
    hidden, ends, others = recipe.turns()[0].groups
    decayed = [*hidden.parameters, *ends.parameters]
    names = {id(p): name for name, p in recipe.model.named_parameters()}
    assert {names[id(p)].split(".")[-2] for p in decayed} == {
        "cond_proj",
        "qkv",
        "out",
        "up",
        "down",
        "head",
    }
    assert others.weight_decay == 0 and len(decayed) + len(others.parameters) == len(names)


def test_noise_keeps_an_embedding_on_the_sphere_and_near() -> None:
    torch.manual_seed(0)
    embedding = torch.nn.functional.normalize(torch.randn(512), dim=0)
    moved = torch.stack([noisy(embedding, 0.5) for _ in range(50)])
    torch.testing.assert_close(moved.norm(dim=1), torch.ones(50))
    assert (moved @ embedding).mean() == pytest.approx(1 / (1 + 0.5**2) ** 0.5, abs=0.01)
    assert noisy(embedding, 0.0) is embedding


@pytest.mark.usefixtures("fake")
def test_guidance_has_something_to_compare_with(tiny_model: Path, data: PreparedDataset) -> None:
    """All embeddings dropped, the loss no longer depends on them, whitened or not."""
    for whiten in (False, True):
        settings = {"codec": {"model": tiny_model / "codec"}, **TINY, "dropout": 0.0, "whiten": whiten}
        recipe = load("recipe", "clipgen", **settings, null_condition=1.0)
        codes = torch.zeros(8, recipe.shape.length, dtype=torch.int64)
        embeddings = F.normalize(torch.randn(8, recipe.shape.condition), dim=1)
        recipe.dataset(data, "train", {"codes": codes, "embeddings": embeddings})
        first, second = (
            recipe.loss({"embedding": each, "codes": codes}, 0)[0].item() for each in (embeddings, embeddings.flip(0))
        )
        given = recipe.model.start(embeddings)

        assert first == second
        assert not given[0].equal(given[1])
        assert recipe.model.start(torch.zeros(1, recipe.shape.condition))[0, 0].equal(recipe.model.cond_proj.bias)


def test_texts_take_the_images_place_as_often_as_asked() -> None:
    encoded = {"codes": torch.zeros(2, 3), "embeddings": torch.zeros(2, 4), "texts": torch.ones(3, 4)}
    always = Conditions(encoded, [1, 2], 0.0, 1.0, 1)
    never = Conditions(encoded, [1, 2], 0.0, 0.0, 1)
    assert all(bool((always[i]["embedding"] == 1).all()) for i in range(2))
    assert not any(bool(never[i]["embedding"].any()) for i in range(2))
