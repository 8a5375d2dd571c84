"""Values of flags, converted as Typer does, but without pydantic, whose import takes a twentieth of a second.

Typer converts everything else, and reports what is wrong.
"""

from __future__ import annotations

import re
from typing import Any

LEFT = object()
"""In place of a value that Typer has to convert."""
NUMBERS = {int: re.compile(r"[+-]?\d+", re.ASCII), float: re.compile(r"[+-]?\d+(\.\d+)?", re.ASCII)}


class Converter:
    """In place of a parameter's `get_runtime_param`, and of what that returns."""

    def __init__(self, parameter: Any) -> None:
        self.of_typer = parameter.get_runtime_param

    def __call__(self) -> Converter:
        return self

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        converted = plain(value, param)
        return self.of_typer().coerce(value, param=param, ctx=ctx) if converted is LEFT else converted


def plain(value: Any, param: Any) -> Any:
    """The value of a parameter, or `LEFT`."""
    is_list = param.multiple or param.nargs == -1
    if value is None:
        return () if is_list else None
    wanted, info = param.type_descriptor.annotation, param.type_descriptor.parameter_info
    if info.parser is not None:
        return LEFT if is_list or not isinstance(value, str) else _parsed(info.parser, value)
    if is_list:
        is_plain = wanted == list[str] and isinstance(value, list | tuple) and all(isinstance(x, str) for x in value)
        return list(value) if is_plain else LEFT
    if wanted is str and isinstance(value, str):
        return value
    return _number(value, wanted, info) if wanted in NUMBERS and param.nargs == 1 else LEFT


def _parsed(parser: Any, value: str) -> Any:
    try:
        return parser(value)
    except Exception:  # Typer calls it again, and reports what is wrong
        return LEFT


def _number(value: Any, kind: Any, info: Any) -> Any:
    is_written = isinstance(value, str) and NUMBERS[kind].fullmatch(value)
    if not is_written and (isinstance(value, bool) or not isinstance(value, int | kind)):
        return LEFT
    number = kind(value)
    is_within = (info.min is None or info.min <= number) and (info.max is None or number <= info.max)
    return number if is_within else LEFT
