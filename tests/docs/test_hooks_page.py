"""docs/hooks.md: a section for every hook, and every example keeps its kind's promises."""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from t2icli import load, testing
from t2icli.contract import hookspecs
from t2icli.contract.kinds import KINDS
from t2icli.data import dataset, shards
from t2icli.data.dataset import SourceRow
from t2icli.registry import discovery
from t2icli.registry.discovery import HOOKS
from t2icli.store import models
from t2icli.testing import Runner

PAGE = (Path(__file__).parents[2] / "docs/hooks.md").read_text(encoding="utf-8")
INTRODUCTION, *SECTIONS = re.split(r"^## ", PAGE, flags=re.MULTILINE)
SECTION = {text.partition("\n")[0].strip(): text for text in SECTIONS}


def code(text: str) -> str:
    """The last example of a section."""
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)[-1]


@pytest.fixture
def example(request: pytest.FixtureRequest, t2i: Runner, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """The example of a hook as an installed plugin."""
    module = types.ModuleType("t2i_example")
    monkeypatch.setitem(sys.modules, "t2i_example", module)
    exec(compile(code(INTRODUCTION) + code(SECTION[request.param]), request.param, "exec"), vars(module))
    t2i.use(module)
    return module


def of(*hooks: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("example", hooks, indirect=True)


def test_every_hook_has_a_section_and_no_section_is_of_another_age() -> None:
    assert set(SECTION) == set(HOOKS)


def test_every_hook_says_what_it_is_for() -> None:
    first_lines = {hook: (getattr(hookspecs, hook).__doc__ or "").partition("\n")[0] for hook in HOOKS}
    assert not {hook: line for hook, line in first_lines.items() if not line.endswith(".")}


SIMPLE = [f"t2i_{kind}s" for kind in KINDS if kind not in ("recipe", "dataset")]


@of(*SIMPLE)
def test_an_example_keeps_its_kinds_promises(example: types.ModuleType, request: pytest.FixtureRequest) -> None:
    hook = request.node.callspec.params["example"]
    (entry,) = getattr(example, hook)()
    kind = hook[len("t2i_") : -1]
    getattr(testing, f"check_{kind}")(entry)
    assert discovery.find(kind, entry.name) == entry


@of("t2i_datasets")
def test_the_example_of_a_dataset_reads_a_folder(example: types.ModuleType, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "beef-noodles.jpg")
    (entry,) = example.t2i_datasets()
    testing.check_dataset(entry, tmp_path)
    (row,) = load("dataset", "names").rows(tmp_path)
    assert row.captions == ("beef noodles",)


@pytest.fixture
def reds(tmp_path: Path) -> Iterator[Path]:
    images = tmp_path / "images"
    images.mkdir()
    for i in range(4):
        Image.new("RGB", (16, 16), (250, 20 + i, 20)).save(images / f"{i}.png")
    shards.write(tmp_path / "data", [SourceRow(str(i), images / f"{i}.png", ("red",)) for i in range(4)])
    return tmp_path / "data"


@of("t2i_recipes")
def test_the_example_of_a_recipe_learns_and_its_generator_draws(
    example: types.ModuleType, t2i: Runner, reds: Path, tmp_path: Path
) -> None:
    (entry,) = example.t2i_recipes()
    testing.check_recipe(entry, dataset.PreparedDataset.open(reds), tmp_path / "model")
    run = tmp_path / "run"
    t2i.ok(
        "train",
        "tint",
        "--train-data",
        reds,
        "--output",
        run,
        "--max-steps",
        "30",
        "--batch-size",
        "2",
        "--report-to",
        "none",
    )
    t2i.ok("generate", "red", "-m", run / "model", "--output", tmp_path / "out")
    red, green, _ = Image.open(tmp_path / "out/000.png").convert("RGB").getpixel((0, 0))
    assert red > 200 > 80 > green


@of("t2i_models")
def test_the_example_of_a_model_is_listed(example: types.ModuleType, t2i: Runner) -> None:
    (row,) = [row for row in t2i.ok("models", "list", "--json").json() if row["name"] == "tint/dusk"]
    assert (row["size"], row["is_here"]) == (1_048_576, False)
    t2i.fails("generate", "x", "-m", "tint/dusk", says="t2i models pull tint/dusk")
    assert models.places() == {}


@of("t2i_commands")
def test_the_example_of_a_command_runs(example: types.ModuleType, t2i: Runner) -> None:
    assert t2i.ok("hello", "--name", "noodles").stdout == "hello noodles\n"
    assert "Greet someone" in t2i.ok("--help").stdout
