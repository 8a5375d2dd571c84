"""`t2i models import FOLDER --as BACKEND`, for a backend that uses repositories of a hub as they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hub_pipes import Plugin

from t2icli.store import models, verified
from t2icli.testing import Runner


@pytest.fixture
def pipes(t2i: Runner, monkeypatch: pytest.MonkeyPatch) -> Runner:
    monkeypatch.setattr(verified, "LARGE", 1000)
    t2i.use(Plugin())
    return t2i


def repository(folder: Path, name: str = "Known") -> Path:
    """A small pipeline with large weights, and files that it does not need."""
    index = {"_class_name": name, "unet": ["diffusers", "UNet"]}
    contents = {
        "model_index.json": json.dumps(index).encode(),
        "unet/config.json": b"{}",
        "unet/diffusion_pytorch_model.safetensors": b"w" * 5000,
        "unet/diffusion_pytorch_model.bin": b"pickled",
        "run.py": b"print('not for us')",
    }
    for path, content in contents.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
NEEDED = {"model_index.json", "unet/config.json", WEIGHTS}


def test_a_repository_becomes_a_model_with_the_hubs_own_names(pipes: Runner, tmp_path: Path) -> None:
    folder = repository(tmp_path / "Some-Pipeline.v1.5")
    pipes.ok("models", "import", folder, "--as", "pipes")
    model = models.find("pipes/some-pipeline.v1.5")
    assert set(model.card.files) == NEEDED and (model.card.kind, model.card.source) == ("generator", folder.name)
    assert model.files()[WEIGHTS].read_bytes() == b"w" * 5000
    assert pipes.ok("models", "check", model.name)


def test_large_files_take_no_second_place_on_the_disk(pipes: Runner, tmp_path: Path) -> None:
    folder = repository(tmp_path / "here")
    pipes.ok("models", "import", folder, "--as", "pipes")
    model = models.find("pipes/here")
    assert model.file(WEIGHTS).samefile(folder / WEIGHTS)
    assert not model.file("model_index.json").samefile(folder / "model_index.json")


def test_a_snapshot_of_the_hubs_client_is_called_like_its_repository(pipes: Runner, tmp_path: Path) -> None:
    blobs = repository(tmp_path / "blobs")
    folder = tmp_path / "hub/models--Some-Owner--Tiny/snapshots" / ("ab" * 20)
    for path in NEEDED:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).symlink_to(blobs / path)
    pipes.ok("models", "import", folder, "--as", "pipes")
    model = models.find("pipes/tiny")
    assert model.card.source == f"hf:Some-Owner/Tiny@{'ab' * 20}"
    assert model.file(WEIGHTS).samefile(blobs / WEIGHTS) and not model.file(WEIGHTS).is_symlink()


def test_a_repository_that_the_backend_cannot_load_is_refused_and_leaves_nothing(pipes: Runner, tmp_path: Path) -> None:
    refused = {
        repository(tmp_path / "strange", "Unknown"): "pipeline 'Unknown' is not known here",
        tmp_path / "none": "has no model_index.json",
    }
    (tmp_path / "none").mkdir()
    for folder, says in refused.items():
        pipes.fails("models", "import", folder, "--as", "pipes", says=says)
    assert not models.places() and not [path for path in pipes.home.glob("making/*") if path.is_dir()]


def test_single_files_are_refused_with_the_way_that_works(pipes: Runner, tmp_path: Path) -> None:
    folder = repository(tmp_path / "here")
    pipes.fails("models", "import", folder / WEIGHTS, "--as", "pipes", says="give its folder")


def test_a_damaged_file_in_a_folder_of_the_model_is_found(pipes: Runner, tmp_path: Path) -> None:
    pipes.ok("models", "import", repository(tmp_path / "here"), "--as", "pipes")
    path = models.store() / "pipes/here/unet/config.json"
    path.write_bytes(b"[]")
    assert "'unet/config.json' of model 'pipes/here' is damaged" in pipes.run("models", "check").stdout
    path.unlink()
    assert "is missing" in pipes.run("models", "check").stdout


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../b", "a\\b", "C:/x", "a//b", "con:", "x."])
def test_a_card_names_files_inside_its_folder_only(pipes: Runner, tmp_path: Path, name: str) -> None:
    pipes.ok("models", "import", repository(tmp_path / "here"), "--as", "pipes")
    path = models.store() / "pipes/here" / models.CARD
    line = f"[files]\n{json.dumps(name)} = 'ab'\n"
    path.write_text(path.read_text(encoding="utf-8").replace("[files]\n", line), encoding="utf-8")
    pipes.fails("models", "show", "pipes/here", says="is not inside the model's folder")
