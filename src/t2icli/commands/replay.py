"""`t2i replay`: a picture made again from the record in its file."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from t2icli.commands import show
from t2icli.commands.options import Config, Device, Json, named_path
from t2icli.ground import machine
from t2icli.ground.errors import T2IError

if TYPE_CHECKING:
    from t2icli.pipelines.replay import Replay


def replay(
    image: Annotated[Path, typer.Argument(metavar="IMAGE.png", help="A picture made by t2i generate.")],
    model: Annotated[
        str | None, typer.Option("--model", "-m", metavar="NAME", help="Name or path of the model, if it has moved.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", parser=named_path, metavar="FILE.png", help="Save the new picture here.")
    ] = None,
    config_file: Config = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Draw a picture again and compare every pixel; if they differ, list what has changed and exit with code 1."""
    from t2icli.pictures import images
    from t2icli.pipelines import replay as work

    if output is not None and output.exists():
        raise T2IError(f"'{output}' already exists", "use another --output")
    done = work.replay(image, word=model, device=device)
    if output is not None:
        images.save_png(done.image, output, done.record)
    _show(image, done, as_json=as_json)
    if not done.agrees:
        raise typer.Exit(1)


def _show(path: Path, done: Replay, *, as_json: bool) -> None:
    changes = [{"what": what, "then": then, "now": now} for what, (then, now) in done.differences.items()]
    if as_json:
        about: dict[str, Any] = {"agrees": done.agrees, "edited": done.edited, "changed_pixels": done.changed_pixels}
        about["not_recorded"] = done.not_recorded
        show.json({"image": path, **about, "differences": changes, "record": done.record})
        return
    verdict = "agrees in every pixel with" if done.agrees else "differs from"
    show.text(f"the new picture {verdict} '{path}' as it was first made")
    if done.edited:
        show.text("the file itself was changed since")
    if not done.agrees:
        show.text(f"{done.changed_pixels} pixels differ: {_cause(done)}")
    if changes:
        show.table([[c["what"], c["then"], c["now"]] for c in changes], ["what", "then", "now"])
    limits = machine.limits_again(*done.differences.get("instruction set", ("", "")))
    if limits and not done.agrees:
        show.note(f"with the environment variables of that run: {' '.join(limits)} t2i replay {shlex.quote(str(path))}")


def _cause(done: Replay) -> str:
    """Why pixels may differ, threads and precision having been set to what is recorded."""
    if done.differences:
        return f"changed since the picture was made: {', '.join(done.differences)}"
    if done.not_recorded:
        return f"the file does not say with which {', '.join(done.not_recorded)} it was made"
    return "nothing recorded has changed, so this backend is not deterministic"
