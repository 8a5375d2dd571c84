"""Values of flags are what Typer makes of them, and most of them need no pydantic."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
import typer.main

from t2icli.commands.flag_values import LEFT, plain


def shouting(word: str) -> Path:
    if not word.isupper():
        raise typer.BadParameter("must shout")
    return Path(word)


def command(
    words: Annotated[list[str] | None, typer.Argument()] = None,
    count: Annotated[int, typer.Option(min=1, max=10)] = 3,
    share: Annotated[float, typer.Option(min=0)] = 0.5,
    name: Annotated[str | None, typer.Option()] = None,
    names: Annotated[list[str] | None, typer.Option()] = None,
    loud: Annotated[Path | None, typer.Option(parser=shouting)] = None,
    folder: Annotated[Path | None, typer.Option(exists=True)] = None,
) -> None:
    """What flags may be."""


def parameter(name: str) -> Any:
    app = typer.Typer()
    app.command()(command)
    made = typer.main.get_command(app)
    found = next(each for each in made.params if each.name == name)
    if not hasattr(found, "get_runtime_param"):
        pytest.skip("this Typer converts by itself")
    return found


SIMPLE: Sequence[tuple[str, Any]] = [
    *(("count", value) for value in ("3", "+7", 10, 1)),
    *(("share", value) for value in ("0.25", "2", 3, 0.0)),
    *(("name", value) for value in ("", "红烧", "3", None)),
    *((many, value) for many in ("words", "names") for value in (["a", "b"], ("a",), [], None)),
    *(("loud", value) for value in ("A", None)),
    ("folder", None),
]
OTHERS: Sequence[tuple[str, Any]] = [
    *(("count", value) for value in ("0", "11", "1.5", "x", " 3", "1_0", "٣", "", True, 2.5)),
    *(("share", value) for value in ("-1", "nan", "1e3", ".5", "x")),
    *(("loud", value) for value in ("a", Path("A"))),
    *(("words", value) for value in ("a", [1])),
    ("folder", "nowhere"),
]


@pytest.mark.parametrize(("name", "value"), SIMPLE)
def test_simple_values_are_what_typer_makes_of_them(name: str, value: Any) -> None:
    param = parameter(name)
    ours, theirs = plain(value, param), param.get_runtime_param().coerce(value, param=param, ctx=None)
    assert (ours, type(ours)) == (theirs, type(theirs))


@pytest.mark.parametrize(("name", "value"), OTHERS)
def test_all_others_are_left_to_typer(name: str, value: Any) -> None:
    assert plain(value, parameter(name)) is LEFT
