"""One plugin can harm neither another nor the tool."""

from __future__ import annotations

import asyncio
import sys
import types
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from t2icli.contract.entries import Command, Entry
from t2icli.contract.hookspecs import hookimpl
from t2icli.registry.discovery import Plugins
from t2icli.store.sources import ModelSource, RemoteFile
from t2icli.testing import Runner


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True): ...


def entry(name: str = "sample", **changes: Any) -> Entry[Any]:
    return Entry(**{"name": name, "about": "a sample", "settings": Settings, "load": lambda settings: None, **changes})


def plugin(mark: Callable[[Any], Any] = hookimpl, **hooks: Any) -> types.ModuleType:
    """A module with these hooks; each value is what its hook returns, or a function."""
    module = types.ModuleType("sample")
    for name, answer in hooks.items():
        function = answer if callable(answer) else (lambda answer=answer: answer)
        wrapped = types.FunctionType(
            function.__code__, function.__globals__, name, function.__defaults__, function.__closure__
        )
        setattr(module, name, mark(wrapped))
    return module


def fails(exception: BaseException) -> Callable[[], Any]:
    def raise_it() -> Any:
        raise exception

    return raise_it


GOOD = plugin(t2i_rankers=lambda: [entry("good")], t2i_models=lambda: [ModelSource("x/taken", "", "")])

NOWHERE = ModelSource("x/y", "", "", files=(RemoteFile((), None),))

BROKEN: dict[str, tuple[Callable[[], object], str]] = {
    "fails at import": (fails(ImportError("no module named 'tensorflow'")), "import: ImportError: no module named"),
    "exits at import": (fails(SystemExit(3)), "import: SystemExit: 3"),
    "is cancelled at import": (fails(asyncio.CancelledError()), "import: CancelledError"),
    "panics at import": (
        fails(type("PanicException", (BaseException,), {})("at lib.rs")),
        "import: PanicException: at",
    ),
    "interrupts itself": (fails(KeyboardInterrupt()), "import: KeyboardInterrupt"),
    "has no words for it": (fails(type("Odd", (Exception,), {"__str__": fails(ValueError())})()), "import: Odd"),
    "exits in a hook": (lambda: plugin(t2i_codecs=fails(SystemExit())), "t2i_codecs: SystemExit"),
    "raises in a hook": (lambda: plugin(t2i_codecs=fails(ValueError("no\nluck"))), "t2i_codecs: ValueError: no luck"),
    "raises late": (lambda: plugin(t2i_codecs=lambda: (1 / 0 for _ in [1])), "t2i_codecs: ZeroDivisionError"),
    "takes a name": (
        lambda: plugin(t2i_rankers=lambda: [entry("good")]),
        "t2i_rankers: T2IError: ranker 'good' is already taken by plugin 'first'",
    ),
    "takes its own name": (
        lambda: plugin(t2i_rankers=lambda: [entry("a"), entry("a")], t2i_models=lambda: []),
        "t2i_rankers: T2IError: ranker 'a' is announced twice",
    ),
    "takes a model's name": (
        lambda: plugin(t2i_models=lambda: [ModelSource("x/taken", "", "")]),
        "t2i_models: T2IError: model 'x/taken' is already taken by plugin 'first'",
    ),
    "misspells a hook": (lambda: plugin(t2i_rankrs=lambda: []), "no hook 't2i_rankrs': did you mean 't2i_rankers'?"),
    "forgets the mark": (
        lambda: plugin(lambda f: f, t2i_rankers=lambda: []),
        "t2i_rankers is not marked with @hookimpl",
    ),
    "asks for too much": (lambda: plugin(t2i_rankers=lambda registry: []), "registry"),
    "returns no entries": (lambda: plugin(t2i_rankers=lambda: ["clip"]), "must return Entry objects, not str"),
    "returns one entry": (lambda: plugin(t2i_rankers=lambda: entry()), "not iterable"),
    "has other settings": (lambda: plugin(t2i_rankers=lambda: [entry(settings=dict)]), "must be a msgspec.Struct"),
    "has no load": (
        lambda: plugin(t2i_rankers=lambda: [entry(load=None)]),
        "'sample' must be functions",
    ),
    "has no name": (lambda: plugin(t2i_rankers=lambda: [entry("A b/c")]), "unlike 'A b/c'"),
    "returns no sources": (lambda: plugin(t2i_models=lambda: [3]), "must return ModelSource objects, not int"),
    "has no address": (lambda: plugin(t2i_models=lambda: [NOWHERE]), "'x/y' has a file without an address"),
    "names no model": (lambda: plugin(t2i_models=lambda: [ModelSource("x", "", "")]), "a model's name is backend/what"),
}


@pytest.fixture
def found() -> Plugins:
    plugins = Plugins()
    plugins.add("first", "first 1.0", lambda: GOOD)
    return plugins


@pytest.mark.parametrize("fault", BROKEN)
def test_a_plugin_with_a_fault_is_left_out_with_its_reason(found: Plugins, fault: str) -> None:
    load, reason = BROKEN[fault]
    found.add("faulty", "faulty 0.1", load)
    (broken,) = found.broken
    assert reason in str(broken)
    assert str(broken).startswith("plugin 'faulty' (faulty 0.1) was left out: ")
    assert len(str(broken).splitlines()) == 1
    assert [name for kind in found.offers.values() for name in kind] == ["good"]


@pytest.mark.parametrize("fault", BROKEN)
def test_t2i_strict_raises_instead(found: Plugins, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T2I_STRICT", "1")
    load, reason = BROKEN[fault]
    with pytest.raises(BaseException) as caught:
        found.add("faulty", "faulty 0.1", load)
    assert caught.type.__name__ in reason or reason in str(caught.value)
    assert not found.broken


def test_half_of_a_broken_plugin_is_not_taken_in(found: Plugins) -> None:
    half = plugin(t2i_rankers=lambda: [entry("half")], t2i_models=fails(OSError("gone")))
    found.add("half", "half 1.0", lambda: half)
    assert "half" not in found.offers["ranker"] and [source.name for source in found.sources] == ["x/taken"]


def test_a_plugin_that_imports_what_is_heavy_when_found_is_named_and_works(
    found: Plugins, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "daft", raising=False)

    def load() -> object:
        monkeypatch.setitem(sys.modules, "daft", types.ModuleType("daft"))
        return plugin(t2i_rankers=lambda: [entry("slow")])

    with pytest.warns(UserWarning, match=r"plugin 'slow' \(slow 1.0\) slows every command down: it imports daft"):
        found.add("slow", "slow 1.0", load)
    assert "slow" in found.offers["ranker"] and not found.broken


def test_what_a_plugin_prints_when_found_does_not_reach_stdout(
    found: Plugins, capsys: pytest.CaptureFixture[str]
) -> None:
    def load() -> object:
        sys.stdout.write("hello from a plugin")
        return plugin()

    found.add("loud", "loud 1.0", load)
    assert capsys.readouterr().out == ""


def test_an_embedder_is_a_ranker_unless_there_is_one_of_its_name(found: Plugins) -> None:
    found.add("space", "space 1", lambda: plugin(t2i_embedders=lambda: [entry("good"), entry("space")]))
    own = found.offers["ranker"]["good"]
    found.offer_embedders_as_rankers()
    assert found.offers["ranker"]["good"] is own
    assert found.offers["ranker"]["space"].plugin == "space"


def test_users_hear_of_a_broken_plugin_in_one_line_and_the_rest_works(t2i: Runner) -> None:
    t2i.use(plugin(t2i_rankers=lambda: [3]), strict=False)
    result = t2i.ok("models", "list")
    assert result.stderr.count("was left out") == 1


def test_a_command_that_is_taken_is_attributed_to_its_plugin(t2i: Runner) -> None:
    t2i.use(plugin(t2i_commands=lambda: [Command("models", "Others.", "elsewhere:models")]), strict=False)
    assert (
        "plugin 'sample' (under test) was left out: t2i_commands: T2IError: command 'models' is already taken by plugin"
        in t2i.ok("--help").stderr
    )
    assert "elsewhere" not in t2i.ok("models", "--help").stdout


@pytest.mark.parametrize(
    ("announced", "reason"),
    [
        ([3], "t2i_commands must return Command objects"),
        ([Command("Hello", "", "a:b")], "a command's name"),
        ([Command("hello", "", "a.b")], "module:name"),
    ],
)
def test_a_command_that_is_wrongly_described_is_refused(found: Plugins, announced: list[Any], reason: str) -> None:
    found.add("sample", "sample 1.0", lambda: plugin(t2i_commands=lambda: announced))
    assert reason in found.broken[-1].reason
