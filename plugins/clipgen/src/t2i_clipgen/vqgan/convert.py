"""CLIP-GEN's released `vqgan_*.pt` as a model folder of ours; its discriminator stays behind.

The network is taming-transformers' but for the eps of its norms. Its layers have other names, and its attention has
one projection for queries, keys and values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
from torch import Tensor

from t2i_clipgen import CodecShape
from t2i_clipgen.convert import sorted_files
from t2icli.contract.entries import Upstream
from t2icli.ground.errors import T2IError
from t2icli.nn import weights
from t2icli.nn.vqgan import Vqgan
from t2icli.store import models
from t2icli.store.models import Card
from t2icli.store.upstream import read

ENDS = {
    "encoder.final.0.": "encoder.norm_out.",
    "encoder.final.2.": "encoder.conv_out.",
    "encoder.final.3.": "quant_conv.",
    "decoder.quant_conv_in.": "post_quant_conv.",
    "decoder.final.0.": "decoder.norm_out.",
    "decoder.final.2.": "decoder.conv_out.",
    "quantizer.": "quantize.",
}
INSIDE = {
    ".mid.0.": ".mid.block_1.",
    ".mid.1.": ".mid.attn_1.",
    ".mid.2.": ".mid.block_2.",
    ".block.0.": ".norm1.",
    ".block.2.": ".conv1.",
    ".block.3.": ".norm2.",
    ".block.6.": ".conv2.",
    ".shortcut.": ".nin_shortcut.",
    ".attn.out_proj.": ".proj_out.",
}


def convert(upstream: Upstream, folder: Path) -> None:
    checkpoint, known = sorted_files(upstream)
    tensors = without_discriminator(read(checkpoint).tensors("model"))
    shape = shape_of(tensors, known, checkpoint)
    network = Vqgan(shape.network)
    weights.fill(network, renamed(tensors, shape), checkpoint.name)
    weights.save(network, folder)
    models.seal(folder, card(shape, "CLIP-GEN's VQGAN", licence="MIT", source=checkpoint.name))


def without_discriminator(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if not name.startswith("discriminator.")}


def renamed(tensors: Mapping[str, Tensor], shape: CodecShape) -> dict[str, Tensor]:
    """CLIP-GEN's tensors by the names of `nn.vqgan`; as they are, where these are their names already."""
    if "quantizer.embedding.weight" not in tensors:
        return dict(tensors)
    names = dict(layers(shape))
    ours: dict[str, Tensor] = {}
    for theirs, tensor in tensors.items():
        name, attends = rename(theirs, names), ".attn." in theirs
        tensor = tensor[..., None, None] if attends and tensor.ndim == 2 else tensor
        if ".attn.in_proj_" in name:
            ours |= {
                name.replace("attn.in_proj_", f"{x}."): third for x, third in zip("qkv", tensor.chunk(3), strict=True)
            }
        else:
            ours[name] = tensor
    return ours


def rename(name: str, names: dict[str, str]) -> str:
    for theirs, ours in INSIDE.items():
        name = name.replace(theirs, ours)
    for theirs, ours in (names | ENDS).items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name


def layers(shape: CodecShape) -> Iterator[tuple[str, str]]:
    """The layers of CLIP-GEN's flat `down` and `up` and what they are called in levels of blocks."""
    network = shape.network
    last = len(network.ch_mult) - 1
    ways = (
        ("encoder.down", range(last + 1), 0, "downsample", last),
        ("decoder.up", range(last, -1, -1), 1, "upsample", 0),
    )
    for way, levels, more, step, end in ways:
        places = count()
        for level in levels:
            for block in range(shape.blocks + more):
                yield f"{way}.{next(places)}.", f"{way}.{level}.block.{block}."
                if network.attends[level]:
                    yield f"{way}.{next(places)}.", f"{way}.{level}.attn.{block}."
            if level != end:
                yield f"{way}.{next(places)}.", f"{way}.{level}.{step}."


def shape_of(tensors: Mapping[str, Tensor], known: Mapping[str, Any], checkpoint: Path) -> CodecShape:
    """The sizes of the network that holds these weights, read off the encoder's flat list of layers.

    The size of the images leaves no trace: it is 256, as in the release, unless it is `known`.
    """
    if "quantizer.embedding.weight" not in tensors or "encoder.conv_in.weight" not in tensors:
        raise T2IError(f"'{checkpoint}' holds no VQGAN of CLIP-GEN: there is no codebook and encoder in it")
    codes, width = tensors["quantizer.embedding.weight"].shape
    base = tensors["encoder.conv_in.weight"].shape[0]
    levels = encoder_levels(tensors)
    size = int(known.get("size", 256))
    return CodecShape(
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


def card(shape: CodecShape, about: str, *, licence: str = "", source: str = "") -> Card:
    config = msgspec.to_builtins(shape)
    return Card(kind="codec", backend="clipgen-vqgan", about=about, config=config, licence=licence, source=source)
