"""Hashes of files, remembered while a file keeps its size, time of change and inode.

Hashing reads about a gigabyte a second: without the memory, every start would read a large model twice.
`t2i models check` does not use it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from pathlib import Path

from t2icli.ground import files
from t2icli.ground.errors import T2IError
from t2icli.ground.home import home

LARGE = 16 << 20
"""Bytes from which on a hash is remembered: smaller files are hashed sooner than the memory is read."""
SETTLED = 2_000_000_000
"""Nanoseconds since the last change after which a hash is trusted: a file system may give two changes one time."""
KEPT = 10_000
NAME = "verified.json"


def file_sha256(path: Path) -> str:
    """The hash of what is in the file now."""
    import hashlib  # here, because listing commands needs none

    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sha256(path: Path) -> str:
    """The hash of the file, which is read only if it has changed since its hash was last remembered."""
    if path.stat().st_size < LARGE:
        return file_sha256(path)
    key, before = _state(path)
    known = _read().get(key)
    if isinstance(known, list) and len(known) == 3 and known[:2] == before:
        return str(known[2])
    begun = time.time_ns()
    hashed = file_sha256(path)
    if _state(path) == (key, before) and begun - before[1] > SETTLED:
        remember(path, hashed)
    return hashed


def remember(path: Path, sha256: str) -> None:
    """Note the hash of a file that was read or written from beginning to end, if home can be written."""
    if path.stat().st_size < LARGE:
        return
    key, state = _state(path)
    known = _read()
    known.pop(key, None)
    newest = dict(list(known.items())[1 - KEPT :])
    with contextlib.suppress(T2IError):
        files.write(home() / NAME, json.dumps({**newest, key: [*state, sha256]}, indent=0))


def _state(path: Path) -> tuple[str, list[int]]:
    status = path.stat()
    return str(status.st_ino), [status.st_size, status.st_mtime_ns]


def _read() -> dict[str, object]:
    try:
        known = json.loads((home() / NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def link(source: str | Path, target: str | Path) -> str:
    """A copy for `shutil.copytree`: of a large file the same file under another name, where the file system can."""
    if os.path.getsize(source) >= LARGE:
        with contextlib.suppress(OSError):
            os.link(os.path.realpath(source), target)
            return str(target)
    shutil.copy2(source, target)
    return str(target)
