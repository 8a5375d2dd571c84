"""CLIP-GEN's released `gpt_*.pt` as a model folder of ours."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

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
