"""The default sizes against the original, with weights that a recipe in the golden data's README makes from names."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from t2i_clipcap.convert import UNUSED, renamed
from t2i_clipcap.model import ClipCap, ClipCapShape, MapperShape
from t2icli.nn import decode, weights

EMBEDDINGS = ("wte.weight", "wpe.weight", "embeddings.weight", "prefix_const")


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


@pytest.mark.slow
@pytest.mark.parametrize("mapper", ["mlp", "bert"])
def test_the_default_sizes_agree(golden: Callable[[str], Path], mapper: str) -> None:
    known = load_file(golden(f"clipcap/full/{mapper}.safetensors"))
    table = json.loads(golden(f"clipcap/keys_{mapper}_gpt2_12layer.json").read_text())
    theirs = {name: made_of(name, entry["shape"]) for name, entry in table.items() if not UNUSED.search(name)}
    model = ClipCap(ClipCapShape(mapper=MapperShape(name=mapper))).eval()
    weights.fill(model, renamed(theirs), "golden")
    with torch.no_grad():
        torch.testing.assert_close(model.mapper(known["clip_embeds"]), known["prefix"], atol=1e-4, rtol=1e-4)
        logits = model(known["clip_embeds"], known["caption_ids"], known["mask"].bool())[:, known["positions"]]
    torch.testing.assert_close(logits, known["logits"], atol=5e-3, rtol=0)
    sampling = decode.Sampling(temperature=0, forbidden=(100,), stop=102)
    greedy = next(decode.sample(model, known["clip_embeds"][:1], [0], 8, sampling))
    assert greedy[None].equal(known["greedy_ids"])
