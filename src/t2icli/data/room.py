"""The folder of shards that came from elsewhere, shared by all processes of this machine and bounded in bytes."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from t2icli.ground import files, locks
from t2icli.ground.errors import T2IError
from t2icli.ground.home import home

try:
    import fcntl
except ImportError:  # Windows removes no file that is open
    fcntl = None  # type: ignore[assignment]

RENAMES_OPEN = fcntl is not None
"""Whether a file that is open may be renamed."""
VARIABLE = "T2I_CACHE_SIZE"
MOST = 50 * 10**9
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}
SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]I?)?B?\s*", re.I)
DRAFT = re.compile(r"\.(?P<name>.+)\.(?P<total>\d+)\.part")
"""A file that is not complete says how large it will be."""


def parse(text: str) -> int:
    """The bytes that `20GB` means."""
    match = SIZE.fullmatch(text)
    if match is None:
        raise T2IError(f"{text!r} is not a size", "write it as 20GB or 500MB")
    return int(float(match[1]) * UNITS[(match[2] or "").upper()])


def folder() -> Path:
    return home() / "cache" / "shards"


def bound() -> int:
    """Bytes that the cache may hold: as the variable says, else 50 GB, or half of what the disk has left if less."""
    if chosen := os.environ.get(VARIABLE):
        return parse(chosen)
    root = next(each for each in (folder(), *folder().parents) if each.exists())
    return min(MOST, (shutil.disk_usage(root).free + held()) // 2)


def held() -> int:
    """Bytes that it holds, or has promised to what is being downloaded."""
    return sum(size for _, size, _ in _contents())


def _contents() -> Iterator[tuple[int, int, Path]]:
    """When each file was last used, its size, and where it is."""
    for path in folder().glob("*/*"):
        draft = DRAFT.fullmatch(path.name)
        if draft or path.suffix in (".tar", ".parquet"):
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                yield status.st_mtime_ns, int(draft["total"]) if draft else status.st_size, path


def last_use(place: Path) -> int:
    """When a tar of a dataset in the cache was last read or downloaded, in nanoseconds."""
    return max((used for used, _, path in _contents() if path.parent == place and path.suffix == ".tar"), default=0)


def reserve(draft: Path) -> None:
    """Begin a draft; what was used longest ago goes until it fits. What is in use stays, even if it then does not."""
    with locks.locked(folder() / ".lock"):
        if not draft.exists():
            _make(draft)


def _make(draft: Path) -> None:
    match = DRAFT.fullmatch(draft.name)
    assert match is not None
    size = int(match["total"])
    contents, most = sorted(_contents()), bound()
    total = size + sum(each for _, each, _ in contents)
    for _, each, path in contents:
        if total <= most:
            break
        if remove(path):
            total -= each
    free = shutil.disk_usage(draft.parent).free
    if size > free:
        message = f"not enough disk space in {draft.parent}: {size / 1e9:.1f} GB needed, {free / 1e9:.1f} GB free"
        raise T2IError(message, "set T2I_HOME to a folder on a larger disk", code=1)
    with files.writing(draft):
        draft.touch()


def lock_of(path: Path) -> Path:
    """Who holds it may download that file."""
    return path.with_name(f".{path.name}.lock")


def remove(path: Path) -> bool:
    """Remove a file, unless somebody reads it or downloads it."""
    from filelock import FileLock, Timeout

    try:
        if draft := DRAFT.fullmatch(path.name):
            with FileLock(lock_of(path.with_name(draft["name"])), timeout=0):
                path.unlink()
        else:
            with path.open("rb") as stream:
                if fcntl is not None:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()
            if fcntl is None:
                path.unlink()
    except FileNotFoundError:
        return True
    except (Timeout, OSError):
        return False
    return True


def use(path: Path) -> IO[bytes] | None:
    """The file, which stays as long as what is returned is open; None where it is not there."""
    try:
        stream = path.open("rb", buffering=0)
    except FileNotFoundError:
        return None
    if fcntl is not None:
        fcntl.flock(stream, fcntl.LOCK_SH)
        if not os.fstat(stream.fileno()).st_nlink:  # removed in between
            stream.close()
            return None
    with contextlib.suppress(FileNotFoundError):  # a dataset that was replaced goes even while it is read
        os.utime(path)
    return stream
