"""Every page: the commands it shows are those of the program, with flags that they have."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

import t2i_brivl
import t2i_serve
from t2icli import cli
from t2icli.testing import Runner

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "plugins/*/README.md", "examples/*/README.md")
    for path in ROOT.glob(pattern)
    if path.name != "cli.md"  # is written by the program
)
BLOCK = re.compile(r"^```(?:sh|bash)?\n(.*?)^```|((?:^    .*\n)+)", re.MULTILINE | re.DOTALL)
GROUPS = ("models", "plugins", "evaluate", "brivl")


def commands(page: Path) -> Iterator[list[str]]:
    """The words behind `t2i` of each command in the page's blocks and between its backticks."""
    text = page.read_text(encoding="utf-8")
    blocks = ["".join(block) for block in BLOCK.findall(text)]
    lines = [line for block in blocks for line in block.replace("\\\n", "").splitlines()]
    lines += [
        line.replace("\n", " ")
        for line in re.findall(r"`(t2i [^`]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))
    ]
    for line in lines:
        if line.strip().startswith("t2i "):
            yield [word for part in shlex.split(line, comments=True)[1:] for word in part.split("&&")[:1]]


@pytest.fixture(scope="module")
def helps() -> dict[tuple[str, ...], str]:
    """What the help of a command says, by its words: for all pages it is asked for once."""
    return {}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_commands_of_a_page_exist_with_their_flags(
    page: Path, t2i: Runner, helps: dict[tuple[str, ...], str]
) -> None:
    t2i.use(t2i_brivl, t2i_serve)
    wrong = []
    for words in commands(page):
        if not words or words[0].startswith("-") or words[0] in ("COMMAND", "hello"):
            continue
        names = words[:2] if words[0] in GROUPS and len(words) > 1 and re.fullmatch(r"[a-z]+", words[1]) else words[:1]
        if names[0] == "plugins" and names[1:] != ["new"]:
            names = ["plugins", "list"]
        key = tuple(names)
        if key not in helps:
            helps[key] = t2i.ok(*names, "--help").stdout
        flags = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        flags -= {*cli.ANYWHERE, *cli.WITH_VALUE}
        wrong += [
            f"t2i {' '.join(words)}: no {flag}" for flag in sorted(flags) if not re.search(rf"{flag}\b", helps[key])
        ]
    assert not wrong
