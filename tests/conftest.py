"""Fixtures that several rooms' tests share."""

from __future__ import annotations

import hashlib
import http.server
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

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


class FolderServer(http.server.ThreadingHTTPServer):
    """Serves the files of a folder, or of those below it, in whole or from a byte on; it can be told to misbehave."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), FolderHandler)
        self.folder = folder
        self.asked: list[tuple[str, str | None]] = []
        """Names and ranges."""
        self.cuts: Counter[str] = Counter()
        """How often a file still breaks off in its middle."""
        self.failures: Counter[str] = Counter()
        """How often a file still ends in an error of the server."""
        self.spoilt: set[str] = set()
        """Files of which other bytes come."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def downloads(self, ending: str = "") -> Counter[str]:
        """How often each file was asked for from its beginning."""
        return Counter(name for name, wanted in self.asked if wanted is None and name.endswith(ending))


class FolderHandler(http.server.BaseHTTPRequestHandler):
    server: FolderServer

    def do_GET(self) -> None:
        path, wanted = self.server.folder / self.path.lstrip("/"), self.headers.get("Range")
        self.server.asked.append((path.name, wanted))
        if not path.is_file():
            self.send_error(404)
            return
        if self.server.failures[path.name] > 0:
            self.server.failures[path.name] -= 1
            self.send_error(500)
            return
        content = path.read_bytes()
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        body = content[start:]
        if path.name in self.server.spoilt:
            body = bytes(byte ^ 1 for byte in body)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.server.cuts[path.name] > 0:
            self.server.cuts[path.name] -= 1
            body = body[: len(body) // 2]
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def folder_server(tmp_path: Path) -> Iterator[FolderServer]:
    """A web server on this machine with the files of the test's folder `served`."""
    with FolderServer(tmp_path / "served") as running:
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield running
        running.shutdown()


SECRETS = {"AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": "not-to-be-shown"}


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of an S3 server on this machine."""
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(s3_server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Path, str], str]:
    """`s3(folder, bucket)` copies a folder into a new bucket; its address. Credentials are in the environment."""
    import botocore.session
    from s3fs import S3FileSystem

    home = {"HOME": str(tmp_path), "AWS_CONFIG_FILE": "/dev/null", "AWS_EC2_METADATA_DISABLED": "true"}
    for name, value in {**SECRETS, **home, "AWS_ENDPOINT_URL": s3_server, "AWS_DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(name, value)
    S3FileSystem.clear_instance_cache()
    client: Any = botocore.session.get_session().create_client("s3")

    def copy(folder: Path, bucket: str) -> str:
        client.create_bucket(Bucket=bucket)
        for path in sorted(folder.iterdir()):
            if path.is_file():
                client.put_object(Bucket=bucket, Key=f"data/{path.name}", Body=path.read_bytes())
        return f"s3://{bucket}/data"

    return copy


@pytest.fixture
def in_shards() -> Callable[[Path, int, int], Path]:
    """`in_shards(folder, shards, rows)`: a prepared dataset of noise, with so many shards of so many rows."""
    from t2icli.data.dataset import DatasetCard, write_card
    from t2icli.data.shards import ShardWriter
    from t2icli.testing import toys

    def make(folder: Path, shards: int, rows: int) -> Path:
        folder.mkdir(parents=True)
        entries = []
        for number in range(shards):
            with ShardWriter(folder, f"{number:06d}") as shard:
                for row in range(rows):
                    colour = (number, row, 7)
                    shard.add(
                        f"{number}-{row}", toys.picture(colour), [f"dish {row}"], {"noise": os.urandom(2000).hex()}
                    )
            entries.append(shard.entry)
        write_card(folder, DatasetCard(shards=tuple(entries), val=0.0))
        return folder

    return make
