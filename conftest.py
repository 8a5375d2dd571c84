"""Fixtures for every test of this repository, the plugins' included."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent
# Read before any test starts: the fixture `t2i` removes T2I_* from the environment and changes the working folder.
NAMED = [Path(os.environ["T2I_GOLDEN"]).absolute()] if os.environ.get("T2I_GOLDEN") else []
GOLDEN = (*NAMED, ROOT / "tests/golden", ROOT.parent / "shared/golden")
# Before anything imports torch: threads that wait by spinning make a busy machine ten times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# A job that a shell runs in the background ignores Ctrl-C, and so would the programs that tests start and interrupt.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def golden() -> Callable[[str], Path]:
    """`golden("brivl/vocab.txt")`: a file or folder of reference data, or a skip where it is not at hand."""

    def find(name: str) -> Path:
        for root in GOLDEN:
            if (root / name).exists():
                return root / name
        pytest.skip(f"no golden data for {name}: set T2I_GOLDEN")

    return find


@pytest.fixture(scope="session")
def completed() -> Callable[[Mapping[str, Any], Path], dict[str, Any]]:
    """`completed(tensors, folder)`: the tensors of a reduced set, with random numbers for those that were left out."""

    def complete(tensors: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        import torch

        random = torch.Generator().manual_seed(0)
        listed = json.loads((folder / "left_out.json").read_text())
        made = {name: torch.rand(shape, generator=random) for name, (_, shape) in listed.items()}
        return {**tensors, **{name: made[name].to(getattr(torch, kind)) for name, (kind, _) in listed.items()}}

    return complete


@pytest.fixture
def make_clip() -> Callable[[Path, int], Path]:
    """`make_clip(folder, width)`: a CLIP model folder of random weights whose embeddings have that many numbers."""

    def make(folder: Path, width: int) -> Path:
        from t2icli.backends.clip.convert import preprocessing
        from t2icli.backends.clip.model import build
        from t2icli.nn import weights
        from t2icli.store import models

        shape = {
            "embed_dim": width,
            "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16, "head_width": 64},
            "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 1, "layers": 1},
        }
        weights.save(build(shape), folder)
        config = {"architecture": shape, "preprocess": preprocessing(shape, {})}
        models.seal(folder, models.Card(kind="embedder", backend="clip", config=config))
        return folder

    return make


@pytest.fixture
def fix_states(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[Any]]:
    """Called, it makes every step that draws go from a state fit to be replayed on a GPU; it gives those states."""

    def fix() -> list[Any]:
        from t2icli.nn import decode, transformer

        states: list[Any] = []

        def stepper(model: Any, state: Any) -> Any:
            states.append(state.fixed())
            return lambda codes: model.step(codes, states[-1])

        monkeypatch.setattr(decode, "stepper", stepper)
        monkeypatch.setattr(transformer, "grows", lambda like: False)  # as on a GPU
        return states

    return fix
