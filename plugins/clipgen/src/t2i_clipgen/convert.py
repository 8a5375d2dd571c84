"""CLIP-GEN's released `gpt_*.pt` as a model folder of ours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from torch import Tensor

from t2i_clipgen.model import Prior, PriorShape
from t2icli.contract.entries import Upstream
from t2icli.ground.errors import T2IError
from t2icli.nn import weights
from t2icli.registry import parts
from t2icli.store import models
from t2icli.store.models import Card
from t2icli.store.upstream import read

RENAMED = (
    (".encoder.self_attn.in_proj_", ".qkv."),
    (".encoder.self_attn.out_proj.", ".out."),
    (".encoder.linear1.", ".up."),
    (".encoder.linear2.", ".down."),
    (".encoder.norm", ".norm"),
)
MOVED = ("blocks.", "norm.")
"""These belong to `decoder` here."""


def rename(name: str) -> str:
    for theirs, ours in RENAMED:
        name = name.replace(theirs, ours)
    return f"decoder.{name}" if name.startswith(MOVED) else name


def prior_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Their checkpoint by our names; the causal mask each block carries is not a weight."""
    return {rename(name): tensor for name, tensor in tensors.items() if not name.endswith(".mask")}


def convert(upstream: Upstream, folder: Path) -> None:
    """A model folder from `gpt_*.pt`, with its VQGAN and CLIP inside."""
    checkpoint, known = sorted_files(upstream)
    tensors = prior_tensors(read(checkpoint).tensors("model"))
    shape = shape_of(tensors, known, checkpoint)
    prior = Prior(shape)
    weights.fill(prior, tensors, checkpoint.name)
    weights.save(prior, folder)
    parts.convert("codec", "clipgen-vqgan", upstream, "codec", folder)
    parts.convert("embedder", "clip", upstream, "embedder", folder)
    models.seal(folder, card(shape, "CLIP-GEN's prior", licence="MIT", source=checkpoint.name))
    parts.check_embedder("generator", folder, shape.condition)


def sorted_files(upstream: Upstream) -> tuple[Path, dict[str, Any]]:
    """The checkpoint, and from a JSON file beside it the sizes that no checkpoint shows."""
    checkpoints = [path for path in upstream.files if path.suffix != ".json"]
    if len(checkpoints) != 1:
        raise T2IError(
            f"one checkpoint is needed, not {len(checkpoints)}", "import the VQGAN as a part: --part codec=vqgan.pt"
        )
    known: dict[str, Any] = {}
    for path in upstream.files:
        if path.suffix == ".json":
            known.update(msgspec.json.decode(path.read_bytes()))
    return checkpoints[0], known


def shape_of(tensors: Mapping[str, Tensor], known: Mapping[str, Any], checkpoint: Path) -> PriorShape:
    """The sizes of the network that holds these weights; every released prior has heads of 64 numbers."""
    try:
        codes, width = tensors["tok_emb.weight"].shape
        inferred = {
            "codes": codes,
            "length": tensors["pos_emb"].shape[1],
            "condition": tensors["cond_proj.weight"].shape[1],
            "width": width,
            "layers": sum(name.endswith(".norm1.weight") for name in tensors),
            "heads": max(1, width // 64),
        }
    except KeyError as missing:
        raise T2IError(f"'{checkpoint}' holds no prior of CLIP-GEN: there is no {missing} in it") from missing
    return msgspec.convert({**inferred, **known}, PriorShape)


def card(shape: PriorShape, about: str, **more: Any) -> Card:
    return Card(kind="generator", backend="clipgen", about=about, config=msgspec.to_builtins(shape), **more)
