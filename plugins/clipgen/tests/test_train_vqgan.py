from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from t2i_clipgen import CodecRecipeSettings
from t2i_clipgen.vqgan.train import VQGANRecipe
from t2icli import load
from t2icli.data.dataset import PreparedDataset
from t2icli.nn.discriminator import PatchDiscriminator, heed, hinge
from t2icli.nn.vqgan import Vqgan
from t2icli.registry import discovery
from t2icli.testing import check_recipe

TINY = {
    "shape": {"codes": 32, "width": 8, "size": 16, "base": 32, "multipliers": (1, 1), "blocks": 1, "attention": ()},
    "perceptual": "laplacian",
    "adversary_width": 8,
    "adversary_layers": 1,
}


def adversary(tiny: Any) -> PatchDiscriminator:
    """The original's, by our names: `features.N` and `head` are one list here."""
    sizes = tiny.sizes
    model = PatchDiscriminator(sizes["disc_ch"], sizes["disc_n_layer"])
    theirs = {k: v for k, v in tiny.tensors("vqgan.pt").items() if k.startswith("discriminator.")}
    last = len(model.main) - 1
    model.load_state_dict(
        {
            re.sub(r"^discriminator\.(features|head)", lambda m: "main" + (f".{last}" if m[1] == "head" else ""), k): v
            for k, v in theirs.items()
        }
    )
    return model.eval()


def test_adversary_and_its_losses_are_the_originals(tiny: Any, vqgan: Vqgan) -> None:
    io, judge = tiny.io, adversary(tiny)
    back = vqgan(io["vq/x"])
    real, fake = judge(io["vq/x"]), judge(back)
    torch.testing.assert_close(real, io["vq/disc_real"], atol=1e-4, rtol=0)
    torch.testing.assert_close(fake, io["vq/disc_recon"], atol=1e-4, rtol=0)
    torch.testing.assert_close(hinge(real, fake).reshape(1), io["vq/hinge_d"], atol=1e-4, rtol=0)
    torch.testing.assert_close(-fake.mean().reshape(1), io["vq/hinge_g"], atol=1e-4, rtol=0)
    l1 = (io["vq/x"] - back).abs().mean()
    weight = heed(l1, -fake.mean(), vqgan.decoder.conv_out.weight)
    torch.testing.assert_close(weight.reshape(1), io["vq/adaptive_weight_l1only"], rtol=1e-3, atol=0)


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("options", [{"adversary_start": 0}, {"begin": 2, "reseed_every": 1, "adversary_weight": 0}])
def test_the_vqgan_keeps_a_recipes_promises(data: PreparedDataset, tmp_path: Path, options: dict[str, Any]) -> None:
    check_recipe(discovery.find("recipe", "clipgen-vqgan"), data, tmp_path / "saved", **TINY, **options)
    codec = load("codec", "clipgen-vqgan", model=tmp_path / "saved")
    assert codec.encode(torch.rand(2, 3, 16, 16)).shape == (2, 64)


@pytest.mark.usefixtures("fake")
def test_the_adversary_waits_for_the_first_pass_to_end(data: PreparedDataset) -> None:
    recipe: VQGANRecipe = load("recipe", "clipgen-vqgan", loop={"batch_size": 2}, **TINY)
    recipe.dataset(data, "train", {})
    assert [recipe.has_adversary(step) for step in (0, 1, 2, 3)] == [False, False, True, True]
    images = torch.rand(2, 3, 16, 16)
    assert recipe.adversary_loss(images, 1)[0] == 0
    assert recipe.adversary_loss(images, 2)[0] > 0
    names = [set(recipe.codec_loss(images, step)[1]) for step in (1, 2)]
    assert names[0] == names[1]


def test_hyperparameters_are_the_originals() -> None:
    chosen = CodecRecipeSettings()
    assert chosen.loop.lr == pytest.approx(4.5e-6 * chosen.loop.batch_size)
    assert (chosen.loop.betas, chosen.loop.optimizer, chosen.loop.epochs) == ((0.5, 0.9), "adam", 800)
    assert (chosen.shape.codes, chosen.commitment, chosen.attraction) == (16384, 1.0, 0.2)
