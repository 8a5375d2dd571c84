from __future__ import annotations

import os
import types
import warnings
from pathlib import Path

import pytest

from t2icli.contract.entries import Command
from t2icli.contract.hookspecs import hookimpl
from t2icli.ground.errors import T2IError
from t2icli.registry import discovery
from t2icli.store import models
from t2icli.testing import Runner


def say(words: str) -> None:
    print(words)
    os.environ["T2I_SAID"] = words


def warn() -> None:
    warnings.warn("mind the step", UserWarning, stacklevel=2)


def fail(code: int) -> None:
    raise T2IError("it went wrong", "do it right", code=code)


def listen() -> None:
    print(input().upper())


class Speaks:
    """A plugin with a command for every way to end."""

    @hookimpl
    def t2i_commands(self) -> list[Command]:
        return [Command(name, "For this test.", f"{__name__}:{name}") for name in ("say", "warn", "fail", "listen")]


@pytest.fixture
def speaking(t2i: Runner) -> Runner:
    t2i.use(Speaks())
    return t2i


def test_ok_gives_both_streams(speaking: Runner) -> None:
    assert speaking.ok("say", '{"a": "面"}').json() == {"a": "面"}
    assert speaking.ok("warn").stderr == "warning: mind the step\n"
    assert speaking.ok("listen", stdin="hello\n").stdout == "HELLO\n"


def test_fails_compares_code_and_message(speaking: Runner) -> None:
    speaking.fails("fail", 3, code=3, says="it went wrong")
    for words in (["say", "x"], ["fail", "3"]):
        with pytest.raises(AssertionError, match="expected code 2"):
            speaking.fails(*words)
    with pytest.raises(AssertionError, match="expected 'other' on stderr"):
        speaking.fails("fail", 2, says="other")


def test_ok_shows_what_went_wrong(speaking: Runner) -> None:
    with pytest.raises(AssertionError, match="it went wrong"):
        speaking.ok("fail", 1)


def test_nothing_leaks_out_of_a_command(speaking: Runner) -> None:
    before = dict(os.environ)
    speaking.ok("say", "x")
    assert dict(os.environ) == before


def test_nothing_of_the_users_leaks_in(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.setenv("T2I_OFFLINE", "1")
    t2i: Runner = request.getfixturevalue("t2i")
    assert "T2I_OFFLINE" not in os.environ
    assert models.home() == t2i.home
    assert Path.cwd() != Path(request.config.rootpath)


def test_only_the_plugins_named_are_there(t2i: Runner) -> None:
    t2i.use(Speaks())
    t2i.ok("say", "x")
    t2i.use()
    t2i.fails("say", "x", says="say")


def test_a_plugin_that_does_not_work_is_told_of_at_once(t2i: Runner) -> None:
    empty = types.ModuleType("empty")
    empty.t2i_rankers = hookimpl(lambda: [3])  # type: ignore[attr-defined]
    with pytest.raises(AssertionError, match="must return Entry objects"):
        t2i.use(empty)
    t2i.use(empty, strict=False)
    assert [broken.plugin for broken in discovery.installed().broken] == ["empty"]
