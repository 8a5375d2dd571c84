"""DALLE-pytorch's files to ours: one table of names, and what is missing in the files."""

from __future__ import annotations

import re
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor

from t2icli.backends.dalle.config import Config
from t2icli.backends.dalle.generate import check_codec
from t2icli.backends.dalle.model import DallE
from t2icli.contract.entries import Upstream
from t2icli.ground.errors import T2IError
from t2icli.nn import weights
from t2icli.registry import parts
from t2icli.registry.open import load
from t2icli.store import models, upstream
from t2icli.store.models import Card
from t2icli.store.upstream import Contents

RENAMED = [
    (r"\.(fn\.)+", "."),  # wrappers differ between releases
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


KEYWORDS = {
    "num_text_tokens": "text_vocabulary",
    "text_seq_len": "text_length",
    "dim": "dim",
    "depth": "depth",
    "heads": "heads",
    "dim_head": "dim_head",
    "attn_types": "attention",
    "rotary_emb": "rotary",
    "shift_tokens": "shift_tokens",
    "stable": "stable",
    "reversible": "reversible",
    "shared_attn_ids": "shared_attention",
    "shared_ff_ids": "shared_feed_forward",
    "share_input_output_emb": "shared_embeddings",
    "attn_dropout": "attention_dropout",
    "ff_dropout": "feed_forward_dropout",
    "loss_img_weight": "image_weight",
}
"""Keywords of DALLE-pytorch's constructor and our names; what a file of an older release lacks has its default."""

CODECS = {"DiscreteVAE": ("dvae", "vae."), "VQGanVAE": ("vqgan", "vae.model.")}
TOKENIZERS = {21128: "chinese", 49408: "clip"}
"""Which tokenizer has so many ids."""


def renamed(name: str) -> str:
    """A parameter's name in DALLE-pytorch as ours."""
    for pattern, ours in RENAMED:
        name = re.sub(pattern, ours, name)
    return name


def convert(files: Upstream, folder: Path) -> None:
    """A model folder from `dalle.pt`, its codec inside."""
    if len(files.files) != 1:
        raise T2IError(f"a DALL-E is imported from one file, not {len(files.files)}", "name dalle.pt alone")
    path = files.files[0]
    contents = upstream.read(path)
    if isinstance(contents.get("weights"), str):
        raise T2IError(
            f"'{path}' belongs to a DeepSpeed checkpoint and holds no weights itself",
            "merge it with DeepSpeed's zero_to_fp32.py and save the result as 'weights' beside the 'hparams'",
        )
    tensors = contents.tensors("weights")
    config = shape(contents.get("hparams"), tensors, path)
    model = DallE(config)
    weights.fill(model, network(tensors, config), f"'{path.name}'")
    weights.save(model, folder)
    codec = _codec(files, contents, tensors, folder)
    check_codec(config, load("codec", str(folder / "codec")), f"'{path.name}'", f"codec {codec!r}")
    settings = tokenizer(files, config, folder)
    models.seal(
        folder,
        Card(
            kind="generator",
            backend="dalle",
            about=config.about,
            source=path.name,
            config=msgspec.to_builtins(config),
            settings=settings,
            versions={"dalle-pytorch": str(contents.data.get("version") or "unknown")},
        ),
    )


def _codec(files: Upstream, contents: Contents, tensors: Mapping[str, Tensor], folder: Path) -> str:
    """Write the codec into the folder: its weights are in the file too."""
    kind = contents.data.get("vae_class_name") or ("DiscreteVAE" if contents.data.get("vae_params") else "VQGanVAE")
    if kind not in CODECS:
        raise T2IError(
            f"'{contents.path}' was made with {kind}, which cannot be imported", f"known: {', '.join(CODECS)}"
        )
    backend, prefix = CODECS[kind]
    own = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    sources = files.parts.get("codec", ())
    with tempfile.TemporaryDirectory() as scratch:
        if backend == "dvae" and not sources:
            sources = (Path(scratch) / "vae.pt",)
            torch.save({"hparams": contents.get("vae_params"), "weights": own}, sources[0])
        elif backend == "vqgan" and own and any(file.suffix in (".yaml", ".yml") for file in sources):
            checkpoint = Path(scratch) / "last.ckpt"
            torch.save({"state_dict": own}, checkpoint)
            sources = (checkpoint, *(file for file in sources if file.suffix in (".yaml", ".yml")))
        parts.convert("codec", backend, Upstream((), {"codec": sources}), "codec", folder)
    return backend


def tokenizer(files: Upstream, config: Config, folder: Path) -> dict[str, Any]:
    """Keep the tokenizer that was given; else the settings name the one with as many ids, if we know one."""
    if sources := files.parts.get("tokenizer"):
        backend = "json" if sources[0].suffix == ".json" else "chinese"
        parts.convert("tokenizer", backend, files, "tokenizer", folder)
        return {}
    known = TOKENIZERS.get(config.text_vocabulary)
    if known is None:
        warnings.warn(
            f"no known tokenizer has {config.text_vocabulary} ids: give it with --part tokenizer=FILE", UserWarning, 2
        )
    return {"tokenizer": known} if known else {}


def network(weights: Mapping[str, Tensor], config: Config) -> dict[str, Tensor]:
    """The transformer's weights of a DALLE-pytorch file under our names and in our shapes."""
    ours = {renamed(name): tensor for name, tensor in weights.items() if not LEFT_OUT.match(name)}
    for name, tensor in ours.items():
        if name.endswith(".scale"):
            ours[name] = tensor.flatten()
        if name in ("row_position", "column_position"):
            ours[name] = tensor.flatten(0, -2)
    if "text_position.weight" in ours:
        # text2img's fork has a row more than it uses.
        ours["text_position.weight"] = ours["text_position.weight"][: config.text_length + 1]
    return ours


def shape(hparams: Mapping[str, Any], weights: Mapping[str, Tensor], path: Path) -> Config:
    """The network's shape, from the keywords that are stored and from the weights for what is not."""
    known = {ours: hparams[theirs] for theirs, ours in KEYWORDS.items() if hparams.get(theirs) is not None}
    for name in ("shared_attention", "shared_feed_forward"):
        known[name] = tuple(map(str, known.get(name, ())))
    try:
        classes = hparams["num_text_tokens"] + hparams["text_seq_len"]
        known["codes"] = len(weights["to_logits.1.weight"]) - classes
        known["grid"] = _grid(weights, hparams["text_seq_len"])
        known["sandwich_norm"] = any(renamed(name).startswith("layers.0.attention.norm_out.") for name in weights)
        known.setdefault("rotary", "transformer.pos_emb" in weights)
        return msgspec.convert(known, Config)
    except KeyError as missing:
        raise T2IError(f"'{path}' holds no DALL-E: there is no {missing} in it") from missing
    except msgspec.ValidationError as error:
        raise T2IError(f"'{path}' holds a DALL-E of an unknown kind: {error}") from error


def _grid(weights: Mapping[str, Tensor], text_length: int) -> tuple[int, int]:
    """Rows and columns of codes, from the table of positions, whichever it has."""
    if "transformer.pos_emb" in weights:
        side = round((weights["transformer.pos_emb"].shape[1] - text_length - 1) ** 0.5)
        return side, side
    sizes = {renamed(name): max(tensor.shape[:-1]) for name, tensor in weights.items() if "image_pos_emb" in name}
    return sizes["row_position"], sizes["column_position"]
