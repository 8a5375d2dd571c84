"""The hidden folder of one running process, for what is not finished.

The process holds a lock in it as long as it lives, and the system drops a lock however its process ends. So a folder
whose lock is free is unused; process ids, which are reused, play no part.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

PREFIX = ".t2i-run-"
LOCK = "lock"


class Workspace:
    """One such folder, locked: a new one in `parent`, or `found`, whose process has ended.

    Making one and looking for others exclude each other by a lock of the caller's: a folder is made before it is
    locked.
    """

    def __init__(self, parent: Path, folder: Path | None = None) -> None:
        from filelock import FileLock

        self.folder = folder or Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        self._lock = FileLock(self.folder / LOCK)
        self._lock.acquire(timeout=0)

    def close(self) -> None:
        """Remove the folder. A daemon thread may still write into it; then a later run removes it."""
        self._lock.release()
        shutil.rmtree(self.folder, ignore_errors=True)


def others(parent: Path, own: Path | None) -> Iterator[Workspace | None]:
    """The workspaces in `parent` but `own`: those of the dead, and None for each that is in use or another user's."""
    from filelock import Timeout

    for folder in parent.glob(f"{PREFIX}*"):
        if folder == own or folder.is_symlink() or not folder.is_dir():
            continue
        try:
            yield Workspace(parent, folder)
        except (Timeout, PermissionError):
            yield None
