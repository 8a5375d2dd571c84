"""A repository of Chinese-CLIP, fetched elsewhere, as a model folder."""

from __future__ import annotations

import shutil
from pathlib import Path

from safetensors.torch import save_file

from t2icli.contract.entries import Upstream
from t2icli.ground.errors import T2IError
from t2icli.store import models, upstream
from t2icli.store.models import Card

NEEDED = (("config.json",), ("preprocessor_config.json", "processor_config.json"), ("vocab.txt", "tokenizer.json"))
"""One of each; which names there are depends on the version of transformers that wrote them."""
WEIGHTS = "model.safetensors"


def convert(files: Upstream, folder: Path) -> None:
    """Keep the repository's small files as they are, and its weights as safetensors."""
    names = {path.name: path for path in files.files}
    weights = [path for path in files.files if path.suffix in (".safetensors", ".bin", ".pt")]
    missing = [" or ".join(each) for each in NEEDED if names.keys().isdisjoint(each)]
    if len(weights) != 1:
        missing.append("one file of weights")
    if missing:
        raise T2IError(
            f"of a Chinese-CLIP this is missing: {', '.join(missing)}",
            "give all files of its repository: t2i models import FOLDER/* --as chinese-clip",
        )
    for path in names.values():
        if path.suffix in (".json", ".txt"):
            shutil.copyfile(path, folder / path.name)
    tensors = upstream.read(weights[0]).tensors()
    save_file({name: value.contiguous().clone() for name, value in tensors.items()}, folder / WEIGHTS, {"format": "pt"})
    models.seal(folder, Card(kind="embedder", backend="chinese-clip", about="Chinese-CLIP", source=weights[0].name))
