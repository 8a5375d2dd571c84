"""Flags that belong together, as one parameter of a command."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from inspect import Parameter
from typing import Annotated, Any, TypeVar, cast

import msgspec
import typer
from msgspec.structs import FieldInfo

from t2icli.registry import settings

Command = TypeVar("Command", bound=Callable[..., Any])


def flag_groups(command: Command) -> Command:
    """Give Typer a flag for each field of a parameter that is a struct, in its place.

    A field's annotation is the flag's, as it would stand in the command; the parameter's default holds those of its
    flags.
    """
    own = _parameters(command)
    groups = {each.name: each.default for each in own if isinstance(each.default, msgspec.Struct)}

    @functools.wraps(command)
    def ungrouped(**flags: Any) -> Any:
        for name, group in groups.items():
            flags[name] = type(group)(**{field: flags.pop(field) for field in group.__struct_fields__})
        return command(**flags)

    parameters = []
    for each in own:
        parameters += _flags(groups[each.name]) if each.name in groups else [each]
    return cast(Command, _with_parameters(ungrouped, parameters))


def setting_flags(struct: type, panels: Mapping[str, str]) -> Callable[[Command], Command]:
    """Add a flag for each of these settings, listed by the panel of the help they are shown in.

    None of them has a default: what is not given is left to the settings. The command gets them as `**keywords`.
    """
    fields = {field.name: field for field in msgspec.structs.fields(struct)}
    flags = [_setting(fields[name], panel) for panel, names in panels.items() for name in names.split()]

    def add(command: Command) -> Command:
        own = [each for each in _parameters(command) if each.kind is not Parameter.VAR_KEYWORD]
        return _with_parameters(command, [*own, *flags])

    return add


def _parameters(command: Callable[..., Any]) -> list[Parameter]:
    return list(inspect.signature(command, eval_str=True).parameters.values())


def _with_parameters(command: Command, parameters: list[Parameter]) -> Command:
    keywords = [each.replace(kind=Parameter.KEYWORD_ONLY) for each in parameters]  # that is how Typer calls it
    command.__signature__ = inspect.Signature(keywords)  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in parameters}
    return command


def _flags(group: msgspec.Struct) -> list[Parameter]:
    return [_flag(field.name, getattr(group, field.name), field.type) for field in msgspec.structs.fields(group)]


def _setting(field: FieldInfo, panel: str) -> Parameter:
    kind, about = settings.bare(field.type)
    option = typer.Option(help=f"{about[0].upper()}{about[1:]}.", rich_help_panel=panel or None)
    return _flag(field.name, None, Annotated[kind | None, option])


def _flag(name: str, default: Any, annotation: Any) -> Parameter:
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
