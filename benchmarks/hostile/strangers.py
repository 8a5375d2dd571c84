"""Plugins that do what no plugin should, at import, in their hooks and at work."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from random import Random

from cases import Case, Ended, installed, start, traces
from kills import Story, finished

HEAD = """
import typing, msgspec
from PIL import Image
from t2icli.contract.hookspecs import hookimpl
from t2icli.contract.entries import Command, Entry
class Settings(msgspec.Struct, frozen=True):
    size: int = 8
def hostile(self): pass
class Draws:
    def __init__(self, settings): self.hostile()
    def hostile(self): hostile(self)
    def generate(self, prompt, n, *, seed):
        for i in range(n):
            yield self.one(i)
    def one(self, i): return Image.new("RGB", (8, 8))
@hookimpl
def t2i_generators(): return [Entry("bad", "a stranger's", Settings, Draws)]
"""
IMPORTS = {
    "ends the process by raise": "raise SystemExit(0)",
    "interrupts": "raise KeyboardInterrupt",
    "a generator's exit": "raise GeneratorExit",
    "an error that cannot be shown": "class E(Exception):\n  def __str__(self): 1 / 0\n  __repr__ = __str__\nraise E",
    "an error of a megabyte": "raise ValueError('x' * 1_000_000)",
    "an error of escapes": "raise ValueError('\\x1b[2J\\x1b]0;owned\\x07\\u202e')",
    "an error of its own kind": "class E(BaseException): pass\nraise E",
    "endless recursion": "def f(): f()\nf()",
    "no syntax": "def (:",
    "bytes that are no text": "# \udcff\x00",
    "exits at exit": "import atexit, os\natexit.register(lambda: print('left behind'))",
    "writes to fd 1": "import os\nos.write(1, b'{\"owned\": true}')",
    "closes fd 1": "import os\nos.close(1)",
    "closes fd 2": "import os\nos.close(2)",
    "swaps sys.stdout": "import sys, io\nsys.stdout = io.StringIO()",
    "removes sys.stdout": "import sys\nsys.stdout = None",
    "removes sys.stderr": "import sys\nsys.stderr = None",
    "ignores every signal": "import signal\nfor n in (2, 15): signal.signal(n, signal.SIG_IGN)",
    "changes the folder": "import os\nos.chdir('/')",
    "empties the environment": "import os\nos.environ.clear()",
    "empties sys.path": "import sys\nsys.path.clear()",
    "raises in a thread": "import threading\nthreading.Thread(target=lambda: 1 / 0).start()",
    "a thread that never ends": "import threading, time\nthreading.Thread(target=time.sleep, args=(5,)).start()",
    "a trace function": "import sys\nsys.settrace(lambda *a: 1 / 0)",
    "a limit of 50 frames": "import sys\nsys.setrecursionlimit(120)",
    "warnings are errors": "import warnings\nwarnings.simplefilter('error')",
    "a locale": "import locale\nlocale.setlocale(locale.LC_ALL, 'C')",
    "umask 777": "import os\nos.umask(0o777)",
    "an excepthook": "import sys\nsys.excepthook = lambda *a: None",
}
HOOKS = {
    "returns None": "@hookimpl\ndef t2i_rankers(): return None",
    "returns itself": "@hookimpl\ndef t2i_rankers(): return t2i_rankers",
    "gives 3,000": "@hookimpl\ndef t2i_rankers():\n  for i in range(3000): yield Entry(f'a{i}', 'x', Settings, Draws)",
    "raises while giving": "@hookimpl\ndef t2i_rankers():\n  yield Entry('a', 'x', Settings, Draws)\n  exit(5)",
    "names of escapes": "@hookimpl\ndef t2i_rankers(): return [Entry('\\x1b[31ma\\x07', '\\x1b[2J', Settings, Draws)]",
    "an empty name": "@hookimpl\ndef t2i_rankers(): return [Entry('', '', Settings, Draws)]",
    "a name like ours": "@hookimpl\ndef t2i_rankers(): return [Entry('clip', 'x', Settings, Draws)]",
    "a name that is a path": "@hookimpl\ndef t2i_rankers(): return [Entry('../../x', 'x', Settings, Draws)]",
    "settings that are no struct": "@hookimpl\ndef t2i_rankers(): return [Entry('a', 'x', dict, Draws)]",
    "a hook of numbers": "t2i_rankers = hookimpl(7) if False else 7",
    "a hook that wants more": "@hookimpl\ndef t2i_rankers(a, b): return []",
    "a misspelt hook": "@hookimpl\ndef t2i_rankres(): return []",
    "a command called generate": "@hookimpl\ndef t2i_commands(): return [Command('generate', 'mine', 'a:b')]",
    "a command of escapes": "@hookimpl\ndef t2i_commands(): return [Command('\\x1b[31mx', '', 'a:b')]",
    "exits in commands": "@hookimpl\ndef t2i_commands(): raise SystemExit(0)",
}
WORK = {
    "raises at load": "def hostile(self): raise RuntimeError('\\x1b[31m broken')",
    "exits at load": "def hostile(self): raise SystemExit(0)",
    "prints while it loads": "def hostile(self): print('{}')",
    "draws no image": "Draws.one = lambda self, i: 'picture'",
    "draws images of no size": "Draws.one = lambda self, i: Image.new('RGB', (0, 0))",
    "draws too many": "def g(self, p, n, *, seed):\n  while True: yield Image.new('RGB', (8, 8))\nDraws.generate = g",
    "draws too few": "Draws.generate = lambda self, p, n, *, seed: iter(())",
    "gives no iterator": "Draws.generate = lambda self, p, n, *, seed: 7",
    "raises while it draws": "def one(self, i): raise MemoryError\nDraws.one = one",
    "exits while it draws": "def one(self, i): raise SystemExit(0)\nDraws.one = one",
    "wrong parameters": "Draws.generate = lambda self: None",
}
LIST, DRAW = ["plugins", "--json"], ["generate", "x", "-m", "bad", "-n", "2", "--output", "o"]


def plugins(random: Random, shared: Path) -> Iterator[Case | Story]:
    """Listing what there is must work beside each; drawing with one may fail, with a message."""
    for about, code in IMPORTS.items():
        yield _beside(f"at import: {about}", code)
    for about, code in HOOKS.items():
        yield _beside(f"in a hook: {about}", HEAD + code)
    for about, code in WORK.items():
        yield _with(f"at work: {about}", HEAD + code, DRAW, (0, 1, 2))
    for about, code in {"sleeps": "import time\ntime.sleep(60)", "spins": "while True: pass"}.items():
        wait = random.uniform(1.0, 2.5)
        yield Story(f"SIGTERM while it {about} at import", partial(_ended_while, code, wait))


def _with(name: str, code: str, words: list[str], codes: tuple[int, ...], check: object = None) -> Case:
    variables: dict[str, str] = {}

    def write(folder: Path) -> None:
        variables.update(_installed(folder, code))

    return Case(name, words, write, codes, check, environment=variables, seconds=60)  # type: ignore[arg-type]


def _installed(folder: Path, code: str) -> Mapping[str, str]:
    variables = installed(folder, "bad", "")
    (folder / "site/bad.py").write_bytes(code.encode("utf-8", "surrogateescape"))
    return variables


def _beside(name: str, code: str) -> Case:
    def check(ended: Ended) -> str:
        import json

        try:
            listed = json.loads(ended.out)
        except ValueError as error:
            return f"what is on stdout is no JSON: {error}"
        return "" if "noise" in str(listed) else "other plugins are not there"

    return _with(name, code, LIST, (0,), check)


def _ended_while(code: str, wait: float, folder: Path) -> list[str]:
    how = Case("", [], environment=_installed(folder, code))
    process = start(LIST, folder, how)
    try:
        process.wait(wait)
    except subprocess.TimeoutExpired:
        os.kill(process.pid, signal.SIGTERM)
    begun = time.monotonic()
    code_of = finished(process)
    took = time.monotonic() - begun
    return [f"exit code {code_of}"] * (code_of != 143) + [f"{took:.0f} s"] * (took > 10) + traces(folder)
