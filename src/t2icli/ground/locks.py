"""One process at a time: a lock that ends with its process, however that ends."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path

from t2icli.ground import files
from t2icli.ground.errors import T2IError


@contextlib.contextmanager
def locked(path: Path, *, taken: T2IError | None = None, waiting: str = "") -> Iterator[None]:
    """Hold the lock `path`. Where another process holds it, raise `taken`, else wait after the warning `waiting`."""
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    with files.writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            if taken is not None:
                raise taken from error
            if waiting:
                warnings.warn(waiting, UserWarning, stacklevel=4)
            lock.acquire()
    try:
        yield
    finally:
        lock.release()
