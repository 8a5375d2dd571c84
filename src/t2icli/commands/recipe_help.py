"""`t2i train NAME --help`: the defaults of that recipe beside the flags."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from t2icli.registry import discovery, settings

WITHIN = "loop."
"""The settings of a recipe that are flags of `t2i train` too."""


def add_defaults(command: Any, words: Sequence[str]) -> None:
    """Say in the help of each flag the default of the recipe among `words`."""
    offers = discovery.installed().offers["recipe"]
    recipe = next((word for word in words if word in offers), None)
    if recipe is None or not {"-h", "--help"} & set(words):
        return
    fields = settings.describe(offers[recipe].entry.settings)
    defaults = {field.name.removeprefix(WITHIN): field.default for field in fields if field.name.startswith(WITHIN)}
    for parameter in command.params:
        if parameter.name in defaults:
            parameter.help = f"{parameter.help} Default: {defaults[parameter.name]}."
    command.epilog = f"All settings of {recipe}, for -o: t2i plugins recipe {recipe}"
