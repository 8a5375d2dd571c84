from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import pytest

from t2icli.commands import show, tables


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(
    monkeypatch: pytest.MonkeyPatch, rows: list[tuple[object, ...]], columns: tuple[str, ...], *, named: bool = False
) -> str:
    """A table on a terminal of 40 columns."""
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys, "stdout", terminal := Terminal())
    show.table(rows, columns, named=named)
    return terminal.getvalue()


LONG = Path("pictures/a folder with a long name/and another one/000.png")


def test_a_path_is_not_broken_by_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[tuple[object, ...]] = [(1, LONG, "a caption that is far too long for what is left")]
    assert str(LONG) in shown(monkeypatch, rows, ("rank", "picture", "caption"))


@pytest.mark.parametrize(
    "about", ["asks a network whether a picture shows the prompt", "问网络图片是否符合提示词，每张图一次"]
)
def test_names_are_not_broken_by_a_narrow_terminal(about: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "vqa/" + "x" * 30
    table = shown(monkeypatch, [(name, "ranker", "", about)] * 2, ("model", "kind", "size", "about"), named=True)
    lines = [re.sub("\x1b\\[[0-9]*m", "", line).rstrip() for line in table.splitlines()]
    assert lines[:2] == [name, "    kind ranker"] and all(tables.width_of(line) <= 40 for line in lines)
    assert "".join(line.strip() for line in lines[2 : len(lines) // 2]).replace(" ", "") == about.replace(" ", "")


def test_a_table_without_paths_keeps_to_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "x" * 30 not in shown(monkeypatch, [("x" * 30, "y" * 30)], ("one", "two"))


def test_shares_of_a_hundred_have_one_decimal_and_a_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    table = shown(monkeypatch, [(tables.Percent(86.666), 0.5)], ("R@1", "score"))
    assert "86.7 %" in table and "0.5000" in table


def test_results_for_programs_are_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    show.lines(["a\nb", Path("c")])
    assert capsys.readouterr().out == "a b\nc\n"
    assert show.is_plain(False)
