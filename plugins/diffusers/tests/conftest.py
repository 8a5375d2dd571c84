"""Tiny pipelines of the true classes, each built once."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from t2icli.contract.entries import Entry

collect_ignore_glob = [] if sys.version_info >= (3, 11) else ["test_*.py"]
"""diffusers needs Python 3.11."""
SETTINGS = {"steps": "2", "size": "64x64", "precision": "fp32", "device": "cpu"}
"""Those of a quick picture."""


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`tiny("z-image")`: the folder of a pipeline of that family, to be left as it is."""
    root, built = tmp_path_factory.mktemp("pipelines"), dict[str, Path]()

    def find(family: str) -> Path:
        if family not in built:
            from t2i_diffusers.testing import pipelines

            built[family] = pipelines.build(family, root / family)
        return built[family]

    return find


@pytest.fixture
def own(tiny: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """A copy that a test may damage."""

    def copy(family: str) -> Path:
        return shutil.copytree(tiny(family), tmp_path / family)

    return copy


@pytest.fixture(scope="session")
def entry() -> Entry[Any]:
    import t2i_diffusers

    return t2i_diffusers.t2i_generators()[0]


@pytest.fixture(scope="session")
def load(entry: Entry[Any], tiny: Callable[[str], Path]) -> Callable[..., Any]:
    """`load("z-image", steps="3")`: a generator of that family, a quick one; loaded once for the same settings."""
    from t2icli.registry import configure

    loaded: dict[str, Any] = {}

    def open_generator(family: str, **options: Any) -> Any:
        key = family + json.dumps(options, sort_keys=True, default=str)
        if key not in loaded:
            chosen = {"source": tiny(family), **SETTINGS, **options}
            loaded[key] = entry.load(configure.configure_entry("generator", entry, chosen))
        return loaded[key]

    return open_generator
