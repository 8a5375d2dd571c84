"""Put the server together and run it."""

from __future__ import annotations

import logging
import socket
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI

from t2i_serve import running
from t2i_serve.app import application
from t2i_serve.limits import ServerLimits
from t2i_serve.metrics import Metrics
from t2i_serve.offers import Offers
from t2i_serve.pool import Pool
from t2i_serve.shelf import Shelf
from t2i_serve.studio import Studio
from t2icli.ground.errors import T2IError
from t2icli.pipelines import models

Say = Callable[[str], None]


@dataclass(frozen=True)
class Prepared:
    """A server that does not listen yet."""

    app: FastAPI
    studio: Studio


def prepared(
    generators: Sequence[str],
    output: Path,
    limits: ServerLimits,
    *,
    token: str | None = None,
    hosts: Iterable[str] = (),
    memory: int | None = None,
    device: str | None = None,
) -> Prepared:
    metrics = Metrics()
    offers = Offers(generators)
    if not offers.all("generator"):
        from t2icli.registry import defaults

        defaults.name("generator")  # which says what to install
    pool = Pool(offers, memory=memory, device=device, waves=metrics.wave.observe)
    shelf = Shelf(output)
    shelf.prepare()
    studio = Studio(pool, shelf, limits, metrics)
    return Prepared(application(studio, token=token, hosts=hosts), studio)


def run(prepared: Prepared, host: str, port: int, say: Say) -> None:
    """Serve until a signal comes, which is raised again at the end."""
    running.raise_file_limit()
    listening = _listen(host, port)
    _log_to(say)
    if any(rule[0] == "default" for rule in warnings.filters[:1]):  # as a prompt may be in any, none is remembered
        warnings.simplefilter("always", UserWarning)
    studio = prepared.studio
    for line in models.stand_ins([studio.pool.offers.all("generator")[0].model]):
        say(line)
    address = f"[{host}]" if ":" in host else host
    say(f"serving on http://{address}:{listening.getsockname()[1]}/ (Ctrl-C ends it); albums in {studio.shelf.folder}")
    server = running.server(prepared.app, studio)
    server.run(sockets=[listening])
    if server.signal is not None:  # one that was ignored before, as in a shell's background, is not raised again
        sys.exit(128 + server.signal)


def _listen(host: str, port: int) -> socket.socket:
    """The socket, taken before anything else is done, so that a port in use is a plain error."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise T2IError(
            f"cannot listen on {host}:{port}: {error.strerror or error}", "choose another --host or --port", code=1
        ) from error


def _log_to(say: Say) -> None:
    """What the server and uvicorn have to say goes where the program's notes go, a line each."""

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            say(self.format(record))

    for name, level in {"t2i.serve": logging.INFO, "uvicorn.error": logging.WARNING}.items():
        log = logging.getLogger(name)
        log.handlers, log.propagate = [Lines()], False
        log.setLevel(level)
