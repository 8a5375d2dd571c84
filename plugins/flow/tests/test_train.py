from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from torch import Tensor
from torch.utils.data import default_collate

from t2i_flow.model import FlowShape
from t2icli import load
from t2icli.data.dataset import PreparedDataset
from t2icli.ground.errors import T2IError
from t2icli.nn.latents import from_standard, measured, standard
from t2icli.registry import discovery
from t2icli.store import models
from t2icli.testing import check_recipe

TINY = {"tokenizer": "letters", "width": 32, "layers": 1, "heads": 2, "text_length": 12, "steps": 2}
LIKE = {"embedder": "fake", "like_share": 0.5}


@pytest.mark.usefixtures("front")
@pytest.mark.parametrize("options", [{}, LIKE, {**LIKE, "text": "encodings"}, {"patch": 2}])
def test_a_flow_keeps_a_recipes_promises(
    codec: Path, data: PreparedDataset, tmp_path: Path, options: dict[str, Any]
) -> None:
    entry = discovery.find("recipe", "flow")
    check_recipe(entry, data, tmp_path / "saved", codec={"model": codec}, **TINY, **options)
    saved = models.open_model(tmp_path / "saved")
    assert saved.part("codec").sha256 == models.open_model(codec).sha256
    generator = load("generator", "flow", model=saved)
    assert generator.sampling.steps == 2
    assert len(list(generator.generate("red", 2, seed=0))) == 2
    assert ("like" in generator.abilities.conditions) == ("embedder" in options)


@pytest.mark.usefixtures("front")
def test_latents_are_learnt_with_a_mean_of_0_and_a_deviation_of_1(codec: Path, data: PreparedDataset) -> None:
    recipe = load("recipe", "flow", codec={"model": codec}, **TINY)
    latents = torch.randn(4, 4, 2, 2) * torch.tensor([1.0, 2.0, 30.0, 0.1])[:, None, None] + 5
    recipe.dataset(data, "train", {"latents": latents})
    whitened = standard(latents, recipe.shape)
    channels = whitened.movedim(1, 0).flatten(1)
    torch.testing.assert_close(channels.mean(1), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(channels.std(1), torch.ones(4), atol=1e-3, rtol=0)
    torch.testing.assert_close(from_standard(whitened, recipe.shape), latents, atol=1e-3, rtol=1e-4)


def test_a_channel_that_never_changes_does_no_harm() -> None:
    still = torch.zeros(3, 2, 2, 2)
    shape = FlowShape((2, 2, 2), 4, **measured(still))
    assert standard(still, shape).isfinite().all()


@pytest.mark.usefixtures("front")
def test_the_picture_takes_the_captions_place_as_often_as_asked(codec: Path, data: PreparedDataset) -> None:
    encoded = {"latents": torch.zeros(4, 4, 2, 2), "images": torch.ones(4, 16)}
    for share in (0.0, 1.0):
        recipe = load("recipe", "flow", codec={"model": codec}, **TINY, embedder="fake", like_share=share or 1e-9)
        batch = default_collate([recipe.dataset(data, "train", encoded)[i] for i in range(4)])
        assert bool(batch["embedding"].any()) == bool(share)
        assert bool(batch["text"].any()) != bool(share)


@pytest.mark.usefixtures("front")
def test_guidance_has_something_to_compare_with(codec: Path, data: PreparedDataset) -> None:
    """All conditions dropped, the loss no longer depends on the text."""
    recipe = load("recipe", "flow", codec={"model": codec}, **TINY, dropped=1.0)
    batch = default_collate([recipe.dataset(data, "train", {"latents": torch.randn(4, 4, 2, 2)})[i] for i in range(4)])
    losses = []
    for text in (batch["text"], batch["text"].flip(0)):
        torch.manual_seed(0)
        losses.append(recipe.loss({**batch, "text": text}, 0)[0].item())
    assert losses[0] == losses[1]


@pytest.mark.usefixtures("front")
def test_shift_trains_nearer_to_noise_and_the_model_draws_with_it(
    codec: Path, data: PreparedDataset, tmp_path: Path
) -> None:
    times: list[Tensor] = []
    for shift in (1.0, 3.0):
        recipe = load("recipe", "flow", codec={"model": codec}, **TINY, shift=shift)
        samples = recipe.dataset(data, "train", {"latents": torch.randn(4, 4, 2, 2)})
        batch = default_collate([samples[i % 4] for i in range(256)])
        recipe.model.register_forward_pre_hook(lambda _, given: times.append(given[1]))
        torch.manual_seed(0)
        recipe.loss(batch, 0)
    torch.testing.assert_close(times[1].logit(), times[0].logit() - math.log(3))
    recipe.save(tmp_path / "saved")
    assert load("generator", "flow", model=tmp_path / "saved").sampling.times(False) == [0.0, 0.25, 1.0]


@pytest.mark.usefixtures("front")
def test_it_learns(codec: Path, data: PreparedDataset) -> None:
    """Latents that depend on the caption's first letter alone: what is drawn has them."""
    from t2i_flow.draw import FlowSampling, Given, draw

    torch.manual_seed(0)
    recipe = load("recipe", "flow", codec={"model": codec}, **TINY)
    latents = torch.randn(4, 4, 2, 2)
    batch = default_collate([recipe.dataset(data, "val", {"latents": latents})[i] for i in range(4)])
    recipe.dataset(data, "train", {"latents": latents})
    optimizer = torch.optim.AdamW(recipe.model.parameters(), 3e-3)
    many = {name: rows.repeat(8, *[1] * (rows.ndim - 1)) for name, rows in batch.items()}
    for step in range(300):
        loss, _ = recipe.loss(many, step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    recipe.model.eval()
    drawn = draw(recipe.model, [5, 6, 7, 8], Given(batch["text"], batch["embedding"]), FlowSampling(20, 1.0))
    distance = torch.cdist(drawn.flatten(1), latents.flatten(1))
    assert distance.argmin(1).tolist() == [0, 1, 2, 3]


@pytest.mark.usefixtures("front")
def test_training_continues_from_a_flow_with_its_own_sizes_and_parts(make_model: Any) -> None:
    started = models.open_model(make_model())
    recipe = load("recipe", "flow", start=str(started.folder), tokenizer="letters")
    assert recipe.shape == msgspec.convert(started.card.config, FlowShape)
    assert recipe.settings.codec.settings.model.sha256 == started.part("codec").sha256
    with pytest.raises(T2IError, match="its width is 32, but 96 was requested"):
        load("recipe", "flow", start=str(started.folder), tokenizer="letters", width=96, heads=2)


@pytest.mark.usefixtures("front")
def test_sizes_that_do_not_divide_are_refused(codec: Path) -> None:
    parts = {"codec": {"model": codec}, "tokenizer": "letters"}
    with pytest.raises(T2IError, match="5 heads do not divide a width of 32"):
        load("recipe", "flow", **parts, width=32, heads=5)
    with pytest.raises(T2IError, match="patches of 3 do not divide 2 x 2 latents"):
        load("recipe", "flow", **parts, patch=3)
    with pytest.raises(T2IError, match="there is no embedder"):
        load("recipe", "flow", **parts, text="encodings")


def test_a_flow_trains_resumes_and_draws_through_the_front_door(front: Any, codec: Path, data: PreparedDataset) -> None:
    words = ["train", "flow", "--train-data", data.folder, "--output", "run", "--size", "original"]
    for option in ("tokenizer=letters", f"codec.model={codec}", "width=32", "layers=1", "heads=2", "text_length=12"):
        words += ["-o", option]
    front.ok(*words, "--max-steps", 2, "--batch-size", 2, "--warmup", 0)
    front.ok("generate", "red", "-m", "run/model", "--output", "out", "-o", "steps=2")
