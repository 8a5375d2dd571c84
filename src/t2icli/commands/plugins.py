"""`t2i plugins`, `t2i install` and `t2i uninstall`: what is here, and how more comes and goes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
import typer.core

from t2icli.commands import complete, show
from t2icli.commands.options import Json, Yes, named_path
from t2icli.pipelines import plugins as work
from t2icli.registry.discovery import plugins_of


class PluginsGroup(typer.core.TyperGroup):
    """`t2i plugins ranker clip` is short for `t2i plugins list ranker clip`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or not {args[0]} & {*self.commands, "-h", "--help"}:
            args = ["list", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=PluginsGroup, help="List what is installed: generators, rankers, codecs and every other kind of plugin."
)


@app.command("list")
def list_(
    kind: Annotated[
        str | None,
        typer.Argument(
            metavar="[KIND]", help="generator, ranker, command, ... or a name.", autocompletion=complete.kinds
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="Show this one with its settings.", autocompletion=complete.of_that_kind),
    ] = None,
    json: Json = False,
) -> None:
    """List what is installed and from which distribution; with KIND and NAME, its settings. `list` may be left out."""
    if kind is not None and name is not None:
        chosen = [work.details(kind, name)]
    elif kind is None or len(rows := work.meant(kind)) != 1:
        _show_rows(work.rows() if kind is None else rows, json)
        return
    else:
        chosen = [work.details(rows[0].kind, rows[0].name)]
    _show_details(chosen[0], json)


def _show_rows(rows: list[work.PluginRow], json: bool) -> None:
    broken = work.broken()
    if json:
        show.json({"plugins": msgspec.to_builtins(rows), "broken": msgspec.to_builtins(broken)})
        return
    show.table([(r.kind, r.name, r.about, r.distribution) for r in rows], ("kind", "name", "about", "from"))
    if broken:
        show.table([(b.plugin, b.distribution, b.reason) for b in broken], ("skipped", "from", "why"))


def _show_details(details: work.Details, json: bool) -> None:
    row = details.row
    if json:
        show.json(msgspec.to_builtins(details))
        return
    show.text(f"{row.kind} {row.name}: {row.about}")
    show.text(f"from {row.distribution}, plugin {row.plugin!r}")
    if details.can_import:
        show.text(f"takes files of other projects: t2i models import FILE... --as {row.name}")
    if details.can_adopt:
        show.text(f"takes repositories of model hubs: t2i models import FOLDER --as {row.name}")
    if row.kind == work.COMMAND:
        show.text(f"its flags: t2i {row.name} --help")
    elif details.settings:
        cells = [(s.name, s.type, s.default, s.about) for s in details.settings]
        show.table(cells, ("setting", "type", "default", "meaning"))
    else:
        show.text("it has no settings")


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Name that users will type, such as my-noise.")],
    kind: Annotated[
        str, typer.Option("--kind", help="Kind of plugin, such as ranker.", autocompletion=complete.kinds)
    ] = "generator",
    output: Annotated[Path, typer.Option("--output", parser=named_path, help="Parent of the new folder.")] = Path(),
) -> None:
    """Create a working plugin project, t2icli-NAME, with passing tests."""
    from t2icli.pipelines import scaffold

    folder = scaffold.new(name, kind, output)
    show.line(str(folder))
    show.note(f"try it:  cd {folder} && t2i install . && t2i plugins {kind} {name}\nits tests:  python -m pytest")


def install(
    what: Annotated[list[str], typer.Argument(metavar="NAME|PATH|URL...", help="After `--`: flags for pip.")],
    upgrade: Annotated[bool, typer.Option("--upgrade", help="Upgrade to newer versions.")] = False,
    yes: Yes = False,
) -> None:
    """Install plugins into the environment `t2i` runs in, after showing what would be installed."""
    from t2icli.pipelines import install as work_of_pip

    wanted = work_of_pip.expand(what)
    words = [*(["--upgrade"] if upgrade else []), *map(_as_path, wanted)]
    changes = work_of_pip.plan(words)
    if not changes:
        show.note("everything is already installed; use --upgrade for newer versions")
        return
    show.table([(c.name, c.version, c.before or "new") for c in changes], ("to install", "version", "now"))
    show.confirm(f"install {len(changes)}?", yes)
    work_of_pip.install(words)
    _show_arrivals({plugin for change in changes for plugin in plugins_of(change.name)}, expected=wanted == what)


def _as_path(word: str) -> str:
    """A folder here goes before a name on the index, and pip takes a bare word for a name."""
    return str(Path(word).absolute()) if Path(word).is_dir() else word


def _show_arrivals(arrived: set[str], *, expected: bool) -> None:
    """The new plugins; an extra of t2icli may well bring none."""
    if not arrived and not expected:
        show.note("installed")
        return
    if not arrived:
        show.warn("not a t2i plugin: no distribution has an entry point in the group 't2icli'")
        return
    show.table(
        [(r.kind, r.name, r.about) for r in work.rows() if r.plugin in arrived], ("now there is", "name", "about")
    )
    if any(broken.plugin in arrived for broken in work.broken()):
        raise typer.Exit(1)


def uninstall(
    name: Annotated[str, typer.Argument(help="A distribution, or one of its plugins.")],
    force: Annotated[bool, typer.Option("--force", help="Even if it is not a t2i plugin.")] = False,
    yes: Yes = False,
) -> None:
    """Remove a plugin's distribution; its dependencies stay. Works even if the plugin is broken."""
    from t2icli.pipelines import install as work_of_pip

    distribution = work_of_pip.owner(name)
    show.confirm(f"uninstall {distribution}?", yes)
    work_of_pip.uninstall(distribution, force=force)
    show.note(f"{distribution} was removed")
