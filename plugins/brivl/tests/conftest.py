from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from t2i_brivl.convert import convert
from t2icli.contract.entries import Upstream
from t2icli.store import models
from t2icli.store.models import Model


@pytest.fixture(scope="session")
def brivl(golden: Callable[[str], Path]) -> Path:
    """What BriVL's own scripts computed with a tiny model."""
    return golden("brivl/brivl_tiny.pth").parent


@pytest.fixture(scope="session")
def imported(brivl: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """That tiny model, imported from the original's checkpoint."""
    folder = tmp_path_factory.mktemp("brivl")
    files = [brivl / name for name in ("brivl_tiny.pth", "vocab.txt", "config.yml", "bert_config.json")]
    convert(Upstream(tuple(files), {}), folder)
    return models.open_model(folder)


@pytest.fixture(scope="session")
def text_files(golden: Callable[[str], Path], completed: Any, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The files of that tiny model with random weights in the image tower, which the repository does not hold."""
    folder = golden("brivl/text")
    checkpoint = tmp_path_factory.mktemp("brivl") / "text.pth"
    tensors = torch.load(folder / "towers.pth", weights_only=True)["learnable"]
    torch.save({"learnable": completed(tensors, folder)}, checkpoint)
    return [checkpoint, golden("brivl/vocab.txt"), folder / "config.yml", folder / "bert_config.json"]


@pytest.fixture(scope="session")
def imported_text(text_files: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Model:
    """The original's text tower, imported; the image tower is random."""
    folder = tmp_path_factory.mktemp("brivl")
    convert(Upstream(tuple(text_files), {}), folder)
    return models.open_model(folder)


@dataclass(frozen=True)
class Sentences:
    """Texts, and what the original's text tower made of them."""

    texts: list[str]
    ids: Tensor
    embeddings: Tensor


@pytest.fixture(scope="session")
def sentences(golden: Callable[[str], Path]) -> Sentences:
    folder = golden("brivl/text")
    expected = load_file(folder / "expected.safetensors")
    texts = json.loads((folder / "sentences.json").read_text(encoding="utf-8"))
    return Sentences(texts, expected["input_ids"], expected["text_embedding"])
