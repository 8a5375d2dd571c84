from __future__ import annotations

from t2icli.registry import discovery, settings
from t2icli.testing import Runner


def test_the_help_of_a_recipe_shows_its_own_defaults(t2i: Runner) -> None:
    shown = " ".join(t2i.ok("train", "dalle", "--help").stdout.split())
    fields = {field.name: field.default for field in settings.describe(discovery.find("recipe", "dalle").settings)}
    assert f"Peak learning rate. Unless given, {fields['loop.lr']}." in shown
    assert "t2i plugins recipe dalle" in shown
    assert "Unless given" not in t2i.ok("train", "--help").stdout
