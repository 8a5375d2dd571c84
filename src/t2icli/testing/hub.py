"""A model hub on this machine for tests: it lists repositories, sends files, and misbehaves on request.

It answers as the hub does (`/api/models/ID/revision/REV`, `/api/models/ID/tree/COMMIT`, `/ID/resolve/COMMIT/PATH`) and
as ModelScope does (`/api/v1/models/ID/...`, `/models/ID/resolve/REV/PATH`). Large files are kept by sha256 and sent by
a second server, to which the first one redirects; for small ones it redirects to itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import threading
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest

from t2icli.testing.runner import Runner

Fault = Literal["cut", "cut-once", "wrong", "missing", "broken", "broken-once", "no-range"]
"""How a file is sent: broken off half way, always or once; other bytes; 404; 500, always or once; from the start
whatever is asked."""
LARGE = (".safetensors", ".bin", ".pt", ".model", ".gguf")
"""Files that are kept by sha256, whatever their size."""
PAGE = 50


class HubRequest(NamedTuple):
    """One request."""

    path: str
    range: str | None
    token: str | None


@dataclass
class Repository:
    """A repository with its commits."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)
    is_gated: bool = False


class FakeHub:
    """Both hubs at one address, and the server of large files at another."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.faults: dict[str, Fault] = {}
        """By a file's path in its repository."""
        self.tokens: set[str] = set()
        """Those that may read gated repositories."""
        self.asked: list[HubRequest] = []
        self.asked_of_store: list[HubRequest] = []
        """Of the second server."""
        self.busy: list[int] = []
        """Seconds to wait that the next answers ask for, with the status 429."""
        self.page = PAGE
        self._servers = [_Server(self, _Hub), _Server(self, _Store)]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._servers[0].server_port}"

    @property
    def store_url(self) -> str:
        return f"http://127.0.0.1:{self._servers[1].server_port}"

    def add(
        self, name: str, files: Mapping[str, bytes], *, branch: str = "main", licence: str = "apache-2.0", **about: Any
    ) -> str:
        """A new commit with these files, to which the branch moves; gives the commit."""
        repository = self.repositories.setdefault(name, Repository())
        digest = hashlib.sha1(repr((len(repository.commits), sorted(files.items()))).encode(), usedforsecurity=False)
        commit = digest.hexdigest()
        repository.commits[commit] = dict(files)
        repository.branches[branch] = commit
        repository.about = {"cardData": {"license": licence}, **about}
        return commit

    def files_asked(self) -> list[str]:
        """The paths of the files that were asked for, in order, without those of the second server."""
        marks = [request.path.partition("/resolve/") for request in self.asked]
        return [urllib.parse.unquote(rest).partition("/")[2] for _, mark, rest in marks if mark]

    def commit(self, name: str, revision: str) -> str | None:
        repository = self.repositories[name]
        known = {**dict.fromkeys(repository.commits), **repository.branches, "master": repository.branches.get("main")}
        return known[revision] or revision if revision in known else None

    @contextlib.contextmanager
    def running(self) -> Iterator[FakeHub]:
        for server in self._servers:
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            yield self
        finally:
            for server in self._servers:
                server.shutdown()
                server.server_close()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, hub: FakeHub, handler: type[_Handler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.hub = hub

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone is no error of the test."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server

    @property
    def hub(self) -> FakeHub:
        return self.server.hub

    def noted(self) -> HubRequest:
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
        return HubRequest(self.path, self.headers.get("Range"), token)

    def answer(self, status: int, content: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def answer_json(self, document: Any, **headers: str) -> None:
        self.answer(200, json.dumps(document).encode(), Content_Type="application/json", **headers)

    def send(self, path: str, content: bytes) -> None:
        """A file, from where it is asked for, as well as it is to be sent."""
        fault, wanted = self.hub.faults.get(path), self.headers.get("Range")
        if fault in ("missing", "broken", "broken-once"):
            if fault == "broken-once":
                del self.hub.faults[path]
            return self.answer(404 if fault == "missing" else 500)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and fault != "no-range" else 0
        if start and start >= len(content):
            return self.answer(416)
        body = content[start:] if fault != "wrong" else bytes(byte ^ 1 for byte in content[start:])
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if fault == "cut-once":
            del self.hub.faults[path]
        self.wfile.write(body[: len(body) // 2] if fault in ("cut", "cut-once") else body)
        return None

    def log_message(self, *_: object) -> None: ...


class _Hub(_Handler):
    """The lists, and the small files."""

    def do_GET(self) -> None:
        hub, place = self.hub, urllib.parse.urlsplit(self.path)
        hub.asked.append(self.noted())
        if hub.busy:
            return self.answer(429, Retry_After=str(hub.busy.pop(0)))
        path = place.path
        query = dict(urllib.parse.parse_qsl(place.query))
        for name, repository in hub.repositories.items():
            if path.startswith(f"/api/v1/models/{name}"):
                return self.modelscope(repository, name, path, query)
            if path.startswith(f"/api/resolve-cache/models/{name}/"):
                return self.of_hub(repository, name, f"cached/{path.partition(f'{name}/')[2]}", query)
            if path.startswith((f"/api/models/{name}/", f"/{name}/resolve/", f"/models/{name}/resolve/")):
                return self.of_hub(repository, name, path.partition(f"{name}/")[2], query)
        return self.answer(404 if "/v1/" in path else 401, X_Error_Code="RepoNotFound")

    def of_hub(self, repository: Repository, name: str, rest: str, query: Mapping[str, str]) -> None:
        what, revision, path = [*map(urllib.parse.unquote, rest.split("/", 2)), ""][:3]
        if (commit := self.hub.commit(name, revision)) is None:
            return self.answer(404, X_Error_Code="RevisionNotFound")
        files = repository.commits[commit]
        if what == "revision":
            return self.answer_json({"sha": commit, "gated": repository.is_gated, **repository.about})
        if what == "tree":
            return self.tree(files, int(query.get("cursor", 0)))
        if repository.is_gated and self.noted().token not in self.hub.tokens:
            return self.answer(403 if self.noted().token else 401, X_Error_Code="GatedRepo")
        if path not in files:
            return self.answer(404, X_Error_Code="EntryNotFound")
        if path.endswith(LARGE):
            return self.answer(302, Location=f"{self.hub.store_url}/{name}/{commit}/{urllib.parse.quote(path)}")
        if what == "resolve":  # as the hub does with small files
            return self.answer(307, Location=f"/api/resolve-cache/models/{name}/{commit}/{urllib.parse.quote(path)}")
        return self.send(path, files[path])

    def tree(self, files: Mapping[str, bytes], start: int) -> None:
        folders = {path.rpartition("/")[0] for path in files} - {""}
        entries: list[dict[str, Any]] = [
            {"type": "directory", "path": each, "oid": "0" * 40, "size": 0} for each in folders
        ]
        for path, content in sorted(files.items()):
            git = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
            entry: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": git}
            if path.endswith(LARGE):
                entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
            entries.append(entry)
        end = start + self.hub.page
        more = f'<{self.hub.url}/elsewhere?recursive=true&cursor={end}>; rel="next"' if end < len(entries) else ""
        self.answer_json(entries[start:end], **({"Link": more} if more else {}))

    def modelscope(self, repository: Repository, name: str, path: str, query: Mapping[str, str]) -> None:
        if path == f"/api/v1/models/{name}":
            licence = repository.about.get("cardData", {}).get("license", "")
            return self.answer_json({"Code": 200, "Data": {"License": licence}})
        if (commit := self.hub.commit(name, query.get("Revision", "master"))) is None:
            return self.answer_json({"Code": 200, "Success": True, "Data": {"Files": None, "LatestCommitter": None}})
        hashes = {each: hashlib.sha256(content).hexdigest() for each, content in repository.commits[commit].items()}
        files = [
            {"Path": each, "Type": "blob", "Size": len(content), "Sha256": hashes[each], "Revision": commit}
            for each, content in sorted(repository.commits[commit].items())
        ]
        folders = {each.rpartition("/")[0] for each in repository.commits[commit]} - {""}
        listed = [{"Path": each, "Type": "tree", "Size": 0, "Sha256": ""} for each in sorted(folders)]
        latest = {"Id": "", "ShortId": commit[:8]}
        data = {"Files": [*listed, *files], "LatestCommitter": latest}
        return self.answer_json({"Code": 200, "Success": True, "Data": data})


class _Store(_Handler):
    """The large files."""

    def do_GET(self) -> None:
        self.hub.asked_of_store.append(self.noted())
        owner, name, commit, path = urllib.parse.unquote(self.path).lstrip("/").split("/", 3)
        self.send(path, self.hub.repositories[f"{owner}/{name}"].commits[commit][path])


@pytest.fixture
def fake_hub(t2i: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub on this machine, which `t2i models pull` asks in place of the public ones; it starts empty."""
    from t2icli.store import hub as client

    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    with FakeHub().running() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "huggingface"))
        t2i.home.mkdir(exist_ok=True)
        (t2i.home / client.SETTINGS).write_text('mirrors = []\nmodelscope = ""\n', encoding="utf-8")
        yield hub
