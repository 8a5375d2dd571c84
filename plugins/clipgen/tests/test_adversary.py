"""The losses shared by all adversarial training are those CLIP-GEN was trained with."""

from __future__ import annotations

from typing import Any

import torch

from t2icli.nn.discriminator import PatchDiscriminator, heed, hinge
from t2icli.nn.vqgan import Vqgan


def discriminator(theirs: dict[str, torch.Tensor]) -> PatchDiscriminator:
    mine = {name.removeprefix("discriminator."): v for name, v in theirs.items() if name.startswith("discriminator.")}
    widths = [value.shape[0] for name, value in mine.items() if name.endswith("weight") and value.ndim == 4]
    network = PatchDiscriminator(widths[0], len(widths) - 2)
    last = f"main.{len(network.main) - 1}."
    network.load_state_dict({n.replace("features.", "main.").replace("head.", last): v for n, v in mine.items()})
    return network.eval()


def test_the_adversary_weighs_as_in_the_original(tiny: Any, vqgan: Vqgan) -> None:
    io = tiny.io
    judge = discriminator(tiny.tensors("vqgan.pt"))
    back = vqgan(io["vq/x"])
    unlike = (io["vq/x"] - back).abs().mean()
    found = heed(unlike, -judge(back).mean(), vqgan.decoder.conv_out.weight)
    assert torch.allclose(found, io["vq/adaptive_weight_l1only"], rtol=1e-3)
    with torch.no_grad():
        assert torch.allclose(hinge(judge(io["vq/x"]), judge(back)), io["vq/hinge_d"], atol=1e-4)
