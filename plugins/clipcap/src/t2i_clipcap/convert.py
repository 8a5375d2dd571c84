"""The checkpoints of both originals, and a Hugging Face GPT-2, by our names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor

from t2i_clipcap.caption import Config
from t2i_clipcap.model import ClipCap
from t2i_clipcap.words import FILE, Words, open_words
from t2icli.contract.entries import Upstream
from t2icli.ground.errors import T2IError
from t2icli.ground.files import write
from t2icli.nn import weights
from t2icli.registry import parts
from t2icli.store import models
from t2icli.store.models import Card
from t2icli.store.upstream import count, read

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


def convert(upstream: Upstream, folder: Path) -> None:
    """A model folder from a checkpoint, its tokenizer, and a JSON file for what neither shows."""
    files = Files.of(upstream.files)
    tensors = renamed(read(files.checkpoint).tensors())
    words = open_words(files.tokenizer)
    config = config_of(tensors, files.known, words, files.checkpoint)
    model = ClipCap(config.shape)
    weights.fill(model, tensors, files.checkpoint.name)
    weights.save(model, folder)
    write(folder / FILE, words.tokenizer.to_str(pretty=True))
    parts.convert("embedder", "clip", upstream, "embedder", folder)
    models.seal(folder, card(config, about=f"ClipCap, {config.shape.mapper.name} mapper", source=files.checkpoint.name))
    parts.check_embedder("captioner", folder, config.shape.mapper.condition)


@dataclass(frozen=True)
class Files:
    checkpoint: Path
    tokenizer: Path
    known: Mapping[str, Any]

    @classmethod
    def of(cls, paths: Sequence[Path]) -> Files:
        """The checkpoint, its tokenizer and the JSON file with sizes, by their names."""
        tokenizers = [path for path in paths if path.suffix == ".txt" or path.name in (FILE, "vocab.json")]
        tokenizers = [path for path in tokenizers if path.name != "merges.txt"]
        tables = [path for path in paths if path.suffix == ".json" and path not in tokenizers]
        checkpoints = [path for path in paths if path.suffix not in (".txt", ".json")]
        if len(checkpoints) != 1:
            raise T2IError(f"one checkpoint is needed, not {len(checkpoints)}", "give the .pt file")
        if len(tokenizers) != 1:
            raise T2IError(
                f"the tokenizer that '{checkpoints[0].name}' was trained with is missing",
                "give its vocab.txt, or tokenizer.json, or GPT-2's vocab.json and merges.txt, beside the checkpoint",
            )
        known: dict[str, Any] = {}
        for path in tables:
            known.update(msgspec.json.decode(path.read_bytes()))
        return cls(checkpoints[0], tokenizers[0], known)


def config_of(tensors: Mapping[str, Tensor], known: Mapping[str, Any], words: Words, checkpoint: Path) -> Config:
    """The sizes of the network that holds these weights, and how its captions end."""
    try:
        size, width = tensors["words.weight"].shape
        shape = {
            "mapper": {**mapper_of(tensors, width), **known.get("mapper", {})},
            "words": size,
            "positions": tensors["position.weight"].shape[0],
            "width": width,
            "layers": count(tensors, r"^decoder\.blocks\.(\d+)\."),
            "heads": known.get("heads", max(1, width // 64)),
        }
    except KeyError as missing:
        raise T2IError(f"'{checkpoint}' holds no ClipCap: there is no {missing} in it") from missing
    if size < words.size:
        raise T2IError(f"'{checkpoint}' knows {size} words, but the tokenizer has {words.size}", "use its own")
    # The English original ends a caption with its first full stop.
    stop = None if words.is_pieces else words.tokenizer.token_to_id(".")
    rest = {key: known[key] for key in ("unit", "stop") if key in known}
    return msgspec.convert({"shape": shape, "unit": False, "stop": stop, **rest}, Config)


def mapper_of(tensors: Mapping[str, Tensor], width: int) -> dict[str, Any]:
    if "mapper.layers.0.weight" in tensors:
        out, condition = tensors["mapper.layers.2.weight"].shape[0], tensors["mapper.layers.0.weight"].shape[1]
        return {"name": "mlp", "condition": condition, "prefix": out // width}
    rows, condition = tensors["mapper.linear.weight"].shape
    is_bert = "mapper.position" in tensors
    return {
        "name": "bert" if is_bert else "transformer",
        "condition": condition,
        "given": rows // width,
        "prefix": tensors["mapper.learned"].shape[0],
        "layers": count(tensors, r"^mapper\.encoder\.layers\.(\d+)\."),
        "hidden": tensors["mapper.encoder.layers.0.linear1.weight"].shape[0],
        "positions": tensors["mapper.position"].shape[0] if is_bert else 0,
    }


def card(config: Config, **more: Any) -> Card:
    return Card(kind="captioner", backend="clipcap", config=msgspec.to_builtins(config), **more)
