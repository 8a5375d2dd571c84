"""docs/tutorial.md: its commands work one after the other, here with fewer pictures and steps."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

import t2i_starter
from t2icli.testing import Runner

PAGE = (Path(__file__).parents[2] / "docs/tutorial.md").read_text(encoding="utf-8")
FEWER = {"500": "80", "200": "3", "300": "3", "50": "4", "codebook.begin=50": "codebook.begin=2"}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


COMMANDS = [
    shlex.split(line) for block in blocks("bash") for line in block.replace("\\\n", "").splitlines() if line.strip()
]


@pytest.mark.slow
def test_the_tutorial_works_from_its_first_line_to_its_last(t2i: Runner) -> None:
    t2i.use(t2i_starter)
    Path("small-clip.json").write_text(blocks("json")[0], encoding="utf-8")
    for words in COMMANDS:
        t2i.ok(*(FEWER.get(word, word) for word in words[1:]))
    assert len(list(Path("pictures/noodles").glob("0*.png"))) == 4
