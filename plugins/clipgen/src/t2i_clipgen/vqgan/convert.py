"""CLIP-GEN's released `vqgan_*.pt` as a model folder of ours; its discriminator stays behind."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from torch import Tensor

from t2i_clipgen.convert import sorted_files
from t2i_clipgen.vqgan.model import VQGAN, Shape
from t2icli.contract.kinds import Upstream
from t2icli.ground.errors import T2IError
from t2icli.nn import weights
from t2icli.store import models
from t2icli.store.models import Card
from t2icli.store.upstream import read


def convert(upstream: Upstream, folder: Path) -> None:
    checkpoint, known = sorted_files(upstream)
    tensors = without_discriminator(read(checkpoint).tensors("model"))
    shape = shape_of(tensors, known, checkpoint)
    model = VQGAN(shape)
    weights.fill(model, tensors, checkpoint.name)
    weights.save(model, folder)
    models.seal(folder, card(shape, "CLIP-GEN's VQGAN", licence="MIT", source=checkpoint.name))


def without_discriminator(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if not name.startswith("discriminator.")}


def shape_of(tensors: Mapping[str, Tensor], known: Mapping[str, Any], checkpoint: Path) -> Shape:
    """The sizes of the network that holds these weights, read off the encoder's flat list of layers.

    The size of the images leaves no trace: it is 256, as in the release, unless it is `known`.
    """
    if "quantizer.embedding.weight" not in tensors or "encoder.conv_in.weight" not in tensors:
        raise T2IError(f"'{checkpoint}' holds no VQGAN of CLIP-GEN: there is no codebook and encoder in it")
    codes, width = tensors["quantizer.embedding.weight"].shape
    base = tensors["encoder.conv_in.weight"].shape[0]
    levels = encoder_levels(tensors)
    size = int(known.get("size", 256))
    return Shape(
        codes=codes,
        width=width,
        size=size,
        base=base,
        multipliers=tuple(channels // base for channels, _, _ in levels),
        blocks=levels[0][1],
        attention=tuple(size >> depth for depth, (_, _, attention) in enumerate(levels) if attention),
    )


def encoder_levels(tensors: Mapping[str, Tensor]) -> list[tuple[int, int, bool]]:
    """(channels, residual blocks, has attention) of each level, fine to coarse."""
    levels = [(0, 0, False)]
    for place in range(1 + max(int(m[1]) for name in tensors if (m := re.match(r"encoder\.down\.(\d+)\.", name)))):
        channels, blocks, attention = levels[-1]
        if f"encoder.down.{place}.conv.weight" in tensors:
            levels.append((0, 0, False))
        elif f"encoder.down.{place}.norm.weight" in tensors:
            levels[-1] = (channels, blocks, True)
        else:
            levels[-1] = (tensors[f"encoder.down.{place}.block.6.weight"].shape[0], blocks + 1, attention)
    return levels


def card(shape: Shape, about: str, **more: str) -> Card:
    return Card(kind="codec", backend="clipgen-vqgan", about=about, config=msgspec.to_builtins(shape), **more)
