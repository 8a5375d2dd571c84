"""`t2i models`: the models that are here, and how they come and go."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from t2icli.commands import complete, show
from t2icli.commands.options import Json, Yes
from t2icli.ground.errors import T2IError
from t2icli.pipelines import models as work
from t2icli.store.models import Model

app = typer.Typer(no_args_is_help=True, help="List, download, import and remove models.")

Name = Annotated[
    str,
    typer.Argument(metavar="NAME", help="A model: `backend/what`, or its folder.", autocompletion=complete.model_names),
]


@app.command("list")
def list_(json: Json = False) -> None:
    """Every model that is installed or can be pulled; `*` marks the default model of a backend."""
    rows = work.rows()
    if json:
        show.json(msgspec.to_builtins(rows))
    elif rows:
        columns = ("model", "kind", "size", "", "about")
        show.table([(_marked(row), row.kind, size(row.size), _where(row), row.about) for row in rows], columns)
    else:
        show.note("no model is installed and no plugin lists one; train one, or see: t2i models import --help")


def _marked(row: work.Row) -> str:
    return f"{row.name} *" if row.is_default else row.name


def _where(row: work.Row) -> str:
    if row.is_here:
        return "stand-in" if row.stands_in else ""
    return "to pull" if row.can_be_pulled else "to import"


def size(n: int | None) -> str:
    """Bytes, readably."""
    if n is None:
        return ""
    for unit, power in (("GB", 9), ("MB", 6), ("kB", 3)):
        if n >= 10**power:
            return f"{n / 10**power:.1f} {unit}"
    return f"{n} B"


@app.command("show")
def show_(name: Name, json: Json = False) -> None:
    """Show a model's card."""
    model = work.find(name)
    card = msgspec.to_builtins(model.card)
    facts = {"name": model.name, "folder": str(model.folder), "sha256": model.sha256, "size": model.size, **card}
    if json:
        show.json(facts)
        return
    for key, value in facts.items():
        if isinstance(value, dict):
            for inner, held in value.items():
                show.line(f"{key}.{inner}: {held}")
        elif value != "":
            show.line(f"{key}: {size(value) if key == 'size' else value}")


@app.command("pull")
def pull_(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="A model of `t2i models list` marked `to pull`.", autocompletion=complete.known_models
        ),
    ],
    json: Json = False,
) -> None:
    """Download a model that a plugin lists."""
    from t2icli.pipelines.acquire import pull

    with show.transfer() as tell:
        model = pull(name, tell)
    _arrived(model, json)


@app.command("import")
def import_(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Weights and their files, or a model.")],
    backend: Annotated[
        str | None,
        typer.Option(
            "--as", metavar="BACKEND", help="Backend the files were made for.", autocompletion=complete.converters
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the model; the file's name if omitted.")] = None,
    part: Annotated[
        list[str] | None, typer.Option(metavar="PART=FILE", help="A part stored separately: a file or a model.")
    ] = None,
    codec: Annotated[list[Path] | None, typer.Option(metavar="FILE", help="The same as --part codec=FILE.")] = None,
    json: Json = False,
) -> None:
    """Import another project's checkpoint, or a model folder, into the store. No code in it is executed."""
    from t2icli.pipelines.acquire import import_files

    parts = _parts(part or [])
    if codec:
        parts.setdefault("codec", []).extend(codec)
    _arrived(import_files(backend, files, name=name, parts=parts), json)


def _parts(words: list[str]) -> dict[str, list[Path]]:
    parts: dict[str, list[Path]] = {}
    for word in words:
        part, equals, path = word.partition("=")
        if not equals:
            raise T2IError(f"--part {word!r} has no '='", "write it as --part codec=FILE")
        parts.setdefault(part, []).append(Path(path))
    return parts


def _arrived(model: Model, json: bool) -> None:
    if json:
        show.json({"name": model.name, "folder": str(model.folder), "sha256": model.sha256})
    else:
        show.text(f"{model.name} is here: {size(model.size)} in {model.folder}")


@app.command()
def rm(name: Name, yes: Yes = False) -> None:
    """Delete a model from the store."""
    folder = work.removable(name)
    show.confirm(f"delete {folder}?", yes)
    work.remove(name)
    show.note(f"{name} was removed")


@app.command()
def default(
    backend: Annotated[str, typer.Argument(help="A backend, such as dalle.")],
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="The model to use by default.", autocompletion=complete.model_names),
    ] = None,
) -> None:
    """Show or set the default model of a backend."""
    show.line(work.choose_default(backend, name).name)


@app.command()
def verify(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...", help="All installed models if omitted.", autocompletion=complete.model_names
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Read every byte of every model and compare the hashes; exit code 1 if one is damaged."""
    checks = work.verify(names or (), lambda name: show.note(f"reading {name}"))
    if json:
        show.json(msgspec.to_builtins(checks))
    else:
        show.table([(check.name, "; ".join(check.problems) or "whole") for check in checks], ("model", "state"))
    if any(check.problems for check in checks):
        raise typer.Exit(1)
