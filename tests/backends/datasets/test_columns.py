"""Lists of addresses are read as columns where that goes, and it makes no difference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from t2icli import load
from t2icli.backends.datasets import addresses
from t2icli.prepare.captions import CaptionRules
from t2icli.prepare.chunks import blocks
from t2icli.prepare.settings import Rules

U = "http://x/"
CASES = {
    "plain": f"url,caption\n{U}1,一碗面\n{U}2,soup\n",
    "bom and crlf": f"\ufeffurl,caption\r\n{U}1,面\r\n{U}2,汤\r\n",
    "quotes": f'url,caption\n"{U}1","a ""b"" c"\n{U}2,"两\n行, 逗号"\n{U}3,in"side\n',
    "empty cells": f"url,caption\n{U}1,\n,no address\n{U}3,NA\n{U}4,null\n{U}5,1.50\n{U}6,2020-01-01\n",
    "empty lines": f"\nurl,caption\n\n{U}1,a\n\n\n{U}2,b\n\n",
    "no header": f"{U}1,a\n{U}2,b\n",
    "short row": f"url,caption\n{U}1,a\n{U}2\n{U}3,c\n",
    "long row": f"url,caption\n{U}1,a\n{U}2,b,c\n{U}3,c\n",
    "more columns": f"url,caption,width\n{U}1,a,5\n{U}2,b,\n",
    "equal names": f"x,x\n{U}1,a\n",
    "no newline at the end": f"url,caption\n{U}1,a",
    "only a header": "url,caption\n",
    "nothing": "",
    "spaces": f"url,caption\n {U}1 , a \n",
}


def both_ways(name: str, path: Path) -> tuple[list[Any], list[Any]]:
    source = load("dataset", name)
    by_row = list(source.rows(path))
    by_column = []
    for block in blocks(source, path, CaptionRules(Rules())):
        by_column += [block.row(i) for i in range(len(block.verdicts))]
    return by_row, by_column


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030", "utf-16"])
@pytest.mark.parametrize("case", CASES)
def test_wukong_is_the_same_by_row_and_by_column(tmp_path: Path, case: str, encoding: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(CASES[case].encode(encoding))
    by_row, by_column = both_ways("wukong", path)
    assert by_row == by_column


def test_googlecc_is_the_same_by_row_and_by_column(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text(f'a "b\t{U}1\n\'c\t{U}2\nalone\n"d"\t{U}3\n', encoding="utf-8")
    by_row, by_column = both_ways("googlecc", path)
    assert by_row == by_column and len(by_row) == 4


def test_a_row_in_the_middle_that_arrow_refuses_is_reported_and_the_rest_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    lines = [f"{U}{i},{'很' * 30}" for i in range(60_000)]
    lines[40_000] = f"{U}40000"
    path.write_text("url,caption\n" + "\n".join(lines), encoding="utf-8")
    by_row, by_column = both_ways("wukong", path)
    assert by_row == by_column and by_row[40_000].extra["problem"] == "missing-column"


BAD = {
    "bytes that are no text": (b"\xff\xfe", "bad-encoding"),
    "a character cut": ("面".encode()[:-1], "bad-encoding"),
    "an open quote": (b'"open', "unclosed-quote"),
    "an open quote behind a closed one": (b'"a"b,"open', "unclosed-quote"),
    "a field too long": (b"x" * 140_000, "field-too-long"),
    "a quoted field too long": (b'"' + b"x" * 140_000 + b'"', "field-too-long"),
    "a NUL": (b"a\0b", "nul-character"),
}


@pytest.mark.parametrize("place", [0, 1_500, 2_999])
@pytest.mark.parametrize("case", BAD)
def test_a_row_that_cannot_be_read_is_reported_with_its_line_and_all_others_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str, place: int
) -> None:
    monkeypatch.setattr(addresses, "BLOCK", 200_000)  # the file is more than one
    caption, problem = BAD[case]
    lines = [f"{U}{i},{'面' * 30}".encode() for i in range(3_000)]
    lines[place] = f"{U}{place},".encode() + caption
    path = tmp_path / "a.csv"
    path.write_bytes(b"url,caption\n" + b"\n".join(lines))
    by_row, by_column = both_ways("wukong", path)
    assert by_row == by_column and len(by_row) == 3_000
    assert [(i, row.extra) for i, row in enumerate(by_row) if row.extra] == [
        (place, {"problem": problem, "where": f"{path}:{place + 2}"})
    ]


def test_an_open_quote_swallows_nothing_whatever_follows(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f'url,caption\n{U}1,"open\n{U}2,"fine, too"\n{U}3,"two\nlines"\n{U}4,"open\n{U}5,plain\0\n')
    by_row, by_column = both_ways("wukong", path)
    assert by_row == by_column
    assert [row.extra.get("problem") or row.captions[0] for row in by_row] == [
        "unclosed-quote",
        "fine, too",
        "two\nlines",
        "unclosed-quote",
        "nul-character",
    ]
