"""docs/architecture.md: its rooms are those that imports are checked against, and the files it names exist."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")


def test_the_rooms_of_the_page_are_those_of_the_code_in_order() -> None:
    rooms = re.findall(r"^\| `(\w+)(?:/|\.py)` \|", PAGE, re.MULTILINE)
    assert tuple(rooms) == runpy.run_path(str(ROOT / "tests/test_architecture.py"))["ROOMS"]


def test_files_and_folders_of_the_page_exist() -> None:
    places = [ROOT, ROOT / "src/t2icli", ROOT / "src/t2icli/commands"]
    formats = PAGE.index("## Formats"), PAGE.index("## Training")
    names = re.findall(r"`([\w/]+(?:/|\.py))`", PAGE[: formats[0]] + PAGE[formats[1] :])
    assert len(names) > 20
    assert not [name for name in names if not any((place / name).exists() for place in places)]
