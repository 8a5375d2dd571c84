"""docs/tutorial.md: its commands work one after the other, here with fewer pictures and steps."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

import t2i_brivl
import t2i_clipcap
import t2i_starter
from t2icli.testing import Runner

PAGE = (Path(__file__).parents[2] / "docs/tutorial.md").read_text(encoding="utf-8")
FEWER = {"200": "60", "100": "4", "20": "4"}
SHORT = {"train": ("--max-steps", "3")}
"""A quarter of an hour is for readers."""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


COMMANDS = [
    shlex.split(line) for block in blocks("bash") for line in block.replace("\\\n", "").splitlines() if line.strip()
]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_tutorial_works_from_its_first_line_to_its_last(t2i: Runner) -> None:
    t2i.use(t2i_starter, t2i_brivl, t2i_clipcap)
    for words in COMMANDS:
        t2i.ok(*(FEWER.get(word, word) for word in words[1:]), *SHORT.get(words[1], ()))
    assert len(list(Path("pictures/mine").glob("0*.png"))) == 3
    assert len(list(Path("pictures/ranked").glob("0*.png"))) == 4
