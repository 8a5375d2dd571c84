"""uvicorn, with what it lacks: an end to clients that send nothing, and an orderly one to work at Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from t2i_serve.limits import ServerLimits
from t2i_serve.studio import Studio

GRACE = 5
"""Seconds for answers to be finished once the server stops."""
KEPT = 75
"""Seconds that a connection stays open between requests; a client that sends one as it is closed loses it."""
FILES = 65_536
"""Connections and files that may be open at a time, as far as the system allows."""


class Server(uvicorn.Server):
    """Tells the studio to stop as soon as a signal comes."""

    def __init__(self, config: uvicorn.Config, studio: Studio) -> None:
        super().__init__(config)
        self.studio = studio
        self.loop: asyncio.AbstractEventLoop | None = None
        self.signal: int | None = None
        """What ended it."""

    async def startup(self, sockets: Any = None) -> None:
        self.loop = asyncio.get_running_loop()
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        self.signal = sig
        self.stop()

    def stop(self) -> None:
        """End it, from any thread."""
        self.should_exit = True
        if self.loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed already
                self.loop.call_soon_threadsafe(self.studio.stopping.set)


def server(app: FastAPI, studio: Studio) -> Server:
    config = uvicorn.Config(
        app,
        http=_protocol(studio.limits),
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE,
        timeout_keep_alive=KEPT,
        h11_max_incomplete_event_size=64 << 10,
        ws="none",
    )
    return Server(config, studio)


def _protocol(limits: ServerLimits) -> type[H11Protocol]:
    class Impatient(H11Protocol):
        """Closes a connection whose first request has not come in time."""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.loop.call_later(limits.slow, self._end_if_silent)

        def _end_if_silent(self) -> None:
            if self.cycle is None and not self.transport.is_closing():
                self.transport.close()

    return Impatient


def raise_file_limit() -> None:
    """Each connection is an open file, and a common limit of them is 1,024."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
