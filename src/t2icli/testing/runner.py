"""The `t2i` fixture: the command line inside the test's own process, with a home of its own."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from t2icli import cli
from t2icli.registry import discovery


@dataclass(frozen=True)
class Result:
    """What one command did."""

    code: int
    stdout: str
    stderr: str

    def json(self) -> Any:
        """What a command with `--json` wrote."""
        return json.loads(self.stdout)


class Runner:
    """Runs `t2i` as a user would: with the built-ins and exactly the plugins it was given."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home = home
        self.is_terminal = False
        """Whether stdout is a terminal, which gets tables where a pipe gets plain lines."""
        self._monkeypatch = monkeypatch

    def use(self, *modules: Any, strict: bool = True) -> None:
        """Install these plugins, modules or objects with hooks, in place of all others.

        A plugin that does not work is an error here; with `strict=False` it is left out, as it would be for a user.
        """
        here = discovery.collect((_name(module), "under test", _already(module)) for module in modules)
        if strict and here.broken:
            raise AssertionError("\n".join(map(str, here.broken)))
        self._monkeypatch.setattr(discovery, "installed", functools.cache(lambda: here))

    def run(self, *words: object, stdin: str = "") -> Result:
        """Whatever it does: the exit code and both streams."""
        out, err = _stream(kind=_Terminal if self.is_terminal else io.TextIOWrapper), _stream()
        with _undisturbed(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            sys.argv = ["t2i", *map(str, words)]
            sys.stdin = _stream(stdin)
            code = _exit_code(cli.main)
        return Result(code, _text(out), _text(err))

    def ok(self, *words: object, stdin: str = "") -> Result:
        """It works: exit code 0."""
        result = self.run(*words, stdin=stdin)
        assert result.code == 0, f"t2i {_line(words)} ended with code {result.code}:\n{result.stdout}{result.stderr}"
        return result

    def fails(self, *words: object, code: int = 2, says: str = "", stdin: str = "") -> Result:
        """It ends with `code`, shows `says`, and no traceback."""
        result = self.run(*words, stdin=stdin)
        report = f"t2i {_line(words)} ended with code {result.code}:\n{result.stdout}{result.stderr}"
        assert result.code == code, f"expected code {code}, but {report}"
        assert says in result.stderr, f"expected {says!r} on stderr, but {report}"
        assert "Traceback" not in result.stderr, f"expected no traceback, but {report}"
        return result


@pytest.fixture
def t2i(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runner:
    """The command line with the built-ins alone, an empty home, and a working folder of its own."""
    for name in [name for name in os.environ if name.startswith("T2I_")]:
        monkeypatch.delenv(name)
    home, here = tmp_path / "t2i-home", tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    # Wide and plain, so that no message is broken by a line end or a colour.
    for name, value in {
        "T2I_HOME": str(home),
        "COLUMNS": "240",
        "T2I_LANG": "en",
        "NO_COLOR": "1",
        "TERM": "dumb",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    runner = Runner(home, monkeypatch)
    runner.use()
    return runner


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Whatever a command does to its process ends with it."""
    with mock.patch.dict(os.environ), mock.patch.multiple(sys, argv=sys.argv, stdin=sys.stdin):
        yield


def _exit_code(main: Any) -> int:
    try:
        main()
    except SystemExit as ended:
        if isinstance(ended.code, str):
            sys.stderr.write(f"{ended.code}\n")
            return 1
        return ended.code or 0
    except Exception:
        traceback.print_exc()
        return 1
    return 0


class _Terminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


def _stream(text: str = "", kind: type[io.TextIOWrapper] = io.TextIOWrapper) -> io.TextIOWrapper:
    return kind(io.BytesIO(text.encode()), encoding="utf-8", write_through=True)


def _text(stream: io.TextIOWrapper) -> str:
    with contextlib.suppress(ValueError):  # closed by the command
        stream.flush()
        stream.seek(0)
        return stream.read()
    return ""


def _already(module: Any) -> Callable[[], object]:
    return lambda: module


def _name(module: Any) -> str:
    return str(getattr(module, "__name__", type(module).__name__))


def _line(words: tuple[object, ...]) -> str:
    return " ".join(map(str, words))
