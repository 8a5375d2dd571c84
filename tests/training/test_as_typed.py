"""`t2i train NAME --train-data FOLDER` for every recipe: 60 pictures with captions, two cores, no store, no network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from t2icli.ground import toml
from t2icli.pipelines import prepare
from t2icli.registry import discovery
from t2icli.store import models

RECIPES = sorted(discovery.installed().offers["recipe"].keys() - {"lora"})  # which needs a base
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn dishes as a user has pictures: files with captions beside them."""
    place = tmp_path_factory.mktemp("typed")
    prepared = prepare.prepare(prepare.Preparation("plates", Path("60"), place / "plates")).data
    photos = place / "photos"
    photos.mkdir()
    for i in range(len(prepared)):
        (photos / f"{i}.{prepared.format(i)}").write_bytes(prepared.image_bytes(i))
        (photos / f"{i}.txt").write_text("\n".join(prepared.captions(i)), encoding="utf-8")
    return photos


def t2i(words: list[str], here: Path) -> str:
    """A command on at most two cores, without a GPU; what it said."""
    known = {name: value for name, value in os.environ.items() if not name.startswith("T2I_")}
    few = sorted(os.sched_getaffinity(0))[:2]
    done = subprocess.run(
        [sys.executable, "-m", "t2icli", *words],
        cwd=here,
        env={**known, "T2I_HOME": str(here / "home"), "T2I_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""},
        preexec_fn=lambda: os.sched_setaffinity(0, few),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cannot take cores away from a process")
@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_trains_as_typed(folder: Path, tmp_path: Path, recipe: str) -> None:
    said = t2i(["train", recipe, "--train-data", str(folder), "--max-steps", "2"], tmp_path)
    assert models.open_model(tmp_path / "runs" / recipe / "model").card.files
    written = toml.read(tmp_path / "runs" / recipe / "settings.toml")
    if "loop" not in written["option"]:
        assert "has no steps" in said
        return
    assert f"{recipe}, tiny: " in said
    assert written["size"] == "tiny" and written["option"]["loop"]["batch_size"] <= 60
    t2i(["train", "--resume", "--output", f"runs/{recipe}"], tmp_path)
