"""Where a flag's value comes from: defaults < `--config FILE` < T2I_* variables < the words typed.

A file's top-level keys are named like the command's flags; `[option]` holds what `-o` would say, with a table
for each part (`[option.codec]`). Every run writes such a file, `settings.toml`, beside its results.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import typer  # Typer evaluates the annotations of a flag's callback

from t2icli.ground import toml
from t2icli.ground.errors import T2IError, did_you_mean
from t2icli.registry import settings

FROM_FILE = "t2icli.options"
"""Where in a command's context the `[option]` table of its file waits for `options`."""


def use_file(context: typer.Context, path: Path | None) -> Path | None:
    """What `--config` does: what the file says becomes the default of this command's flags."""
    if path is None or context.resilient_parsing:
        return path
    spellings: dict[str, str] = {}
    tables = {settings.with_underscores(key, spellings, f"'{path}'"): value for key, value in toml.read(path).items()}
    context.meta[FROM_FILE] = _option_table(tables.pop("option", {}), path)
    flags = {flag_name(parameter): parameter.name for parameter in context.command.params}
    for key in tables:
        if key not in flags:
            hint = did_you_mean(key, [*flags, "option"])
            raise T2IError(f"'{path}' sets {key!r}, but {context.command_path} has no such flag", hint)
    context.default_map = {flags[key]: value for key, value in tables.items()}
    return path


def _option_table(table: Any, path: Path) -> Mapping[str, Any]:
    if not isinstance(table, Mapping):
        raise T2IError(f"'option' in '{path}' is not a table", "write: [option]")
    return table


def options(context: typer.Context, words: Iterable[str] = ()) -> dict[str, Any]:
    """Everything said by `[option]`, `T2I_OPTION="key=value ..."` and `-o`, the last one winning."""
    try:
        from_environment = shlex.split(os.environ.get("T2I_OPTION", ""))
    except ValueError as error:
        raise T2IError(f"the variable T2I_OPTION cannot be split into words: {str(error).lower()}") from error
    return settings.merge(
        context.meta.get(FROM_FILE, {}), settings.from_words(from_environment), settings.from_words(words)
    )


def is_given(context: typer.Context, name: str) -> bool:
    """Whether a parameter has its value from the command line, a file or a variable."""
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def flag_name(parameter: Any) -> str:
    """What a flag is called in files and variables: `--batch-size` is batch_size, and T2I_BATCH_SIZE."""
    longest: str = max(parameter.opts, key=len)
    return longest.lstrip("-").replace("-", "_")


NOT_SETTINGS = {
    *("config", "output", "json", "show", "open", "force", "quiet", "yes", "resume", "option", "help"),
    *("engine", "address", "workers", "gpus_per_worker", "shards"),
}
"""Flags that say what to do with a run rather than what comes out of it."""


def resolved(context: typer.Context, option: Mapping[str, Any], **chosen: Any) -> dict[str, Any]:
    """The tables of `settings.toml`: this command's flags as they were resolved, and the backend's settings.

    `chosen` are flags whose value was found only later, such as a random seed.
    """
    values = {flag_name(parameter): context.params.get(parameter.name) for parameter in context.command.params}
    values |= chosen
    flags = {key: value for key, value in values.items() if key not in NOT_SETTINGS and value not in (None, [], ())}
    return {**flags, "option": dict(option)}
