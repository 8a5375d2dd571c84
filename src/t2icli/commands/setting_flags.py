"""Flags of a command that are settings: name, type, default and help are written once, in the settings."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

import msgspec
import typer

from t2icli.registry import settings

Command = TypeVar("Command", bound=Callable[..., Any])


def setting_flags(struct: type, panels: Mapping[str, str]) -> Callable[[Command], Command]:
    """Add a flag for each of these settings, listed by the panel of the help they are shown in.

    None of them has a default: what is not given is left to the settings. The command gets them as `**keywords`.
    """
    fields = {field.name: field for field in msgspec.structs.fields(struct)}

    def add(command: Command) -> Command:
        own = inspect.signature(command, eval_str=True)
        named = [each for each in own.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
        flags = [_flag(fields[name], panel) for panel, names in panels.items() for name in names.split()]
        parameters = [*named, *flags]
        command.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {each.name: each.annotation for each in parameters}
        return command

    return add


def _flag(field: msgspec.structs.FieldInfo, panel: str) -> inspect.Parameter:
    kind, about = settings.bare(field.type)
    option = typer.Option(help=f"{about[0].upper()}{about[1:]}.", rich_help_panel=panel or None)
    annotation = Annotated[kind | None, option]  # type: ignore[valid-type]
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
