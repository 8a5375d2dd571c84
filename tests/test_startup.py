"""Asking for help stays quick: nothing heavy is imported, however many plugins are installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from t2icli.pipelines import scaffold

HEAVY = ("torch", "torchvision", "transformers", "open_clip", "timm", "PIL", "pyarrow", "daft", "safetensors", "pandas")
BOARDS = ("tensorboard", "wandb", "swanlab")
SLOW = (*HEAVY, *BOARDS, "pydantic")
PROGRAM = f"""
import json, sys
from t2icli import cli
code = cli.run(sys.argv[1:])
sys.stderr.write(json.dumps([code, sorted(sys.modules.keys() & set({SLOW!r}))]))
"""


@pytest.fixture(scope="module")
def twenty_plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PYTHONPATH in which twenty distributions are installed, as pip would leave them."""
    site, projects = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("projects")
    kinds = scaffold.kinds()
    for i in range(20):
        project = scaffold.new(f"fake{i}", kinds[i % len(kinds)], projects)
        (project / f"src/t2i_fake{i}").rename(site / f"t2i_fake{i}")
        info = site / f"t2icli_fake{i}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: t2icli-fake{i}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[t2icli]\nfake{i} = t2i_fake{i}\n")
    return site


LISTS = [["--help"], ["plugins"], ["generate", "--help"], ["models", "list"]]
"""They need no pydantic either: Typer would import it to read a flag that is None."""


@pytest.mark.parametrize("words", LISTS, ids=" ".join)
def test_nothing_heavy_is_imported(words: list[str], twenty_plugins: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(twenty_plugins), "T2I_HOME": str(tmp_path), "T2I_STRICT": "1"}
    command = [sys.executable, "-c", PROGRAM, *words]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(ended.stderr.splitlines()[-1]) == [0, []], ended.stderr
    if words == ["plugins"]:
        assert all(f"t2icli-fake{i} 1.0" in ended.stdout for i in range(20))


def test_flags_are_read_without_pydantic(tmp_path: Path) -> None:
    environment = {**os.environ, "T2I_HOME": str(tmp_path)}
    words = ["generate", "a", "-n", "2", "--rerank", "brivl", "--output", str(tmp_path / "out"), "-m", "none-such"]
    command = [sys.executable, "-c", PROGRAM, *words]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    assert "none-such" in ended.stderr
    code, heavy = json.loads(ended.stderr.splitlines()[-1])
    assert (code, {*heavy} & {"pydantic", "torch"}) == (2, set()), ended.stderr


def test_clip_without_any_weights_says_so_before_torch_is_imported() -> None:
    program = (
        "import sys; from t2icli.backends import clip; from t2icli.ground.errors import T2IError\n"
        "try: clip.load(clip.Settings())\n"
        "except T2IError as error: print('torch' in sys.modules, error.hint)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert ended.stdout.startswith("False ") and "-o ranker.pretrained=" in ended.stdout


def test_a_ranker_without_its_weights_is_told_of_before_torch_is_imported(tmp_path: Path) -> None:
    ranker, code, says = "chinese-clip", 1, "t2i models import FOLDER/* --as chinese-clip"
    (tmp_path / "a.png").touch()
    environment = {**os.environ, "T2I_HOME": str(tmp_path), "HF_HOME": str(tmp_path), "T2I_OFFLINE": "1"}
    command = [sys.executable, "-c", PROGRAM, "rerank", "a red bowl", str(tmp_path / "a.png"), "--ranker", ranker]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    assert says in ended.stderr
    ended_with, heavy = json.loads(ended.stderr.splitlines()[-1])
    assert (ended_with, {*heavy} - {"PIL", "pydantic"}) == (code, set()), ended.stderr
