"""`t2i replay`: a picture made again from what its file says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from t2icli.commands import show
from t2icli.commands.options import Config, Device, Json
from t2icli.errors import T2IError

if TYPE_CHECKING:
    from t2icli.pipelines.replay import Replay


def replay(
    image: Annotated[Path, typer.Argument(metavar="IMAGE.png", help="A picture made by t2i generate.")],
    model: Annotated[
        str | None, typer.Option("--model", "-m", metavar="NAME", help="Its model, if that has moved since.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE.png", help="Keep the new picture here.")
    ] = None,
    config_file: Config = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Make a picture again and say whether every pixel agrees; if not, what has changed. Exit code 1 if not."""
    from t2icli import images
    from t2icli.pipelines import replay as work

    if output is not None and output.exists():
        raise T2IError(f"'{output}' is there already", "name another --output")
    done = work.replay(image, word=model, device=device)
    if output is not None:
        images.save_png(done.image, output, done.record)
    _show(image, done, as_json=as_json)
    if not done.agrees:
        raise typer.Exit(1)


def _show(path: Path, done: Replay, *, as_json: bool) -> None:
    changes = [{"what": what, "then": then, "now": now} for what, (then, now) in done.differences.items()]
    if as_json:
        about = {"agrees": done.agrees, "edited": done.edited, "changed_pixels": done.changed_pixels}
        show.json({"image": path, **about, "differences": changes, "record": done.record})
        return
    verdict = "agrees in every pixel with" if done.agrees else "differs from"
    show.line(f"the new picture {verdict} '{path}' as it was first made")
    if done.edited:
        show.line("the file itself was changed since")
    if not done.agrees:
        show.line(f"{done.changed_pixels} pixels differ")
        if not changes:
            show.line("model, settings, versions and device are as they were: the backend is not repeatable here")
    if changes:
        show.table([[c["what"], c["then"], c["now"]] for c in changes], ["what", "then", "now"])
