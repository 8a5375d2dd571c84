"""A Hugging Face GPT-2, read without its library: config.json, weights and tokenizer from one folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from t2icli.ground.errors import T2IError

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
KNOWN = "Chinese: uer/gpt2-chinese-cluecorpussmall, English: gpt2"


@dataclass(frozen=True)
class Pretrained:
    folder: Path
    positions: int
    width: int
    layers: int
    heads: int

    def tensors(self) -> Mapping[str, Tensor]:
        """Its weights by our names."""
        from t2i_clipcap.convert import renamed
        from t2icli.store.upstream import read

        return renamed(read(_weights(self.folder)).tensors())


def find(word: str) -> Pretrained:
    """A GPT-2 by its folder or its name on the hub."""
    folder = Path(word).expanduser() if Path(word).expanduser().is_dir() else _fetch(word)
    _weights(folder)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except OSError as error:
        raise T2IError(f"there is no config.json in '{folder}'", "it is part of every Hugging Face GPT-2") from error
    if config.get("model_type", "gpt2") != "gpt2":
        raise T2IError(f"'{word}' is a {config['model_type']}, not a GPT-2", KNOWN)
    return Pretrained(folder, config["n_positions"], config["n_embd"], config["n_layer"], config["n_head"])


def _weights(folder: Path) -> Path:
    for name in WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    raise T2IError(f"there are no GPT-2 weights in '{folder}'", f"it needs {' or '.join(WEIGHTS)}; {KNOWN}")


def _fetch(name: str) -> Path:
    from t2icli.store import snapshots

    try:
        return snapshots.fetch(name)
    except T2IError as error:
        raise T2IError(
            f"the GPT-2 {name!r} is not installed and {snapshots.why_not(error)}",
            f"download it on a machine with a network and use: -o gpt2=FOLDER. {KNOWN}",
        ) from error
