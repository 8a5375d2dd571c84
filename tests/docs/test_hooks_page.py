"""docs/hooks.md: a section for every hook, and every example works."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

import pytest

from t2icli.contract import hookspecs
from t2icli.contract.kinds import KINDS
from t2icli.pipelines.scaffold import TEMPLATES
from t2icli.registry.discovery import HOOKS
from t2icli.store import models
from t2icli.testing import Runner

PAGE = (Path(__file__).parents[2] / "docs/hooks.md").read_text(encoding="utf-8")
_, *SECTIONS = re.split(r"^## ", PAGE, flags=re.MULTILINE)
SECTION = {text.partition("\n")[0].strip(): text for text in SECTIONS}


def code(text: str) -> str:
    """The example of a section."""
    (example,) = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return example


@pytest.fixture
def example(request: pytest.FixtureRequest, t2i: Runner, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """The example of a hook as an installed plugin."""
    module = types.ModuleType("t2i_example")
    monkeypatch.setitem(sys.modules, "t2i_example", module)
    exec(compile(code(SECTION[request.param]), request.param, "exec"), vars(module))
    t2i.use(module)
    return module


def of(*hooks: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("example", hooks, indirect=True)


def test_every_hook_has_a_section_and_no_section_is_of_another_age() -> None:
    assert set(SECTION) == set(HOOKS)


def test_every_hook_says_what_it_is_for() -> None:
    first_lines = {hook: (getattr(hookspecs, hook).__doc__ or "").partition("\n")[0] for hook in HOOKS}
    assert not {hook: line for hook, line in first_lines.items() if not line.endswith(".")}


def test_every_kind_is_shown_by_its_template() -> None:
    """The templates' own tests are run by tests/commands/test_plugins.py."""
    for kind in KINDS:
        assert code(SECTION[f"t2i_{kind}s"]) == (TEMPLATES / f"{kind}.py").read_text(encoding="utf-8")


@of("t2i_models")
def test_the_example_of_a_model_is_listed(example: types.ModuleType, t2i: Runner) -> None:
    (row,) = [row for row in t2i.ok("models", "list", "--json").json() if row["name"] == "sample/dusk"]
    assert (row["size"], row["is_here"]) == (1_048_576, False)
    t2i.fails("generate", "x", "-m", "sample/dusk", says="t2i models pull sample/dusk")
    assert models.places() == {}


@of("t2i_commands")
def test_the_example_of_a_command_runs(example: types.ModuleType, t2i: Runner) -> None:
    assert t2i.ok("hello", "--name", "noodles").stdout == "hello noodles\n"
    assert "Greet someone" in t2i.ok("--help").stdout
