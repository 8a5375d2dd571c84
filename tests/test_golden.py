"""Where reference data is looked for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEST = """
def test_it(t2i, golden):
    assert golden("brivl").parent.name == "mine"  # this name exists in every other place as well
"""


def test_t2i_golden_is_heeded_beside_the_fixture_that_clears_the_environment(tmp_path: Path) -> None:
    (tmp_path / "mine/brivl").mkdir(parents=True)
    (tmp_path / "test_one.py").write_text(TEST)
    environment = {**os.environ, "T2I_GOLDEN": "mine", "PYTHONPATH": str(ROOT)}
    words = ["-q", "-c", ROOT / "pyproject.toml", "-p", "conftest", "-p", "no:cacheprovider", tmp_path / "test_one.py"]
    command = [sys.executable, "-m", "pytest", *map(str, words)]
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "1 passed" in ended.stdout, ended.stdout + ended.stderr
