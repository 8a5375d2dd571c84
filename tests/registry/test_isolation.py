"""What plugins do at import, in their hooks and when they add commands, seen from outside `t2i`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest

from t2icli.registry import isolation
from t2icli.registry.isolation import Isolation

WORKS = """
from t2icli.contract.hookspecs import hookimpl
from t2icli.contract.entries import Command
def greet(): print("hello")
@hookimpl
def t2i_commands():
    return [Command("greet", "Say hello.", __name__ + ":greet")]
"""


class Installed:
    """A distribution `t2i-sample 1.0` with the plugin `sample`, and `t2i` in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        metadata = folder / "t2i_sample-1.0.dist-info"
        metadata.mkdir(parents=True)
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: t2i-sample\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text("[t2icli]\nsample = sample\n")

    def run(self, code: str, *words: str) -> subprocess.CompletedProcess[str]:
        (self.folder / "sample.py").write_text(code, encoding="utf-8")
        ours = {key: value for key, value in os.environ.items() if not key.startswith("T2I_")}
        path = os.pathsep.join([str(self.folder), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**ours, "T2I_HOME": str(self.folder / "home"), "PYTHONPATH": path, "COLUMNS": "240"}
        command = [sys.executable, "-m", "t2icli", *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)


@pytest.fixture
def sample(tmp_path: Path) -> Installed:
    return Installed(tmp_path / "site")


BREAKS = {
    "a cancellation at import": ("import asyncio\nraise asyncio.CancelledError", "import: CancelledError"),
    "an exit when commands are added": (
        WORKS.replace("return [", "raise SystemExit(7)  # ["),
        "t2i_commands: SystemExit: 7",
    ),
}


@pytest.mark.parametrize("fault", BREAKS)
def test_a_broken_plugin_stops_no_command_and_how_to_remove_it_is_said(sample: Installed, fault: str) -> None:
    code, reason = BREAKS[fault]
    ended = sample.run(code, "--help")
    assert ended.returncode == 0 and "generate" in ended.stdout
    problem = f"plugin 'sample' (t2i-sample 1.0) was left out: {reason}"
    assert f"{problem}; to remove it: t2i uninstall t2i-sample\n" in ended.stderr
    assert ended.stderr.count("was left out") == 1 and "Traceback" not in ended.stderr


OUTPUT = """
import ctypes, os, sys, t2icli
kept = sys.__stdout__
print("from print")
kept.write("from the first stdout")
os.write(1, b"from descriptor 1\\n")
if os.name == "posix":
    ctypes.CDLL(None).puts(b"from C")
    os.system("echo from a child")
"""


def test_what_a_plugin_writes_to_stdout_in_any_way_goes_to_stderr(sample: Installed) -> None:
    loud = OUTPUT + WORKS.replace(
        "    return", "    print('from a hook')\n    os.write(1, b'from a hook, too')\n    return"
    )
    ended = sample.run(loud, "plugins", "--json")
    assert json.loads(ended.stdout)["broken"] == [] and ended.returncode == 0
    for origin in ("print", "the first stdout", "descriptor 1", *(["C", "a child"] if os.name == "posix" else [])):
        assert f"from {origin}" in ended.stderr
    ended = sample.run(loud, "greet")
    assert ended.stdout == "hello\n" and "from a hook, too" in ended.stderr


LATE = """
import atexit, threading
atexit.register(lambda: print("from an exit function"))
threading.Thread(target=lambda: 1 / 0).start()
"""


def test_what_a_plugin_leaves_running_writes_to_stderr_and_shows_no_traceback(sample: Installed) -> None:
    ended = sample.run(LATE, "plugins", "--json")
    assert ended.returncode == 0 and json.loads(ended.stdout)
    assert "from an exit function" in ended.stderr
    assert "warning: a thread failed: ZeroDivisionError" in ended.stderr and "Traceback" not in ended.stderr
    assert "Traceback" in sample.run(LATE, "plugins", "--json", "--debug").stderr


SWALLOWED = """
import os, signal
try:
    os.kill(os.getpid(), signal.{name})
    while True: pass
except BaseException:
    {then}
"""


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
@pytest.mark.parametrize("then", ["pass", "raise ValueError", "raise"])
@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_a_signal_ends_the_program_whatever_the_plugin_does_with_it(
    sample: Installed, name: str, code: int, then: str
) -> None:
    ended = sample.run(SWALLOWED.format(name=name, then=then) + WORKS, "plugins")
    assert ended.returncode == code and ended.stdout == ""
    assert "left out" not in ended.stderr and "Traceback" not in ended.stderr


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
def test_a_second_signal_ends_a_plugin_that_goes_on_after_the_first(sample: Installed) -> None:
    stubborn = (
        "import os, signal\nwhile True:\n  try: os.kill(os.getpid(), signal.SIGTERM)\n  except BaseException: pass"
    )
    assert sample.run(stubborn, "plugins").returncode == 143


def test_a_handler_that_a_plugin_installs_does_not_stay(sample: Installed) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Isolation() as isolated:
        assert isolated.attempt(str, lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN)) is None
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_plugin_that_takes_long_is_named_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "PATIENCE", 0.0)
    monkeypatch.setattr(isolation, "TICK", 0.001)
    named: list[str] = []
    heard = threading.Event()

    def show(message: Warning, *_: object) -> None:
        named.append(str(message))
        heard.set()

    def never_ends_before_it_is_named() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert heard.wait(60)

    monkeypatch.setattr(warnings, "showwarning", show)
    assert Isolation().attempt(lambda: "plugin 'slow' (slow 1.0)", never_ends_before_it_is_named) is None
    assert named == ["still waiting for plugin 'slow' (slow 1.0)"]


@pytest.mark.slow
def test_an_import_that_never_ends_is_named_with_the_command_that_removes_it(sample: Installed) -> None:
    end = "threading.Timer(8, os.kill, (os.getpid(), signal.SIGTERM)).start()"
    forever = f"import os, signal, threading\n{end}\nthreading.Event().wait()"
    ended = sample.run(forever, "plugins")
    assert "still waiting for plugin 'sample' (t2i-sample 1.0); to remove it: t2i uninstall t2i-sample" in ended.stderr
    assert ended.returncode == 143
