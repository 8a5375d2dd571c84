"""The default sizes against the original, with weights that a recipe in the golden data's README makes from names."""

from __future__ import annotations

import json
import zlib
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from t2i_clipgen.convert import prior_tensors
from t2i_clipgen.model import Prior, PriorShape
from t2i_clipgen.vqgan.convert import CodecShape, renamed, without_discriminator
from t2icli.nn import decode, weights
from t2icli.nn.pixels import to_tensor
from t2icli.nn.vqgan import Vqgan

EMBEDDINGS = ("emb.weight", "pos_emb", "embedding.weight")


def made_of(name: str, shape: list[int]) -> Tensor:
    """The weight of that name; the rules stand in the golden data's README."""
    a = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode()))).standard_normal(shape)
    if name.endswith(EMBEDDINGS):
        a = 0.5 * a
    elif len(shape) >= 2:
        a = a / np.sqrt(np.prod(shape[1:]))
    else:
        a = 1 + 0.1 * a if name.endswith("weight") else 0.02 * a
    return torch.from_numpy(a.astype(np.float32))


def weights_of(golden: Any, name: str, keep: Any = lambda name: True) -> dict[str, Tensor]:
    table = json.loads(golden(f"clipgen/keys_{name}.json").read_text())
    return {key: made_of(key, entry["shape"]) for key, entry in table.items() if keep(key)}


@pytest.mark.slow
def test_the_released_sizes_of_the_vqgan_agree(golden: Any) -> None:
    known = load_file(golden("clipgen/full/vqgan.safetensors"))
    model = Vqgan(CodecShape().network)
    theirs = weights_of(golden, "vqgan", lambda key: not key.startswith("discriminator."))
    weights.fill(model.eval(), renamed(without_discriminator(theirs), CodecShape()), "golden")
    images = to_tensor(Image.open(golden("clipgen/full/image.png")))[None] * 2 - 1
    with torch.no_grad():
        z = model.latents(images)
        torch.testing.assert_close(z, known["z"], atol=2e-3, rtol=0)
        codes = model.quantize.codes(z)
        firm = known["gap"].reshape(codes.shape) > 1e-3
        assert codes[firm].equal(known["indices"][firm])
        drawn = model.reconstruct(model.quantize.look_up(known["indices"]))
        torch.testing.assert_close(drawn[:, :, ::8, ::8], known["recon_s8"], atol=2e-3, rtol=0)


@pytest.mark.slow
def test_the_released_sizes_of_the_prior_agree(golden: Any) -> None:
    known = load_file(golden("clipgen/full/gpt2_medium.safetensors"))
    model = Prior(PriorShape())
    theirs = weights_of(golden, "gpt2_medium", lambda key: not key.endswith(".mask"))
    weights.fill(model.eval(), prior_tensors(theirs), "golden")
    with torch.no_grad():
        logits = model(known["cond"], known["tokens"])[:, known["positions"]]
        torch.testing.assert_close(logits, known["logits"], atol=2e-3, rtol=0)
    greedy = next(decode.sample(model, known["cond"][:1], [0], 12, decode.Sampling(temperature=0)))
    assert greedy[None].equal(known["greedy12"])
