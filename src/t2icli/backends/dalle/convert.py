"""DALLE-pytorch's files to ours: one table of names, and what the files leave unsaid."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from t2icli.backends.dalle.config import Config

RENAMED = [
    (r"\.(fn\.)+", "."),  # wrappers come and go with the releases
    (r"^transformer\.layers\.(layers\.(\d+)\.0|blocks\.(\d+)\.f\.net)\.", r"layers.\2\3.attention."),
    (r"^transformer\.layers\.(layers\.(\d+)\.1|blocks\.(\d+)\.g\.net)\.", r"layers.\2\3.feed_forward."),
    (r"\.to_qkv\.", ".inner.qkv."),
    (r"\.to_out\.0\.", ".inner.out."),
    (r"\.net\.0\.", ".inner.widen."),
    (r"\.net\.3\.", ".inner.narrow."),
    (r"^to_logits\.0\.", "norm."),
    (r"^to_logits\.1\.", "head."),
    (r"^text_emb\.", "text_embedding."),
    (r"^image_emb\.", "code_embedding."),
    (r"^text_pos_emb\.", "text_position."),
    (r"^image_pos_emb\.weights[._]0$", "row_position"),  # a dot since axial-positional-embedding 0.3
    (r"^image_pos_emb\.weights[._]1$", "column_position"),
]
LEFT_OUT = re.compile(
    r"vae\."  # the codec, a model of its own
    r"|transformer\.pos_emb$"  # rotary angles: computed
    r"|(text|image)_emb\.linear\."  # shared embeddings: the output layer once more
)


def renamed(name: str) -> str:
    """A parameter's name in DALLE-pytorch as ours."""
    for pattern, ours in RENAMED:
        name = re.sub(pattern, ours, name)
    return name


def network(weights: Mapping[str, Tensor], config: Config) -> dict[str, Tensor]:
    """The transformer's weights of a DALLE-pytorch file under our names and in our shapes."""
    ours = {renamed(name): tensor for name, tensor in weights.items() if not LEFT_OUT.match(name)}
    for name in ours:
        if name.endswith((".scale", "row_position", "column_position")):
            ours[name] = (
                ours[name].reshape(-1, config.dim).squeeze(0)
                if name.endswith(".scale")
                else ours[name].reshape(-1, config.dim)
            )
    if "text_position.weight" in ours:
        # text2img's fork has a row more than it uses.
        ours["text_position.weight"] = ours["text_position.weight"][: config.text_length + 1]
    return ours


def shape(hparams: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Config:
    """The network's shape, from the keywords that are stored and from the weights for what is not."""
    text_length = hparams["text_seq_len"]
    classes = hparams["num_text_tokens"] + text_length
    attention = hparams.get("attn_types") or ("full",)
    return Config(
        text_vocabulary=hparams["num_text_tokens"],
        text_length=text_length,
        codes=len(weights["to_logits.1.weight"]) - classes,
        grid=_grid(weights, text_length),
        dim=hparams["dim"],
        depth=hparams["depth"],
        heads=hparams.get("heads", 8),
        dim_head=hparams.get("dim_head", 64),
        attention=tuple(attention),
        rotary=hparams.get("rotary_emb", "transformer.pos_emb" in weights),
        shift_tokens=hparams.get("shift_tokens", False),
        sandwich_norm=any(name.endswith(".norm_out.weight") for name in weights if name.startswith("transformer.")),
        stable=hparams.get("stable", False),
        reversible=hparams.get("reversible", False),
        shared_attention=tuple(map(str, hparams.get("shared_attn_ids") or ())),
        shared_feed_forward=tuple(map(str, hparams.get("shared_ff_ids") or ())),
        shared_embeddings=hparams.get("share_input_output_emb", False),
        attention_dropout=hparams.get("attn_dropout", 0.0),
        feed_forward_dropout=hparams.get("ff_dropout", 0.0),
        image_weight=hparams.get("loss_img_weight", 7),
    )


def _grid(weights: Mapping[str, Tensor], text_length: int) -> tuple[int, int]:
    if "transformer.pos_emb" in weights:
        side = round((weights["transformer.pos_emb"].shape[1] - text_length - 1) ** 0.5)
        return side, side
    sizes = {renamed(name): max(tensor.shape[:-1]) for name, tensor in weights.items() if "image_pos_emb" in name}
    return sizes["row_position"], sizes["column_position"]
