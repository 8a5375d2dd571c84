from __future__ import annotations

from pathlib import Path

import pytest

from t2icli.registry import discovery, settings
from t2icli.testing import Runner
from t2icli.training.settings import LoopSettings


def test_the_help_of_a_recipe_shows_its_own_defaults(t2i: Runner) -> None:
    shown = " ".join(t2i.ok("train", "dalle", "--help").stdout.split())
    fields = {field.name: field.default for field in settings.describe(discovery.find("recipe", "dalle").settings)}
    assert f"Peak learning rate, after warmup. Default: {fields['loop.lr']}." in shown
    assert "t2i plugins recipe dalle" in shown
    assert "Default:" not in t2i.ok("train", "--help").stdout


def test_the_help_of_a_flag_is_what_the_setting_says(t2i: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    described = {field.name: field for field in settings.describe(LoopSettings)}
    shown = t2i.ok("train", "--help").stdout
    for name in ("lr", "optimizer", "clip", "keep", "on_nan"):
        line = next(line for line in shown.splitlines() if f"--{name.replace('_', '-')} " in line)
        assert described[name].about[1:] in line, line
    assert "<adam|adamw|muon>" in shown
    monkeypatch.setenv("T2I_LANG", "zh")
    assert "预热之后的峰值学习率" in t2i.ok("train", "--help").stdout
    assert "预热之后的峰值学习率" in t2i.ok("train", "dalle", "--help").stdout


def test_a_value_that_a_setting_cannot_have_is_refused_with_those_it_can(t2i: Runner) -> None:
    t2i.fails("train", "dalle", "--train-data", ".", "--optimizer", "sgd", says="'adam', 'adamw', 'muon'")
    Path("f.toml").write_text("precision = 'fp17'")
    t2i.fails("train", "dalle", "--train-data", ".", "--config", "f.toml", says="'fp32', 'bf16'")
    t2i.fails("train", "vae", "--train-data", ".", "--keep", "0", says="setting 'keep'")
