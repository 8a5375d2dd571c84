"""`t2i models`: the models that are here, and how they come and go."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from t2icli.commands import complete, show
from t2icli.commands.options import Json, Yes
from t2icli.ground.errors import T2IError
from t2icli.pipelines import models as work
from t2icli.store.models import Model

if TYPE_CHECKING:
    from t2icli.pipelines.pull import PullPlan

app = typer.Typer(no_args_is_help=True, help="List, download, import and remove models.")

Name = Annotated[
    str,
    typer.Argument(metavar="NAME", help="A model: `backend/what`, or its folder.", autocompletion=complete.model_names),
]


@app.command("list")
def list_(json: Json = False) -> None:
    """Every model that is installed or can be pulled; `*` marks the default model of a backend.

    Chinese: whether it reads prompts in Chinese, or writes captions in it. What is not stated is not known; size and
    licence are shown before a download.
    """
    rows = work.rows()
    if json:
        show.json(msgspec.to_builtins(rows))
    elif rows:
        columns = ("model", "kind", "size", "", "Chinese", "licence", "about")
        show.table([_cells(row) for row in rows], columns, named=True)
    else:
        show.note("no model is installed and no plugin lists one; train one, or see: t2i models import --help")


def _cells(row: work.ModelRow) -> tuple[str | None, ...]:
    chinese = {True: "yes", False: "no", None: ""}[row.chinese]
    licence = f"{row.licence} (not commercial)" if row.is_noncommercial else row.licence
    return _marked(row), row.kind, size(row.size), _where(row), chinese, licence, row.about


def _marked(row: work.ModelRow) -> str:
    return f"{row.name} *" if row.is_default else row.name


def _where(row: work.ModelRow) -> str:
    if row.is_here:
        return "stand-in" if row.stands_in else ""
    if row.plugin:
        return f"needs {row.plugin}"
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
    word: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="A model of `t2i models list` marked `to pull`, or a repository: hf:OWNER/NAME, "
            "hf:OWNER/NAME@REVISION, ms:OWNER/NAME (ModelScope).",
            autocompletion=complete.known_models,
        ),
    ],
    backend: Annotated[
        str | None,
        typer.Option(
            "--as", metavar="BACKEND", help="Backend that will use the repository.", autocompletion=complete.converters
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the model; the repository's if omitted.")] = None,
    variant: Annotated[
        str | None, typer.Option(metavar="fp16|bf16|...", help="Number format, where a repository has several.")
    ] = None,
    file: Annotated[
        list[str] | None,
        typer.Option("--file", metavar="PATTERN", help="Only these files of the repository; may be repeated."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be downloaded, and stop.")] = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Download a model that is listed, or a repository of a model hub."""
    from t2icli.pipelines import pull

    plan = pull.plan(word, backend=backend, name=name, variant=variant, patterns=file or ())
    if isinstance(plan, Model):
        _arrived(plan, json)
        return
    if dry_run:
        _show_plan(plan, json)
        return
    show.notes(_summary(plan))
    if question := pull.question(plan):
        show.confirm(question, yes)
    with show.watching() as watch:
        model = pull.run(plan, watch)
    _arrived(model, json)


def _show_plan(plan: PullPlan, json: bool) -> None:
    if json:
        show.json(plan.facts())
        return
    show.table([(file.name or file.urls[0], size(file.size)) for file in plan.files], ("file", "size"))
    for message in _summary(plan):
        show.text(message)


def _files(n: int) -> str:
    return f"{n} files" if n > 1 else "1 file"


def _summary(plan: PullPlan) -> list[str]:
    """What a user should know before a download."""
    messages = [f"{plan.name} from {plan.origin}: {_files(len(plan.files))}, {size(plan.size) or 'size unknown'}"]
    folders = plan.folders()
    messages += [f"  {folder or '.'}: {size(total)}" for folder, total in folders.items() if len(folders) > 1]
    if plan.size is not None and plan.missing != plan.size:
        messages.append(f"{size(plan.missing)} of that are still to be downloaded")
    if plan.is_noncommercial:
        messages.append(f"its licence forbids commercial use: {plan.licence}")
    else:
        messages.append(f"licence: {plan.licence or 'none is stated'}")
    return messages


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
    if users := work.users(name):
        show.note(f"it is needed by: {', '.join(users)}")
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
def check(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...", help="All installed models if omitted.", autocompletion=complete.model_names
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Read every byte of every model and compare the hashes; exit code 1 if one is damaged."""
    checks = work.check(names or (), anew=True, tell=lambda name: show.note(f"reading {name}"))
    if json:
        show.json(msgspec.to_builtins(checks))
    else:
        show.table([(check.name, "; ".join(check.problems) or "whole") for check in checks], ("model", "state"))
    if any(check.problems for check in checks):
        raise typer.Exit(1)
