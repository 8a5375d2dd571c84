"""The recipe `vae`: what it optimises, and the codec it leaves."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import msgspec
import pytest
import torch

import t2icli
from t2icli.backends.dvae import TrainSettings
from t2icli.backends.dvae.train import VaeRecipe
from t2icli.data import shards
from t2icli.data.dataset import PreparedDataset, SourceRow
from t2icli.registry import discovery
from t2icli.testing import Runner, toys
from t2icli.testing.contracts import check_codec, check_recipe

TINY = {"image_size": 8, "num_layers": 1, "num_tokens": 8, "codebook_dim": 8, "hidden_dim": 8}


picture = partial(toys.picture, size=(10, 8))


@pytest.fixture
def data(tmp_path: Path) -> PreparedDataset:
    """Plain pictures in eight colours, two of them held out."""
    colours = [(r, g, b) for r in (30, 220) for g in (30, 220) for b in (30, 220)]
    rows = [SourceRow(str(i), picture(colours[i % 8]), (), {"split": "val" if i >= 24 else "train"}) for i in range(26)]
    return shards.write(tmp_path / "data", rows)


def recipe(**chosen: object) -> VaeRecipe:
    return VaeRecipe(msgspec.convert({**TINY, **chosen}, TrainSettings))


def test_the_recipe_keeps_the_promises_of_a_recipe(data: PreparedDataset, tmp_path: Path) -> None:
    check_recipe(discovery.find("recipe", "vae"), data, tmp_path / "model", **TINY)


def test_training_gives_a_codec_that_brings_pictures_back(t2i: Runner, data: PreparedDataset) -> None:
    tiny = [word for key, value in TINY.items() for word in ("-o", f"{key}={value}")]
    flags = ["--max-steps", 150, "--batch-size", 8, "--lr", 0.01, "--report-to", "none", "-o", "loop.lr_decay=1"]
    t2i.ok("train", "vae", "--train-data", data.folder, *tiny, *flags)
    codec = t2icli.load("codec", "dvae", model="runs/vae/model")
    images = torch.stack([VaeRecipe.dataset(recipe(), data, "val", {})[i] for i in range(len(data))])
    assert (codec.decode(codec.encode(images)) - images).abs().mean() < 0.1
    assert Path("runs/vae/previews/step-000000150.png").is_file()
    check_codec(discovery.find("codec", "dvae"), model="runs/vae/model")


def test_the_drawing_cools_as_upstream_cools_it() -> None:
    cooling, heat = recipe(anneal_rate=1e-4, temperature=1.0, temperature_min=0.5), 1.0
    for step in range(1200):
        if step % 100 == 0:
            heat = max(heat * math.exp(-1e-4 * step), 0.5)
        assert cooling.temperature(step) == pytest.approx(heat)


def test_pieces_of_a_batch_pull_towards_even_use_as_the_whole_does() -> None:
    settings = {"kl_weight": 0.1, "straight_through": True, "temperature": 1e-4, "temperature_min": 1e-4}
    vae = recipe(**settings, loop={"batch_size": 4})
    images = torch.rand(4, 3, 8, 8)
    torch.manual_seed(0)
    whole = vae.loss(images, 0)[1]["kl"]
    halves = [vae.loss(part, 0)[1]["kl"] for part in images.split(2)]
    assert sum(halves) / 2 == pytest.approx(float(whole), rel=1e-5)


@pytest.mark.parametrize("chosen", [{"straight_through": True}, {"straight_through": True, "reinmax": True}, {}])
def test_gradients_reach_the_encoder_however_codes_are_drawn(chosen: dict[str, bool]) -> None:
    vae = recipe(**chosen)
    loss, _ = vae.loss(torch.rand(2, 3, 8, 8), 0)
    loss.backward()
    assert all(float(p.grad.abs().sum()) > 0 for p in vae.model.encoder.parameters())


def test_held_out_pictures_are_judged_by_whole_codes_without_luck(data: PreparedDataset) -> None:
    vae = recipe()
    vae.model.eval()
    images = torch.rand(2, 3, 8, 8)
    with torch.no_grad():
        assert vae.loss(images, 0)[0] == vae.loss(images, 0)[0]
