"""Folders that are damaged or would run code are refused in one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from t2icli import load
from t2icli.ground.errors import T2IError


@pytest.fixture
def own(tiny: Callable[[str], Path], tmp_path: Path) -> Path:
    return shutil.copytree(tiny("clip"), tmp_path / "clip")


def refused(folder: Path) -> str:
    with pytest.raises(T2IError) as caught:
        load("embedder", "hub-clip", source=folder)
    return f"{caught.value.message}; {caught.value.hint}"


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_folder_without_a_configuration(tmp_path: Path) -> None:
    assert "holds no model: config.json is missing" in refused(tmp_path)
    assert "there is no folder of that name" in refused(tmp_path / "nowhere")
    (tmp_path / "config.json").write_text("{")
    assert "is damaged" in refused(tmp_path)


def test_tensors_that_are_missing_are_named(own: Path) -> None:
    vision = json.loads((own / "config.json").read_text())["vision_config"]
    edit(own / "config.json", vision_config={**vision, "num_hidden_layers": 2})
    assert "tensors that its config.json requires: vision_model.encoder.layers.1." in refused(own)


def test_a_cut_file(own: Path) -> None:
    path = own / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    assert "cannot be loaded" in refused(own)


def test_a_pickle_is_never_opened(own: Path, tmp_path: Path) -> None:
    marker = tmp_path / "ran"

    class Payload:
        def __reduce__(self) -> Any:
            return Path.touch, (marker,)

    (own / "model.safetensors").unlink()
    assert "there are no weights" in refused(own)
    torch.save({"a": Payload()}, own / "pytorch_model.bin")
    assert "are a pickle, 'pytorch_model.bin', which could run any code" in refused(own)
    assert not marker.exists()


def test_code_of_a_repository_is_never_run(own: Path, tmp_path: Path) -> None:
    (own / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    edit(own / "config.json", model_type="mine", auto_map={"AutoConfig": "mine.Config", "AutoModel": "mine.Model"})
    assert "code from a repository is never run" in refused(own)
    assert not (tmp_path / "ran").exists()
