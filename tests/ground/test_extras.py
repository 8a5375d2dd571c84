from __future__ import annotations

import sys
from pathlib import Path

import pytest

from t2icli.ground import extras
from t2icli.testing import Runner


@pytest.mark.parametrize(
    ("module", "extra"),
    [
        ("pyarrow", "data"),
        ("pyarrow.parquet", "data"),
        ("ahocorasick_rs", "data"),
        ("textual_image", "show"),
        ("torch", None),
        (None, None),
    ],
)
def test_a_module_is_brought_by_the_extra_that_lists_its_package(module: str | None, extra: str | None) -> None:
    assert extras.with_module(module) == extra


@pytest.mark.parametrize("package", ["pyarrow", "aiohttp", "ahocorasick_rs"])
def test_without_an_extra_its_package_and_the_command_to_install_it_are_named(
    t2i: Runner, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    Path("words.txt").write_text("red")
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    Path("list.csv").write_text("url,caption\nhttp://127.0.0.1:9/a.png,red\n")
    words = ["prepare", "csv", "list.csv", "--output", "data", "-o", "rules.words=words.txt"]
    t2i.fails(*words, says="run: t2i install 't2icli[data]'")
