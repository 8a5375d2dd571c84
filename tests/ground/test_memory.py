"""How much memory there is, as the system tells it in its own files."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from t2icli.ground import memory

MIB = 1 << 20
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def root(folder: Path, files: dict[str, str]) -> Path:
    for name, text in {"proc/meminfo": "MemTotal: 8192 kB\nMemAvailable: 4096 kB\n", **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def group(path: str, most: int | str, used: int, cached: int, names: tuple[str, str, str]) -> dict[str, str]:
    limit, usage, field = names
    return {
        f"{path}/{limit}": f"{most}\n",
        f"{path}/{usage}": f"{used}\n",
        f"{path}/memory.stat": f"{field} {cached}\n",
    }


FIRST = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
SECOND = ("memory.max", "memory.current", "inactive_file")


@linux
def test_without_limits_it_is_what_the_system_has_available(tmp_path: Path) -> None:
    assert memory.free(root(tmp_path, {"proc/self/cgroup": "0::/\n"})) == 4 * MIB


@linux
def test_a_control_group_leaves_less_and_its_cache_counts_as_free(tmp_path: Path) -> None:
    files = {"proc/self/cgroup": "0::/outer/inner\n"}
    files |= group("sys/fs/cgroup/outer/inner", "max", MIB, 0, SECOND)
    files |= group("sys/fs/cgroup/outer", 3 * MIB, 2 * MIB, MIB // 2, SECOND)
    assert memory.free(root(tmp_path, files)) == 3 * MIB // 2


@linux
def test_a_container_finds_its_group_at_the_mount_itself(tmp_path: Path) -> None:
    files = {"proc/self/cgroup": "7:memory:/docker/abc\n3:cpu:/docker/abc\n"}
    files |= group("sys/fs/cgroup/memory", 2 * MIB, MIB, 0, FIRST)
    assert memory.free(root(tmp_path, files)) == MIB


@linux
def test_a_limit_that_is_none_counts_as_none(tmp_path: Path) -> None:
    files = {"proc/self/cgroup": "7:memory:/\n"} | group("sys/fs/cgroup/memory", 2**63 - 4096, MIB, 0, FIRST)
    assert memory.free(root(tmp_path, files)) == 4 * MIB


def test_a_system_that_does_not_tell_is_not_guessed_at(tmp_path: Path) -> None:
    assert memory.free(tmp_path) is None


@linux
def test_more_memory_than_allowed_is_refused_and_the_limit_is_lifted_again() -> None:
    """In a process of its own: one that has kept freed memory needs no more for what is asked here."""
    take = """
from t2icli.ground import memory
MIB = 1 << 20
try:
    with memory.at_most(64 * MIB):
        bytearray(512 * MIB)
except MemoryError:
    print("refused", len(bytearray(512 * MIB)) // MIB)
"""
    done = subprocess.run([sys.executable, "-c", take], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["refused", "512"]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told to keep memory")
def test_memory_that_is_freed_can_be_kept() -> None:
    """In a process of its own, for it is kept to the end."""
    count = """
import resource, sys
from t2icli.ground import memory
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        bytearray(b"x") * 40_000_000
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
before = faults()
memory.keep_freed()
faults()
print(before, faults())
"""
    done = subprocess.run([sys.executable, "-c", count], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert before > 20 * 1000, "the test takes too little memory to tell anything"
    assert after < before / 50
