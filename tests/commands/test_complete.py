"""What the shell's Tab key offers, asked as a shell asks."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from t2icli.store import models
from t2icli.store.models import Card

STARTER = {"dalle/starter", "clipgen/starter", "dalle2/starter"}
OFFERED = {
    "t2i generate x -m ": {"dalle", "noise", "runs/mine/model", *STARTER},
    "t2i generate x --rerank clip=2,b": {"clip=2,brivl", "clip=2,brivl/starter"},
    "t2i rerank x y -r col": {"colours"},
    "t2i caption x -m clipcap/": {"clipcap/starter"},
    "t2i search x y -r brivl/": {"brivl/starter"},
    "t2i models show d": {"dalle/starter", "dalle2/starter"},
    "t2i models pull lpips": {"lpips/vgg16"},
    "t2i models import x --as dv": {"dvae"},
    "t2i train dalle2-d": {"dalle2-decoder"},
    "t2i train dalle --optimizer ": {"adam", "adamw", "muon"},
    "t2i plugins rank": {"ranker"},
    "t2i plugins list ranker col": {"colours"},
    "t2i plugins ranker col": {"colours"},
    "t2i evaluate codec x -m vq": {"vqgan", "vqgan/starter"},
}
PROGRAM = """
import json, os, sys
from t2icli import cli
for words in json.load(sys.stdin):
    os.environ.update(COMP_WORDS=words, COMP_CWORD=str(words.count(" ")))
    assert cli.run([]) == 0
    print("---")
sys.stderr.write(str("torch" in sys.modules))
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """What one process says to all that is asked, in a folder with a run."""
    here = tmp_path_factory.mktemp("here")
    run = here / "runs/mine/model"
    run.mkdir(parents=True)
    models.seal(run, Card(kind="generator", backend="dalle"))
    environment = {**os.environ, "T2I_HOME": str(here / "home"), "_T2I_COMPLETE": "complete_bash"}
    how = {"cwd": here, "env": environment, "input": json.dumps([*OFFERED]), "capture_output": True, "text": True}
    return subprocess.run([sys.executable, "-c", PROGRAM], **how, timeout=100, check=True)


@pytest.mark.parametrize("words", OFFERED)
def test_names_are_offered(answers: subprocess.CompletedProcess[str], words: str) -> None:
    said = answers.stdout.split("---\n")
    assert len(said) == len(OFFERED) + 1
    assert OFFERED[words] <= {*said[[*OFFERED].index(words)].split()}


def test_offering_names_imports_no_torch(answers: subprocess.CompletedProcess[str]) -> None:
    assert answers.stderr.endswith("False"), answers.stderr
