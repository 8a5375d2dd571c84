"""Fixtures that several rooms' tests share."""

from __future__ import annotations

import hashlib
import http.server
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for modules that several rooms' tests import


class Server(http.server.ThreadingHTTPServer):
    """Serves `content` at every path; the path's first part says how well."""

    daemon_threads = True
    content = bytes(range(256)) * 4000

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, str | None]] = []

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    def url(self, how: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{how}/model.pt"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        how, wanted, content = self.path.split("/")[1], self.headers.get("Range"), self.server.content
        self.server.asked.append((how, wanted))
        if how == "missing":
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and how != "no-range" else 0
        if start >= len(content):
            self.send_error(416)
            return
        body = content[start:] if how != "wrong" else b"x" * (len(content) - start)
        self.send_response(206 if start else 200)
        if how != "no-length":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        breaks_off = how == "cut" or (how == "cut-once" and not start)
        self.wfile.write(body[: len(body) // 2] if breaks_off else body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def server() -> Iterator[Server]:
    """A web server on this machine that can be told to misbehave."""
    with Server() as running:
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield running
        running.shutdown()
