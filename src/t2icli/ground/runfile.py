"""The file of resolved settings that every run writes beside its results, and that `--config` reads back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from t2icli.ground import files, toml

NAME = "settings.toml"


def write(folder: Path, tables: Mapping[str, Any]) -> Path:
    """Write the tables of a run's settings."""
    return files.write(folder / NAME, toml.dumps(tables), durable=True)
