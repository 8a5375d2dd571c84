"""Lists of addresses are read as columns where that goes, and it makes no difference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from t2icli import plugins
from t2icli.errors import T2IError
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
    source = plugins.load("dataset", name)
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
    assert by_row == by_column and by_row[40_000].extra == {"problem": "missing-column"}


def test_bytes_that_are_not_text_are_named_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    good = f"{U}1,{'面' * 30}\n".encode() * 20_000
    path.write_bytes(b"url,caption\n" + good + f"{U}2,".encode() + b"\xff\xfe\n")
    with pytest.raises(T2IError, match=r"after line (19|20)\d{3} is not utf-8"):
        both_ways("wukong", path)


def test_one_damaged_byte_does_not_make_utf_8_another_encoding(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"url,caption\n" + f"{U}1,{'红烧牛肉面' * 9}\n".encode() * 9 + f"{U}2,面".encode()[:-1] + b"\n")
    with pytest.raises(T2IError, match="is not utf-8"):
        both_ways("wukong", path)
