"""A run configures its recipe once, and looks at the data before anything else."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest
import tiny
from msgspec import Meta

from t2icli.contract.entries import Entry
from t2icli.contract.fields import Part, part
from t2icli.contract.hookspecs import hookimpl
from t2icli.contract.kinds import Metric, Tokenizer
from t2icli.ground import toml
from t2icli.testing import Runner

CONFIGURED: list[str] = []


class PartSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    strict: Annotated[bool, Meta(description="a setting")] = True

    def __post_init__(self) -> None:
        CONFIGURED.append("a part")


class Settings(tiny.Settings, frozen=True, forbid_unknown_fields=True):
    metric: Annotated[Part[Metric], Meta(description="a part")] = part("metric", "counted")
    words: Annotated[Part[Tokenizer], Meta(description="what reads the captions")] = part("tokenizer", "json")


class Plugin:
    __name__ = "counting"

    @hookimpl
    def t2i_recipes(self) -> list[Entry[Any]]:
        return [Entry("tiny", "a recipe for tests", Settings, tiny.Tiny)]

    @hookimpl
    def t2i_metrics(self) -> list[Entry[Metric]]:
        return [Entry("counted", "a metric for tests", PartSettings, lambda settings: None)]  # type: ignore[arg-type,return-value]


@pytest.fixture
def counting(t2i: Runner) -> Runner:
    t2i.use(Plugin())
    CONFIGURED.clear()
    return t2i


QUICK = ("--max-steps", "2", "--report-to", "none")


def test_a_training_configures_its_recipe_once(counting: Runner, data: Path) -> None:
    counting.ok("train", "tiny", "--train-data", data, *QUICK, "--batch-size", "auto")
    assert CONFIGURED == ["a part"]
    option = toml.read(Path("runs/tiny/settings.toml"))["option"]
    assert Path(option["words"]["model"], "model.toml").is_file(), "the vocabulary was learnt on the way"
    counting.ok("train", "--resume", "--output", "runs/tiny")
    assert CONFIGURED == ["a part"] * 2


def test_a_dry_run_configures_its_recipe_once(counting: Runner, data: Path) -> None:
    counting.ok("train", "tiny", "--train-data", data, *QUICK, "--dry-run")
    assert CONFIGURED == ["a part"]


@pytest.mark.parametrize("words", [(), ("--dry-run",)])
def test_data_that_is_not_there_is_reported_before_anything_is_configured(
    counting: Runner, data: Path, words: tuple[str, ...]
) -> None:
    wrong = ("-o", "width=nothing", *words)
    counting.fails("train", "tiny", "--train-data", "nowhere", *wrong, says="there is no data at")
    counting.fails("train", "tiny", "--train-data", data, "--val-data", "nowhere", *wrong, says="there is no data at")
    assert not CONFIGURED and not Path("runs").exists()
