from __future__ import annotations

from pathlib import Path

import pytest
import torch

from t2icli.backends.clip.convert import preprocessing
from t2icli.backends.clip.model import build
from t2icli.nn import weights
from t2icli.store import models
from t2icli.store.models import Card, Model

TINY = {
    "embed_dim": 16,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16, "head_width": 64},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1},
}


@pytest.fixture
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return build(TINY).eval()


@pytest.fixture
def tiny_clip(network: torch.nn.Module, tmp_path: Path) -> Model:
    folder = tmp_path / "clip"
    weights.save(network, folder)
    config = {"architecture": TINY, "preprocess": preprocessing(TINY, {})}
    return models.seal(folder, Card(kind="embedder", backend="clip", config=config))
