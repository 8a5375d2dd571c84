from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from t2icli.commands import show


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(monkeypatch: pytest.MonkeyPatch, rows: list[tuple[object, ...]], columns: tuple[str, ...]) -> str:
    """A table on a terminal of 40 columns."""
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys, "stdout", terminal := Terminal())
    show.table(rows, columns)
    return terminal.getvalue()


LONG = Path("pictures/a folder with a long name/and another one/000.png")


def test_a_path_is_not_broken_by_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[tuple[object, ...]] = [(1, LONG, "a caption that is far too long for what is left")]
    assert str(LONG) in shown(monkeypatch, rows, ("rank", "picture", "caption"))


def test_a_table_without_paths_keeps_to_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "x" * 30 not in shown(monkeypatch, [("x" * 30, "y" * 30)], ("one", "two"))


def test_shares_of_a_hundred_have_one_decimal_and_a_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    table = shown(monkeypatch, [(show.Percent(86.666), 0.5)], ("R@1", "score"))
    assert "86.7 %" in table and "0.5000" in table


def test_results_for_programs_are_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    show.lines(["a\nb", Path("c")])
    assert capsys.readouterr().out == "a b\nc\n"
    assert show.is_plain(False)
