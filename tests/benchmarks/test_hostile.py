"""The hostile campaign notices what does not hold."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

SPEC = importlib.util.spec_from_file_location(
    "hostile_cases", Path(__file__).parents[2] / "benchmarks/hostile/cases.py"
)
cases = sys.modules["hostile_cases"] = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(cases)
Case = cases.Case

FAULTS = {
    "import sys; sys.exit(5)": "exit code 5",
    "import sys; sys.exit(1)": "no message",
    "print('Traceback (most recent call last)')": "a traceback",
    "print('this is a bug; add --debug')": "'this is a bug'",
    "print('a\\x1b[31m')": "control characters",
    "open('executed', 'w')": "executed",
    "open('.a.txt.7.part', 'w')": "left over: .a.txt.7.part",
    "import time; time.sleep(60)": "not done after 1 s",
    "import time; a = b'x' * 300_000_000; time.sleep(0.5)": "MB, more than 100",
}


@pytest.mark.skipif(sys.platform != "linux", reason="it measures by Linux's means")
@pytest.mark.parametrize("code", FAULTS)
def test_what_does_not_hold_is_noticed(tmp_path: Path, code: str) -> None:
    case = Case("x", [code], program=(sys.executable, "-c"), seconds=1 if "sleep(60)" in code else 60, megabytes=100)
    found = case.run(tmp_path)
    assert len(found) == 2 and FAULTS[code] in found[0]


@pytest.mark.skipif(sys.platform != "linux", reason="it measures by Linux's means")
def test_what_holds_is_left_alone(tmp_path: Path) -> None:
    assert Case("x", ["print('红烧牛肉面')"], program=(sys.executable, "-c")).run(tmp_path) == []
    assert Case("x", ["print(1)"], program=(sys.executable, "-c"), check=lambda ended: "no").run(tmp_path)[0] == "no"
