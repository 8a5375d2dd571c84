"""Fixtures for every test of this repository, the plugins' included."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent
# Read before any test starts: the fixture `t2i` removes T2I_* from the environment and changes the working folder.
NAMED = [Path(os.environ["T2I_GOLDEN"]).absolute()] if os.environ.get("T2I_GOLDEN") else []
GOLDEN = (*NAMED, ROOT / "tests/golden", ROOT.parent / "shared/golden")
# Before anything imports torch: threads that wait by spinning make a busy machine ten times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


@pytest.fixture(scope="session")
def golden() -> Callable[[str], Path]:
    """`golden("brivl")`: a folder of reference data, or a skip where it is not at hand."""

    def find(name: str) -> Path:
        for root in GOLDEN:
            if (root / name).exists():
                return root / name
        pytest.skip(f"no golden data for {name}: set T2I_GOLDEN")

    return find


@pytest.fixture
def fix_states(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[Any]]:
    """Called, it makes every step that draws go from a state fit to be replayed on a GPU; it gives those states."""

    def fix() -> list[Any]:
        from t2icli.nn import decode

        states: list[Any] = []

        def stepper(model: Any, state: Any) -> Any:
            states.append(state.fixed())
            return lambda codes: model.step(codes, states[-1])

        monkeypatch.setattr(decode, "stepper", stepper)
        return states

    return fix
