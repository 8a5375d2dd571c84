"""Ctrl-C from the first import to the last thread."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

EARLY = """
import sys
class Interrupted:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[1]:
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupted())
from t2icli.__main__ import main
main()
"""


@pytest.mark.parametrize("module", ["t2icli.cli", "typer", "msgspec", "t2icli.registry.discovery"])
def test_ctrl_c_while_the_program_is_imported_is_quiet(module: str) -> None:
    done = subprocess.run([sys.executable, "-c", EARLY, module], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


def test_the_program_imports_nothing_before_it_can_answer() -> None:
    script = "import sys; before = {*sys.modules}; import t2icli.__main__; print(*sorted({*sys.modules} - before))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert {*done.stdout.split()} <= {
        "__future__",
        "t2icli",
        "t2icli.__main__",
        "t2icli.ground",
        "t2icli.ground.errors",
    }


STUCK = """
import threading, time
from t2icli import __main__, cli
def work():
    with cli._ending_in_order():
        threading.Thread(target=time.sleep, args=(3600,)).start()
        print("working", flush=True)
        time.sleep(3600)
cli.main = work
__main__.main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other signals")
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_nobody_waits_for_a_thread_that_works_on(tmp_path: Path, name: str, code: int) -> None:
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen([sys.executable, "-c", STUCK], stdout=subprocess.PIPE, text=True, preexec_fn=heed)
    assert process.stdout is not None and process.stdout.readline() == "working\n"
    time.sleep(0.1)
    process.send_signal(getattr(signal, name))
    process.stdout.close()
    assert process.wait(60) == code


LEAVING = """
import atexit, sys, threading, types
from t2icli import __main__, cli
sys.modules["torch"] = types.ModuleType("torch")  # as if a model had been used
class Left:
    def __del__(self): print("taken apart")
left = Left()
atexit.register(print, "exit function")
def work():
    print("result", end="")
    if sys.argv[1] == "thread":
        threading.Timer(0.2, print, ["\\nthread"]).start()
    sys.exit(3)
cli.main = work
__main__.main()
"""


@pytest.mark.parametrize(
    ("case", "out"), [("alone", "resultexit function\n"), ("thread", "result\nthread\nexit function\ntaken apart\n")]
)
def test_after_torch_was_imported_it_ends_without_taking_everything_apart(case: str, out: str) -> None:
    done = subprocess.run([sys.executable, "-c", LEAVING, case], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (3, out, "")
