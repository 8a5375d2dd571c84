"""The adversary and its losses are those of the originals."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from t2icli.nn.discriminator import ActNorm, PatchDiscriminator, heed, hinge


@pytest.fixture(params=["tiny_a", "tiny_b"])
def io(request: pytest.FixtureRequest, golden: Callable[[str], Path]) -> dict[str, Tensor]:
    """What CLIP-GEN's own code computed, and its discriminator's weights."""
    folder = f"clipgen/{request.param}"
    if request.param == "tiny_a":
        state = load_file(golden(f"{folder}/discriminator.safetensors"))
    else:
        state = torch.load(golden(f"{folder}/vqgan.pt"), weights_only=True)["model"]
    return {**state, **load_file(golden(f"{folder}/io.safetensors"))}


def discriminator(state: dict[str, Tensor]) -> PatchDiscriminator:
    """CLIP-GEN's, which is taming's under other names."""
    mine = {name.removeprefix("discriminator."): v for name, v in state.items() if name.startswith("discriminator.")}
    widths = [value.shape[0] for name, value in mine.items() if name.endswith("weight") and value.ndim == 4]
    network = PatchDiscriminator(widths[0], len(widths) - 2)
    last = len(network.main) - 1
    renamed = {name.replace("features.", "main.").replace("head.", f"main.{last}."): v for name, v in mine.items()}
    network.load_state_dict(renamed)
    return network.eval()


def test_it_judges_as_upstream(io: dict[str, Tensor]) -> None:
    network = discriminator(io)
    with torch.no_grad():
        real, fake = network(io["vq/x"]), network(io["vq/recon"])
    assert torch.allclose(real, io["vq/disc_real"], atol=1e-4)
    assert torch.allclose(fake, io["vq/disc_recon"], atol=1e-4)
    assert torch.allclose(hinge(real, fake), io["vq/hinge_d"], atol=1e-4)
    assert torch.allclose(-fake.mean(), io["vq/hinge_g"], atol=1e-4)


def test_what_the_codec_heeds_balances_both_pulls() -> None:
    layer = nn.Linear(4, 4, bias=False)
    x = torch.randn(8, 4)
    strong, weak = (10 * layer(x)).abs().mean(), layer(x).square().mean()
    weight = heed(strong, weak, layer.weight)
    (pull,) = torch.autograd.grad(strong, layer.weight, retain_graph=True)
    (push,) = torch.autograd.grad(weak, layer.weight)
    assert torch.allclose((weight * push).norm(), pull.norm(), rtol=1e-2) and not weight.requires_grad


def test_taming_names_its_parameters_so(golden: Callable[[str], Path]) -> None:
    shapes = json.loads(golden("vqgan/keys_imagenet_f16_1024.json").read_text())
    own = PatchDiscriminator(64, 2).state_dict()
    for name in ("main.0.weight", "main.2.weight"):
        assert shapes[f"loss.discriminator.{name}"] == list(own[name].shape)


def test_an_act_norm_begins_with_the_first_batch_whitened() -> None:
    layer = ActNorm(3)
    out = layer(torch.randn(16, 3, 8, 8) * 5 + 2)
    assert torch.allclose(out.mean((0, 2, 3)), torch.zeros(3), atol=1e-4)
    assert torch.allclose(out.std((0, 2, 3)), torch.ones(3), atol=1e-3)
    again = layer(torch.full((1, 3, 2, 2), 2.0))
    assert torch.allclose(again, torch.zeros_like(again), atol=0.2)
