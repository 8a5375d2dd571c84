"""The command this plugin adds."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from t2icli.commands import complete, show
from t2icli.commands.options import Device, named_path
from t2icli.ground.errors import T2IError

UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
LOCAL = ("127.0.0.1", "localhost", "::1")


def serve(
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            metavar="NAME",
            help="Generator to offer, the first being the default; all that are installed if omitted. Repeatable.",
            autocompletion=complete.names("generator"),
        ),
    ] = None,
    host: Annotated[
        str,
        typer.Option(
            "--host", metavar="ADDRESS", help="Address to listen on; others than this machine's need --token."
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", metavar="N", min=0, max=65535, help="Port; 0 takes a free one.")
    ] = 8000,
    token: Annotated[
        str | None,
        typer.Option(
            "--token",
            metavar="SECRET",
            envvar="T2I_SERVE_TOKEN",
            show_envvar=False,
            help="What clients must send; better set by T2I_SERVE_TOKEN, which other users of the machine cannot see.",
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", parser=named_path, metavar="FOLDER", help="Folder for the albums.")
    ] = Path("pictures"),
    memory: Annotated[
        str | None,
        typer.Option("--memory", metavar="SIZE", help="Drop models used least recently beyond this: 8G, 500M."),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option("--allow-host", metavar="NAME", help="Name that a reverse proxy gives this server. Repeatable."),
    ] = None,
    timeout: Annotated[
        float, typer.Option("--timeout", metavar="SECONDS", min=1, help="Seconds before a request times out.")
    ] = 600,
    device: Device = None,
) -> None:
    """Serve the OpenAI images API and a web page."""
    from t2i_serve import start
    from t2i_serve.limits import ServerLimits

    if host not in LOCAL and not token:
        raise T2IError(
            f"--host {host} lets other machines in, and there is no --token",
            "set the variable T2I_SERVE_TOKEN to a long secret",
        )
    if token is not None and not token.strip():
        raise T2IError("the token is empty", "set the variable T2I_SERVE_TOKEN to a long secret")
    limits = ServerLimits(seconds=timeout)
    running = start.prepared(
        model or (), output, limits, token=token, hosts=allow_host or (), memory=size(memory), device=device
    )
    start.run(running, host, port, show.note)


def size(word: str | None) -> int | None:
    """`8G` in bytes."""
    if word is None:
        return None
    match = re.fullmatch(r"([0-9.]+)\s*([kmgt]?)i?b?", word.strip().lower())
    try:
        return int(float(match[1]) * UNITS[match[2]]) if match else _no_size(word)
    except ValueError:
        return _no_size(word)


def _no_size(word: str) -> int:
    raise T2IError(f"{word!r} is not an amount of memory", "write: --memory 8G")
