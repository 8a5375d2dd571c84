"""A web server with every bad habit there is, on 127.0.0.1."""

from __future__ import annotations

import asyncio
import io
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from urllib.parse import unquote

import pytest
from PIL import Image

Writer = asyncio.StreamWriter


def picture(colour: int = 0, size: tuple[int, int] = (40, 30), form: str = "JPEG", mode: str = "RGB") -> bytes:
    stream = io.BytesIO()
    image = (
        Image.effect_noise(size, 40).convert("RGB")
        if colour < 0
        else Image.new("RGB", size, (colour * 9 % 256, colour % 256, 30))
    )
    image.convert(mode).save(stream, form)
    return stream.getvalue()


class BadServer:
    """`url("/404")` and so on; `hits` counts the requests for each path."""

    def __init__(self) -> None:
        self.hits: Counter[str] = Counter()
        self.bodies: dict[str, bytes] = {}
        self.delay = 0.0
        self.at_once = self.most_at_once = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        assert self._ready.wait(5)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._answer, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0.01))
        self._loop.close()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    async def _answer(self, reader: asyncio.StreamReader, writer: Writer) -> None:
        try:
            while line := await reader.readline():
                while (await reader.readline()).strip():
                    pass
                path = unquote(line.split()[1].decode())
                self.hits[path] += 1
                self.at_once += path.startswith("/good")
                self.most_at_once = max(self.most_at_once, self.at_once)
                try:
                    await asyncio.sleep(self.delay)
                    await self._one(path, writer)
                    await writer.drain()
                finally:
                    self.at_once -= path.startswith("/good")
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _one(self, path: str, writer: Writer) -> None:
        kind = path.split("/")[1]
        if path in self.bodies:
            _send(writer, 200, self.bodies[path])
        elif kind.isdecimal():
            _send(writer, int(kind), b"no")
        elif kind == "good":
            _send(writer, 200, picture(int(path.split("/")[2])))
        elif kind == "flaky":
            _send(writer, 200 if self.hits[path] > 2 else 503, picture(7))
        elif kind == "busy":
            first = self.hits[path] == 1
            _send(writer, 429 if first else 200, picture(8), "Retry-After: 0.05" if first else "")
        elif kind == "busy-for-ever":
            _send(writer, 429, b"", "Retry-After: 86400")
        elif kind == "noai":
            _send(writer, 200, picture(9), "X-Robots-Tag: somebot: noai")
        elif kind == "to":
            where = path.removeprefix("/to/")
            _send(writer, 302, b"", f"Location: {where if '://' in where else '/' + where}")
        elif kind == "loop":
            _send(writer, 302, b"", f"Location: {path}")
        elif kind == "hang":
            await asyncio.sleep(30)
        elif kind == "drip":
            await self._drip(writer)
        elif kind == "endless":
            await self._endless(writer)
        elif kind == "lying-length":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n")
            await asyncio.sleep(30)
        elif kind == "cut":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\nabc")
            await writer.drain()
            writer.close()
        elif kind == "reset":
            raw: socket.socket = writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            writer.transport.abort()
        elif kind == "nonsense":
            writer.write(b"\x00\x01\x02 hello\r\n\r\n")
            await writer.drain()
            writer.close()
        else:
            _send(writer, 404, b"")

    async def _drip(self, writer: Writer) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n")
        for _ in range(5000):
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)

    async def _endless(self, writer: Writer) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(20_000):
            writer.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
            await writer.drain()


def _send(writer: Writer, status: int, body: bytes, *headers: str) -> None:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *filter(None, headers), "", ""]
    writer.write("\r\n".join(lines).encode() + body)


@pytest.fixture(scope="module")
def module_server() -> Iterator[BadServer]:
    server = BadServer()
    yield server
    server.stop()


@pytest.fixture
def server(module_server: BadServer) -> BadServer:
    module_server.hits.clear()
    module_server.bodies.clear()
    module_server.delay = module_server.most_at_once = 0
    return module_server


@pytest.fixture
def make_picture() -> Callable[..., bytes]:
    return picture
