"""The checkpoints of both originals, and a Hugging Face GPT-2, by our names."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

UNUSED = re.compile(
    r"\.attn\.(bias|masked_bias)$"  # GPT-2's causal mask, kept as a buffer by older transformers
    r"|lm_head\.weight$"  # tied to the word table
    r"|bert\.(pooler|embeddings\.(word_embeddings|position_ids))"
)
RENAMED = (
    (r"^gpt2?\.transformer\.|^transformer\.", ""),
    (r"^wte\.", "words."),
    (r"^wpe\.", "position."),
    (r"^h\.", "decoder.blocks."),
    (r"^ln_f\.", "decoder.norm."),
    (r"\.ln_(\d)\.", r".norm\1."),
    (r"\.attn\.c_attn\.", ".qkv."),
    (r"\.attn\.c_proj\.", ".out."),
    (r"\.mlp\.c_fc\.", ".up."),
    (r"\.mlp\.c_proj\.", ".down."),
    (r"^clip_project\.model\.", "mapper.layers."),
    (r"^clip_project\.prefix_const$", "mapper.learned"),
    (r"^clip_project\.linear\.", "mapper.linear."),
    (r"^clip_project\.bert\.embeddings\.position_embeddings\.weight", "mapper.position"),
    (r"^clip_project\.bert\.embeddings\.token_type_embeddings\.weight", "mapper.segment"),
    (r"^clip_project\.bert\.embeddings\.LayerNorm\.", "mapper.norm."),
    (r"^clip_project\.bert\.encoder\.layer\.", "mapper.encoder.layers."),
    (r"\.attention\.self\.(query|key|value)\.", r".self_attn.\1."),
    (r"\.attention\.output\.dense\.", ".self_attn.out_proj."),
    (r"\.attention\.output\.LayerNorm\.", ".norm1."),
    (r"\.intermediate\.dense\.", ".linear1."),
    (r"\.output\.dense\.", ".linear2."),
    (r"\.output\.LayerNorm\.", ".norm2."),
    (r"^clip_project\.transformer\.layers\.", "mapper.encoder.layers."),
    (r"\.attn\.to_queries\.", ".self_attn.query."),
    (r"\.attn\.to_keys_values\.", ".self_attn.key_value."),
    (r"\.attn\.project\.", ".self_attn.out_proj."),
    (r"\.mlp\.fc(\d)\.", r".linear\1."),
)
TRANSPOSED = re.compile(r"^decoder\.blocks\..*(qkv|out|up|down)\.weight$")
"""GPT-2 keeps its linear layers the other way round."""


def renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Their checkpoint by our names."""
    ours: dict[str, Tensor] = {}
    for theirs, tensor in tensors.items():
        if not UNUSED.search(theirs):
            name = rename(theirs)
            ours[name] = tensor.t() if TRANSPOSED.match(name) else tensor
    if "mapper.segment" in ours:
        ours["mapper.segment"] = ours["mapper.segment"][0]  # every vector is of the first kind
    return with_fused_attention(ours)


def rename(name: str) -> str:
    for pattern, ours in RENAMED:
        name = re.sub(pattern, ours, name)
    return name


def with_fused_attention(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Query, key and value of the mapper's attention in one tensor; a bias that was never there is zero."""
    done = {name: tensor for name, tensor in tensors.items() if not PIECE.search(name)}
    for name in tensors:
        if name.endswith(".self_attn.query.weight"):
            layer = name[: -len("query.weight")]
            pieces = [layer + piece for piece in ("query", "key", "value", "key_value")]
            weights = [tensors[f"{piece}.weight"] for piece in pieces if f"{piece}.weight" in tensors]
            biases = [tensors[f"{piece}.bias"] for piece in pieces if f"{piece}.bias" in tensors]
            done[f"{layer}in_proj_weight"] = torch.cat(weights)
            done[f"{layer}in_proj_bias"] = torch.cat(biases) if biases else torch.zeros(sum(map(len, weights)))
    return done


PIECE = re.compile(r"\.self_attn\.(query|key|value|key_value)\.")
