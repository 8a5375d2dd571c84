"""Servers that mean harm. The one that is asked stands at 127.0.0.77, which the guard is told to take for public; the
one that may not be reached, where redirects lead, at 127.0.0.1."""

from __future__ import annotations

import contextlib
import gzip
import io
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from random import Random

from addresses import Listener
from cases import Case, Ended
from PIL import Image

OUTSIDE = "127.0.0.77"
PROGRAM = f"""
from t2icli.prepare import guard
honest = guard.is_public
guard.is_public = lambda address: address == {OUTSIDE!r} or honest(address)
from t2icli.__main__ import main
main()
"""
OK = b"HTTP/1.1 200 OK\r\n"
Talk = Callable[[socket.socket], None]


def picture() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(stream, "PNG")
    return stream.getvalue()


@cache
def gzip_bomb() -> bytes:
    return gzip.compress(b"\0" * 300_000_000, 9)


def drip(peer: socket.socket, head: bytes = OK + b"Content-Length: 500\r\n\r\n") -> None:
    peer.sendall(head)
    while True:
        peer.sendall(b"x")
        time.sleep(0.3)


def endless(peer: socket.socket, head: bytes, block: bytes) -> None:
    peer.sendall(head)
    while True:
        peer.sendall(block)


def sends(peer: socket.socket, answer: bytes) -> None:
    peer.sendall(answer)


def redirect(peer: socket.socket, where: str, code: int = 302) -> None:
    peer.sendall(f"HTTP/1.1 {code} X\r\nLocation: {where}\r\nContent-Length: 0\r\n\r\n".encode())


def talks(inside: int, here: int) -> dict[str, Talk]:
    """`inside` is the port that may not be reached, `here` that of the server itself."""
    chunked = OK + b"Transfer-Encoding: chunked\r\n\r\n"
    bomb, png = gzip_bomb(), picture()
    places = {
        "127.0.0.1": f"http://127.0.0.1:{inside}/",
        "a decimal number": f"http://2130706433:{inside}/",
        "[::1]": f"http://[::1]:{inside}/",
        "another spelling": f"http://[::ffff:127.0.0.1]:{inside}/",
        "the same scheme": f"//127.0.0.1:{inside}/",
        "a user's name": f"http://{OUTSIDE}:{here}@127.0.0.1:{inside}/",
        "a file": "file:///etc/passwd",
        "nowhere": "http://",
        "itself": f"http://{OUTSIDE}:{here}/again",
    }
    return {
        "drips its body": drip,
        "drips its head": partial(drip, head=OK + b"X: "),
        "says nothing": lambda peer: time.sleep(60),
        "endless body": partial(endless, head=OK + b"\r\n", block=b"x" * 65536),
        "endless chunks": partial(endless, head=chunked, block=b"10000\r\n" + b"x" * 65536 + b"\r\n"),
        "endless header": partial(endless, head=OK + b"X: ", block=b"x" * 65536),
        "header flood": partial(endless, head=OK, block=b"X-Y: z\r\n" * 999),
        "endless trailers": partial(endless, head=chunked + b"0\r\n", block=b"X-Y: z\r\n" * 999),
        "endless 100 Continue": partial(endless, head=b"", block=b"HTTP/1.1 100 Continue\r\n\r\n" * 99),
        "endless chunk size": partial(endless, head=chunked, block=b"0" * 65536),
        "chunks of a negative size": partial(sends, answer=chunked + b"-5\r\nxxxxx\r\n0\r\n\r\n"),
        "too little": partial(sends, answer=OK + b"Content-Length: 99\r\n\r\nxx"),
        "too much": partial(
            sends, answer=OK + b"Content-Length: %d\r\n\r\n" % len(png) + png + b"HTTP/1.1 200 OK" * 99
        ),
        "two lengths": partial(sends, answer=OK + b"Content-Length: 5\r\nContent-Length: 9\r\n\r\nxxxxxxxxx"),
        "a length of 10^30": partial(sends, answer=OK + b"Content-Length: 1" + b"0" * 30 + b"\r\n\r\nx"),
        "a gzip bomb": partial(
            sends, answer=OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb) + bomb
        ),
        "no HTTP": partial(sends, answer=b"SSH-2.0-x\r\n" * 9),
        "zeros": partial(sends, answer=b"\0" * 100_000),
        "a status of 999999": partial(sends, answer=b"HTTP/1.1 999999 X\r\n\r\n"),
        "escapes in its reason": partial(sends, answer=b"HTTP/1.1 404 \x1b[31mred\x07\r\nContent-Length: 0\r\n\r\n"),
        "wait a year": partial(sends, answer=b"HTTP/1.1 429 X\r\nRetry-After: 31536000\r\nContent-Length: 0\r\n\r\n"),
        "wait for inf": partial(sends, answer=b"HTTP/1.1 503 X\r\nRetry-After: 9" + b"9" * 400 + b"\r\n\r\n"),
        **{f"redirect to {name}": partial(redirect, where=where) for name, where in places.items()},
        "redirect 308 to inside": partial(redirect, where=places["127.0.0.1"], code=308),
    }


def servers(random: Random, shared: Path) -> Iterator[Case]:
    inside = Listener()
    names = list(talks(0, 0))
    for name in names:
        server = socket.create_server((OUTSIDE, 0))
        port = server.getsockname()[1]
        threading.Thread(target=_serve, args=(server, talks(inside.port, port)[name]), daemon=True).start()
        words = ["prepare", "csv", "a.csv", "--output", "out", "--val", "0", "-o", "fetch.timeout=3"]
        words += ["-o", "fetch.tries=2", "-o", "fetch.max_bytes=1000000", "-o", "fetch.max_wait=1"]

        def write(folder: Path, port: int = port) -> None:
            (folder / "a.csv").write_text(f"url,caption\nhttp://{OUTSIDE}:{port}/a.png,x\n")

        def check(ended: Ended) -> str:
            return "a private address was reached" if inside.reached else ""

        program = (sys.executable, "-c", PROGRAM)
        yield Case(name, words, write, (0, 1, 3), check, program=program, seconds=25, megabytes=300)
        server.close()
    inside.socket.close()


def _serve(server: socket.socket, talk: Talk) -> None:
    while True:
        try:
            peer, _ = server.accept()
        except OSError:
            return
        threading.Thread(target=_answer, args=(peer, talk), daemon=True).start()


def _answer(peer: socket.socket, talk: Talk) -> None:
    with peer, contextlib.suppress(OSError):
        peer.recv(65536)
        talk(peer)
