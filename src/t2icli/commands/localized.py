"""Help pages in the user's language: the commands' own texts, and Typer's around them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any

from t2icli.ground.translate import translate

TYPER = (
    "DEPRECATED_STRING",
    "DEFAULT_STRING",
    "ENVVAR_STRING",
    "REQUIRED_LONG_STRING",
    "ARGUMENTS_PANEL_TITLE",
    "OPTIONS_PANEL_TITLE",
    "COMMANDS_PANEL_TITLE",
)
"""Texts of `typer.rich_utils`."""
USAGE = "Usage: "


def localized(command: Any) -> Any:
    """The same command, and all below it, with help in the user's language."""
    for name in ("help", "short_help", "epilog", "rich_help_panel"):
        _translate(command, name)
    for parameter in command.params:
        _translate(parameter, "help")
        _translate(parameter, "rich_help_panel")
    command.get_usage = partial(_usage, command.get_usage)
    command.format_help = partial(_format_help, command, command.format_help)
    for below in getattr(command, "commands", {}).values():
        localized(below)
    return command


def _translate(thing: Any, name: str) -> None:
    text = getattr(thing, name, None)
    if isinstance(text, str):
        setattr(thing, name, "\n\n".join(map(translate, text.split("\n\n"))))


def _usage(original: Any, context: Any) -> str:
    return str(original(context)).replace(USAGE, translate(USAGE.strip()), 1)


def _format_help(command: Any, original: Any, context: Any, formatter: Any) -> None:
    if (option := command.get_help_option(context)) is not None:
        _translate(option, "help")
    with _headings():
        original(context, formatter)


@contextlib.contextmanager
def _headings() -> Iterator[None]:
    """Typer's headings, which are constants of a module of its own."""
    from typer import rich_utils

    before = {name: getattr(rich_utils, name) for name in TYPER if hasattr(rich_utils, name)}
    try:
        for name, text in before.items():
            setattr(rich_utils, name, translate(text))
        yield
    finally:
        for name, text in before.items():
            setattr(rich_utils, name, text)
