"""TOML in and out, with errors that name the file and the line."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from t2icli.ground import files
from t2icli.ground.errors import T2IError


def read(path: Path) -> dict[str, Any]:
    """The tables of a TOML file."""
    if sys.version_info >= (3, 11):
        import tomllib  # here, because listing commands needs none
    else:
        import tomli as tomllib
    try:
        tables: dict[str, Any] = tomllib.loads(files.read_text(path).replace("\r\n", "\n"))
    except ValueError as error:  # also a number with more digits than Python converts
        raise T2IError(f"'{path}' is not valid TOML: {error}") from error
    except RecursionError as error:
        raise T2IError(f"'{path}' is nested too deeply") from error
    return tables


def dumps(tables: Mapping[str, Any]) -> str:
    """`tables` as TOML; keys whose value is None are left out, for TOML has no null."""
    import tomli_w

    return tomli_w.dumps(_plain(tables))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, Path):
        return str(value)
    return value
