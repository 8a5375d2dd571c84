"""Where a flag's value comes from, seen through a command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pytest
import typer

from t2icli import config
from t2icli.commands import options
from t2icli.contract.entries import Command
from t2icli.contract.hookspecs import hookimpl
from t2icli.ground import runfile, toml
from t2icli.ground.errors import T2IError
from t2icli.testing import Runner

heard: dict[str, object] = {}


def probe(
    context: typer.Context,
    prompt: Annotated[list[str] | None, typer.Argument()] = None,
    top_k: int = 1,
    name: str | None = None,
    option: options.Options = None,
    config_file: options.Config = None,
    as_json: options.Json = False,
) -> None:
    """Say what it was called with."""
    merged = config.options(context, option or ())
    heard.update(prompt=prompt, top_k=top_k, name=name, option=merged, json=as_json)
    heard["resolved"] = config.resolved(context, merged, name="chosen later")


class Probing:
    @hookimpl
    def t2i_commands(self) -> list[Command]:
        return [Command("probe", "Say what it was called with.", f"{__name__}:probe")]


@pytest.fixture(autouse=True)
def command(t2i: Runner) -> None:
    heard.clear()
    t2i.use(Probing())


def write(text: str) -> Path:
    path = Path("c.toml")
    path.write_text(text, encoding="utf-8")
    return path


def test_flags_win_over_the_environment_and_that_over_the_file(t2i: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write("top-k = 2\nname = 'file'\n")
    t2i.ok("probe")
    assert heard["top_k"] == 1
    t2i.ok("probe", "--config", file)
    assert heard["top_k"] == 2
    monkeypatch.setenv("T2I_TOP_K", "3")
    t2i.ok("probe", "--config", file)
    assert (heard["top_k"], heard["name"]) == (3, "file")
    t2i.ok("probe", "--config", file, "--top-k", 4)
    assert heard["top_k"] == 4


def test_options_are_merged_table_by_table_in_the_same_order(t2i: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write("[option]\na = 1\nb = 1\nc = 1\n[option.codec]\nname = 'dvae'\nbatch = 1\n")
    monkeypatch.setenv("T2I_OPTION", "b=2 c=2")
    t2i.ok("probe", "--config", file, "-o", "c=3", "-o", "codec.batch=3")
    assert heard["option"] == {"a": 1, "b": "2", "c": "3", "codec": {"name": "dvae", "batch": "3"}}


def test_the_environment_may_name_the_file(t2i: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T2I_CONFIG", str(write("top_k = 9\n")))
    t2i.ok("probe")
    assert heard["top_k"] == 9


def test_a_variable_of_options_with_an_open_quote_is_named(t2i: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T2I_OPTION", "top_k='1")
    t2i.fails("probe", says="the variable T2I_OPTION cannot be split into words: no closing quotation")


def test_words_that_are_no_flags_come_from_a_file_too(t2i: Runner) -> None:
    t2i.ok("probe", "--config", write("prompt = ['a', 'b']\n"))
    assert heard["prompt"] == ["a", "b"]


def test_flags_may_be_written_with_underscores(t2i: Runner) -> None:
    t2i.ok("probe", "--top_k", 5)
    assert heard["top_k"] == 5


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("top_q = 1\n", "did you mean 'top_k'?"),
        ("option = 3\n", "'option' in 'c.toml' is not a table"),
        ("top_k = 1\ntop_k 2\n", "line 2"),
        ("top_k = 1\ntop-k = 2\n", "'top_k' and 'top-k' in 'c.toml' are the same setting"),
        pytest.param(f"name = {'[' * 5000}{']' * 5000}\n", "'c.toml' is nested too deeply", id="deep"),
        pytest.param(f"top_k = {'9' * 5000}\n", "'c.toml' is not valid TOML", id="digits"),
        ("top_k = 'many'\n", "it is set in the file of --config: c.toml"),
    ],
)
def test_a_mistake_in_the_file_is_explained(t2i: Runner, text: str, says: str) -> None:
    t2i.fails("probe", "--config", write(text), says=says)


def test_a_mistake_in_a_variable_names_the_variable(t2i: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T2I_TOP_K", "many")
    t2i.fails("probe", says="it comes from the variable T2I_TOP_K")


def test_what_was_resolved_is_a_file_that_gives_the_same_again(t2i: Runner, tmp_path: Path) -> None:
    t2i.ok("probe", "bowl", "--top-k", 6, "-o", "a=1", "--json")
    first = dict(heard)
    file = runfile.write(tmp_path, first["resolved"])  # type: ignore[arg-type]
    assert toml.read(file) == {"prompt": ["bowl"], "top_k": 6, "name": "chosen later", "option": {"a": "1"}}
    t2i.ok("probe", "--config", file)
    assert (heard["prompt"], heard["top_k"], heard["option"]) == (["bowl"], 6, {"a": "1"})


def test_a_file_that_cannot_be_read_is_named(t2i: Runner) -> None:
    t2i.fails("probe", "--config", "nowhere.toml", says="cannot read 'nowhere.toml'")
    with pytest.raises(T2IError, match="not UTF-8"):
        Path("bad.toml").write_bytes(b"a = '\xff'")
        toml.read(Path("bad.toml"))
