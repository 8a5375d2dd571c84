"""docs/writing-a-plugin.md: the plugin it builds works, and its tests pass."""

from __future__ import annotations

import inspect
import re
import runpy
import sys
from pathlib import Path

import pytest

from t2icli.ground import toml
from t2icli.testing import Runner

PAGE = (Path(__file__).parents[2] / "docs/writing-a-plugin.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^```\w+\n# (\S+\.\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of the page in a folder of their own."""
    folder = tmp_path / "project"
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "t2i_stripes", raising=False)
    return folder


TESTS = re.findall(r"^def (test_\w+)", FILES["test_stripes.py"], re.MULTILINE)


@pytest.mark.parametrize("name", TESTS)
def test_the_plugin_of_the_page_passes_the_tests_of_the_page(
    name: str, project: Path, t2i: Runner, tmp_path: Path
) -> None:
    test = runpy.run_path(str(project / "test_stripes.py"))[name]
    here = {"t2i": t2i, "tmp_path": tmp_path}
    test(**{wanted: here[wanted] for wanted in inspect.signature(test).parameters})


def test_the_page_has_all_that_a_distribution_needs(project: Path) -> None:
    assert set(FILES) == {"t2i_stripes.py", "test_stripes.py", "pyproject.toml"}
    about = toml.read(project / "pyproject.toml")
    assert about["project"]["entry-points"]["t2icli"] == {"stripes": "t2i_stripes"}
    assert about["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"] == ["t2i_stripes.py"]
