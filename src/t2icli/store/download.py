"""Download a file so that it is either whole and right, or not there.

Bytes go into `NAME.part`, hashed on the way; an interrupted download goes on where it stopped; the whole file's
sha256 is compared before it gets its name. Mirrors are tried in turn.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import socket
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from t2icli.contract.kinds import RemoteFile
from t2icli.ground.errors import T2IError
from t2icli.store.models import file_sha256

Tell = Callable[[str, int, "int | None"], None]
"""Hears of progress: the file's name, bytes so far, bytes in all if known."""

CONNECT_SECONDS = 1.0
"""A host that has not answered by then is taken for unreachable."""
READ_SECONDS = 30.0
BLOCK = 1 << 18
ATTEMPTS = 3
"""How often one mirror may break off before the next is tried."""


class _Unusable(Exception):
    """Why one mirror did not do."""


def file_name(remote: RemoteFile) -> str:
    """What the file is called: by its plugin, else by the last part of its address."""
    if remote.name:
        return Path(remote.name).name
    path = urllib.parse.urlsplit(remote.urls[0]).path
    return Path(urllib.parse.unquote(path)).name or "download"


def fetch(remote: RemoteFile, folder: Path, tell: Tell = lambda *_: None) -> Path:
    """The file in `folder`, downloaded unless it is there already."""
    path = folder / file_name(remote)
    if path.is_file() and (remote.sha256 is None or file_sha256(path) == remote.sha256):
        return path
    if os.environ.get("T2I_OFFLINE"):
        raise T2IError(f"cannot download '{path.name}': offline, as --offline or T2I_OFFLINE asks", code=1)
    folder.mkdir(parents=True, exist_ok=True)
    answering = reachable(remote.urls)
    problems = []
    for url in remote.urls:
        try:
            if url not in answering:
                raise _Unusable("no answer")
            return _from_mirror(url, remote, path, tell)
        except _Unusable as problem:
            problems.append(f"{url}: {problem}")
    raise T2IError(f"cannot download '{path.name}'", "\n  ".join(problems), code=1)


def _from_mirror(url: str, remote: RemoteFile, path: Path, tell: Tell) -> Path:
    """One mirror until the file is whole, going on where a connection broke off."""
    part = path.with_name(f"{path.name}.part")
    resumed = part.is_file()
    for attempt in range(ATTEMPTS):
        try:
            whole = _append(url, remote, part, lambda done, total: tell(path.name, done, total))
        except urllib.error.HTTPError as error:
            raise _Unusable(f"{error.code} {error.reason}") from error
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
            problem = str(error.reason if isinstance(error, urllib.error.URLError) else error) or type(error).__name__
        else:
            problem = "the connection broke off"
            if whole is not None:
                if remote.sha256 in (None, whole):
                    os.replace(part, path)
                    return path
                _quarantine(part)
                problem = f"sha256 is {whole}, expected {remote.sha256}"
                if not resumed:  # else the old start may have been at fault: once more from the beginning
                    break
                resumed = False
        time.sleep(0.1 * attempt)
    raise _Unusable(problem)


def _append(url: str, remote: RemoteFile, part: Path, tell: Callable[[int, int | None], None]) -> str | None:
    """Add what is missing to `part`; the sha256 of the whole, or None if the connection ended too soon."""
    start = part.stat().st_size if part.is_file() else 0
    try:
        answer = _open(url, start)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not start:  # 416: nothing lies behind `start`
            raise
        return file_sha256(part)
    with answer:
        if answer.status != 206:
            start = 0
        length = answer.headers.get("Content-Length")
        total = start + int(length) if length else remote.size
        _need_space(part.parent, (total or 0) - start)
        with part.open("r+b" if start else "w+b") as out:
            digest, done = _hashed(out), start
            for block in _blocks(answer):
                out.write(block)
                digest.update(block)
                done += len(block)
                tell(done, total)
    return digest.hexdigest() if total in (None, done) else None


def _open(url: str, start: int) -> http.client.HTTPResponse:
    from importlib.metadata import version

    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise _Unusable("not an http address")
    headers = {"User-Agent": f"t2icli/{version('t2icli')}", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    opener = urllib.request.build_opener()  # `urlopen` would remember the first proxy it saw
    request = urllib.request.Request(url, headers=headers)
    answer: http.client.HTTPResponse = opener.open(request, timeout=READ_SECONDS)
    return answer


def _hashed(out: IO[bytes]) -> Any:
    """The hash of what is in `out` so far, which is then at its end."""
    digest = hashlib.sha256()
    for block in _blocks(out):
        digest.update(block)
    return digest


def _blocks(stream: Any) -> Iterator[bytes]:
    while block := stream.read(BLOCK):
        yield block


def _need_space(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if size > free:
        raise T2IError(
            f"not enough disk space in {folder}: {size / 1e9:.1f} GB needed, {free / 1e9:.1f} GB free",
            "set T2I_HOME to a folder on a larger disk",
            code=1,
        )


def _quarantine(part: Path) -> None:
    """Wrong bytes are kept for inspection, under a name nobody opens."""
    os.replace(part, part.with_suffix(".wrong"))


def reachable(urls: Sequence[str]) -> set[str]:
    """The addresses whose host, or proxy, takes a connection in time; all are asked at once.

    Neither a name server nor a firewall that swallows packets can hold this up, as they would `urlopen`.
    """
    found: set[str] = set()
    askers = [threading.Thread(target=_ask, args=(url, found), daemon=True) for url in urls]
    deadline = time.monotonic() + CONNECT_SECONDS
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join(max(0.0, deadline - time.monotonic()))
    return set(found)


def _ask(url: str, found: set[str]) -> None:
    try:
        with socket.create_connection(_host(url), timeout=CONNECT_SECONDS):
            found.add(url)
    except (OSError, ValueError):
        pass  # it stays unfound


def _host(url: str) -> tuple[str, int]:
    """Where a connection for `url` really goes: its host, or the proxy before it."""
    parts = urllib.parse.urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and not urllib.request.proxy_bypass(parts.hostname or ""):
        parts = urllib.parse.urlsplit(proxy if "//" in proxy else f"//{proxy}", parts.scheme)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
