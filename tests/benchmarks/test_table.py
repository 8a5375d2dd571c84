from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "benchmarks/table.py"


@pytest.fixture
def table(tmp_path: Path):
    spec = importlib.util.spec_from_file_location("table", SOURCE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.PAGE = tmp_path / "benchmarks.md"
    return module


def test_a_second_run_replaces_its_own_section_and_no_other(table) -> None:
    table.record("A", "first", ["what", "s"], [["x", 1.23456]])
    table.record("B", "other", ["what", "s"], [["y", 2]])
    table.record("A", "second", ["what", "s"], [["x", 9.87654]])
    page = table.PAGE.read_text()
    assert "first" not in page and "second" in page and "other" in page
    assert "| x | 9.88 |" in page
    assert page.index("## A") < page.index("## B")
    assert page.count("## A") == 1
