"""Download a file so that it is either complete and verified, or absent.

Bytes go into `NAME.part`, hashed on the way; an interrupted download continues where it stopped; the hash of the whole
file is compared before it gets its name. Mirrors are tried in turn.
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

from t2icli.ground.errors import T2IError
from t2icli.ground.watch import Watch, unwatched
from t2icli.store import verified, web
from t2icli.store.models import is_inside
from t2icli.store.sources import RemoteFile
from t2icli.store.verified import file_sha256
from t2icli.store.web import CannotDownload

CONNECT_SECONDS = 1.0
"""A host that has not answered by then counts as unreachable."""
SILENT_SECONDS = 20.0
"""How long it is not asked again then: a large download asks for many files."""
BLOCK = 1 << 18
ATTEMPTS = 3
"""How often in a row one mirror may break off without having sent anything before the next is tried."""


class _Unusable(Exception):
    """Why one mirror failed."""


def file_name(remote: RemoteFile) -> str:
    """What the file is called: by its plugin or hub, where it may lie in folders; else by the end of its address."""
    if remote.name:
        return remote.name if is_inside(remote.name) else Path(remote.name).name
    path = urllib.parse.urlsplit(remote.urls[0]).path
    return Path(urllib.parse.unquote(path)).name or "download"


def is_here(remote: RemoteFile, folder: Path) -> bool:
    """Whether the file was downloaded before, and is as it should be."""
    path = folder / file_name(remote)
    if not path.is_file():
        return False
    if remote.sha256 is not None:
        return verified.sha256(path) == remote.sha256
    return remote.git in (None, git_hash(path))


def fetch(remote: RemoteFile, folder: Path, watch: Watch = unwatched) -> Path:
    """The file in `folder`, downloaded unless it is there already."""
    name = file_name(remote)
    path = folder / name
    if is_here(remote, folder):
        return path
    web.check_online(f"'{name}'")
    path.parent.mkdir(parents=True, exist_ok=True)
    problems = []
    for number, url in enumerate(remote.urls):
        try:
            if not (has_answered(url) or reachable(remote.urls[number:])[0]):
                raise _Unusable("no answer")
            return _from_mirror(
                url, remote, path, lambda done, of: watch.progress(f"downloading {name}", done, of, unit="B")
            )
        except _Unusable as problem:
            problems.append(f"{url}: {problem}")
    raise CannotDownload(f"cannot download '{name}'", "\n  ".join(problems), code=1)


def _from_mirror(url: str, remote: RemoteFile, path: Path, tell: Callable[[int, int | None], None]) -> Path:
    """One mirror until the file is whole, continuing where a connection broke off."""
    part = path.with_name(f"{path.name}.part")
    resumed, idle = part.is_file(), 0
    while idle < ATTEMPTS:
        before = _size(part)
        try:
            whole, problem = _append(url, remote, part, tell), "the connection was lost"
        except urllib.error.HTTPError as error:
            error.close()
            raise web.refusal(error) or _Unusable(f"{error.code} {error.reason}") from error
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
            whole, problem = None, _reason(error)
        if whole is not None:
            if (difference := _difference(part, remote, whole)) is None:
                os.replace(part, path)
                verified.remember(path, whole)
                return path
            os.replace(part, part.with_suffix(".wrong"))  # kept for inspection, under a name that is never opened
            if not resumed:  # else the old start may have been at fault: once more from the beginning
                raise _Unusable(difference)
            resumed, problem = False, difference
        idle = 0 if _size(part) > before else idle + 1
        time.sleep(0.1 * idle)
    raise _Unusable(problem)


def _reason(error: Exception) -> str:
    return str(error.reason if isinstance(error, urllib.error.URLError) else error) or type(error).__name__


def _size(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0


def _difference(part: Path, remote: RemoteFile, sha256: str) -> str | None:
    """How a complete file differs from the expected one; None if it does not."""
    if remote.sha256 not in (None, sha256):
        return f"sha256 is {sha256}, expected {remote.sha256}"
    if remote.sha256 is None and remote.git not in (None, own := git_hash(part)):
        return f"git's hash is {own}, expected {remote.git}"
    return None


def git_hash(path: Path) -> str:
    """What git calls a file with this content."""
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as stream:
        for block in _blocks(stream):
            digest.update(block)
    return digest.hexdigest()


def _append(url: str, remote: RemoteFile, part: Path, tell: Callable[[int, int | None], None]) -> str | None:
    """Add what is missing to `part`; the sha256 of the whole, or None if the connection ended too soon."""
    start = _size(part)
    try:
        answer = web.get(url, start)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not start:  # 416: nothing lies behind `start`
            raise
        error.close()
        return file_sha256(part)
    with answer:
        if answer.status != 206:
            start = 0
        length = answer.headers.get("Content-Length")
        total = start + int(length) if length and length.isdigit() else remote.size
        _need_space(part.parent, (total or 0) - start)
        with part.open("r+b" if start else "w+b") as out:
            digest, done = _hashed(out), start
            for block in _blocks(answer):
                out.write(block)
                digest.update(block)
                done += len(block)
                tell(done, total)
                if remote.size is not None and done > remote.size:
                    raise _Unusable(f"it sends more than the {remote.size} bytes of the file")
    return digest.hexdigest() if total in (None, done) else None


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


def reachable(urls: Sequence[str]) -> list[bool]:
    """For each address whether its host, or proxy, takes a connection in time; all are asked at once.

    Neither a name server nor a firewall that swallows packets can hold this up, as they would `urlopen`. A host that
    has answered once is not asked again.
    """
    places = [_host(url) for url in urls]
    new = [place for place in {*places} - _answered if place is not None and _silent.get(place, 0) < time.monotonic()]
    askers = [threading.Thread(target=_ask, args=(place,), daemon=True) for place in new]
    deadline = time.monotonic() + CONNECT_SECONDS
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join(max(0.0, deadline - time.monotonic()))
    _silent.update(dict.fromkeys(set(new) - _answered, time.monotonic() + SILENT_SECONDS))
    return [place in _answered for place in places]


def has_answered(url: str) -> bool:
    """Whether its host took a connection before."""
    return _host(url) in _answered


_answered: set[tuple[str, int] | None] = set()
_silent: dict[tuple[str, int], float] = {}
"""Until when each host that did not answer is not tried again."""


def _ask(place: tuple[str, int]) -> None:
    try:
        with socket.create_connection(place, timeout=CONNECT_SECONDS):
            _answered.add(place)
    except (OSError, ValueError):
        pass  # it has not answered


def _host(url: str) -> tuple[str, int] | None:
    """Where a connection for `url` really goes: its host, or the proxy before it."""
    try:
        parts = urllib.parse.urlsplit(url)
        proxy = urllib.request.getproxies().get(parts.scheme)
        if proxy and not urllib.request.proxy_bypass(parts.hostname or ""):
            parts = urllib.parse.urlsplit(proxy if "//" in proxy else f"//{proxy}", parts.scheme)
        return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return None
