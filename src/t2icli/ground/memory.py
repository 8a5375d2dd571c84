"""How much memory a process has and may still take, and what becomes of memory that is freed."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/")
PLENTY = 1 << 60
"""A memory limit from which on there is none: what cgroups and `ulimit` write for "unlimited" is more."""
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Numbers of glibc's malloc.h."""


def in_use() -> int | None:
    """Bytes of memory that this process occupies; None where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


def free(root: Path = ROOT) -> int | None:
    """Bytes that this process may still take: what the system has available, within the limits of its control
    groups (1 and 2) and of `ulimit -v`. None where the system does not tell."""
    available = _available(root)
    if available is None:
        return None
    return max(0, min(available, *_left_in_groups(root), _left_in_address_space()))


def _available(root: Path) -> int | None:
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    sizes = dict(line.split(":", 1) for line in lines)
    return int(sizes["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in sizes else None


def _left_in_groups(root: Path) -> Iterator[int]:
    """What each control group around this process leaves; inside a container its own is the mount itself."""
    yield PLENTY
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    mount = root / "sys/fs/cgroup"
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            yield from _left_in(mount, path, ("memory.max", "memory.current", "inactive_file"))
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            yield from _left_in(mount / "memory", path, names)


def _left_in(mount: Path, path: str, names: tuple[str, str, str]) -> Iterator[int]:
    most, used, cached = names
    group = mount / path.lstrip("/")
    for folder in (group, *group.parents):
        with contextlib.suppress(OSError, ValueError):  # a group of another namespace, or one without a limit
            limit = int((folder / most).read_text())
            in_use = int((folder / used).read_text())
            fields = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            if limit < PLENTY:
                yield limit - in_use + int(fields.get(cached, 0))  # the cache is given up when memory is wanted
        if folder == mount:
            return


def _left_in_address_space() -> int:
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit == resource.RLIM_INFINITY or limit >= PLENTY:
            return PLENTY
        return limit - _address_space()
    except (ImportError, OSError, ValueError):
        return PLENTY


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


@contextlib.contextmanager
def at_most(more: int) -> Iterator[None]:
    """Refuse this process, for a while, to take much more memory: it fails, where it would be killed later."""
    try:
        import resource

        before, hard = resource.getrlimit(resource.RLIMIT_AS)
        wanted = _address_space() + more
    except (ImportError, OSError, ValueError):
        yield
        return
    known = [limit for limit in (before, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min([wanted, *known]), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (before, hard))


def keep_freed() -> None:
    """Use freed memory again in this process, where large pieces of it would go back to the system.

    A training step frees and takes the same gigabytes each time, and the system clears every page that it hands out: a
    seventh of a step of DALL-E's. Only glibc can be told.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
