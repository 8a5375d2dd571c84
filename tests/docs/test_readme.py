"""README.md and README.zh-CN.md: what they say works."""

from __future__ import annotations

import re
import shlex
import sys
import types
from pathlib import Path

import pytest

import t2i_noise
import t2i_starter
from t2icli.testing import Runner, check_generator

ROOT = Path(__file__).parents[2]
ENGLISH, CHINESE = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh-CN.md"))


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


def commands(page: str) -> list[list[str]]:
    lines = [line for block in blocks(page, "bash") for line in block.splitlines()]
    lines += re.findall(r"`((?:t2i|make) [^`]+)`", page)
    return [words for line in lines if (words := shlex.split(line, comments=True))]


EVERY = commands(ENGLISH)
FIRST_STEPS = next(block for block in blocks(ENGLISH, "bash") if "t2i doctor" in block)


def test_every_make_target_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = {words[1] for words in EVERY if words[0] == "make"}
    assert targets and all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


def test_both_languages_give_the_same_commands() -> None:
    def shown(page: str) -> list[list[str]]:
        return [shlex.split(line, comments=True) for block in blocks(page, "bash") for line in block.splitlines()]

    assert shown(ENGLISH) == shown(CHINESE)
    assert blocks(ENGLISH, "python")[-1] == blocks(CHINESE, "python")[-1]


def test_the_first_steps_work_as_they_are_written(t2i: Runner) -> None:
    t2i.use(t2i_noise, t2i_starter)
    for line in FIRST_STEPS.replace("plates 2000", "plates 3").splitlines():
        words = shlex.split(line, comments=True)[1:]
        result = t2i.run(*words)
        assert result.code == 0 or words == ["doctor"], result.stderr  # it may well find something wrong here
    assert len(list(Path("pictures").glob("*/00?.png"))) == 4
    assert (Path("plates") / "dataset.toml").is_file()


def test_the_plugin_of_the_page_keeps_a_generators_promises(monkeypatch: pytest.MonkeyPatch) -> None:
    page = types.ModuleType("t2i_flat")
    monkeypatch.setitem(sys.modules, "t2i_flat", page)
    exec(blocks(ENGLISH, "python")[0], vars(page))
    (entry,) = page.t2i_generators()
    check_generator(entry, size=8)
