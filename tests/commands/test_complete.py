"""What the shell's Tab key offers, asked as a shell asks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from t2icli.store import models
from t2icli.store.models import Card

STARTER = {"dalle/starter", "clipgen/starter", "dalle2/starter"}


@pytest.fixture
def here(tmp_path: Path) -> Path:
    run = tmp_path / "runs/mine/model"
    run.mkdir(parents=True)
    models.seal(run, Card(kind="generator", backend="dalle"))
    return tmp_path


def completed(words: str, folder: Path) -> set[str]:
    asked = {"_T2I_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    environment = {**os.environ, "T2I_HOME": str(folder / "home"), **asked}
    command = [sys.executable, "-X", "importtime", "-m", "t2icli"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "t2icli.cli" in imported and "torch" not in imported
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("t2i generate x -m ", {"dalle", "noise", "runs/mine/model", *STARTER}),
        ("t2i generate x --rerank clip=2,b", {"clip=2,brivl", "clip=2,brivl/starter"}),
        ("t2i rerank x y -r col", {"colours"}),
        ("t2i caption x -m clipcap/", {"clipcap/starter"}),
        ("t2i search x y -r brivl/", {"brivl/starter"}),
        ("t2i models show d", {"dalle/starter", "dalle2/starter"}),
        ("t2i models pull lpips", {"lpips/vgg16"}),
        ("t2i models import x --as dv", {"dvae"}),
        ("t2i train dalle2-d", {"dalle2-decoder"}),
        ("t2i train dalle --optimizer ", {"adam", "adamw", "muon"}),
        ("t2i plugins rank", {"ranker"}),
        ("t2i plugins list ranker col", {"colours"}),
        ("t2i plugins ranker col", {"colours"}),
        ("t2i evaluate codec x -m vq", {"vqgan", "vqgan/starter"}),
    ],
)
def test_names_are_offered(here: Path, words: str, offered: set[str]) -> None:
    assert offered <= completed(words, here)
