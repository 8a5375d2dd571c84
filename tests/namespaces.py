"""Two hosts that are network namespaces of this one, with a cable between them.

Needs Linux, root and iproute2 (`apt-get install iproute2`).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

CABLE = "cable"


@dataclass(frozen=True)
class Host:
    """One of the two."""

    name: str
    address: str
    folder: Path
    """Of its own; what its processes say is in `said`."""

    def start(self, words: Sequence[str], environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        inside = ["ip", "netns", "exec", self.name, sys.executable, *words]
        own = {**os.environ, "T2I_HOME": str(self.folder.parent / "home"), **(environment or {})}
        with (self.folder / "said").open("ab") as said:
            return subprocess.Popen(
                inside, cwd=self.folder, env=own, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
            )

    @property
    def said(self) -> str:
        return (self.folder / "said").read_text()

    def ip(self, *words: str) -> None:
        subprocess.run(["ip", "-n", self.name, *words], check=True)


@contextlib.contextmanager
def two_hosts(folder: Path, what: str) -> Iterator[list[Host]]:
    """Both, for a test of `what`, which is skipped where they cannot be made."""
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip(f"NOT TESTED: {what} on two hosts, for it takes Linux, root and iproute2")
    both = [Host(f"t2i-{os.getpid()}-{i}", f"10.83.0.{i}", folder / f"host{i}") for i in (1, 2)]
    added = [subprocess.run(["ip", "netns", "add", host.name], capture_output=True, text=True) for host in both]
    if failed := next((each for each in added if each.returncode), None):
        pytest.skip(f"NOT TESTED: {what} on two hosts, for namespaces cannot be made here: {failed.stderr.strip()}")
    try:
        peer = ["peer", "name", CABLE, "netns", both[1].name]
        subprocess.run(["ip", "link", "add", CABLE, "netns", both[0].name, "type", "veth", *peer], check=True)
        for host in both:
            host.folder.mkdir()
            host.ip("addr", "add", f"{host.address}/24", "dev", CABLE)
            host.ip("link", "set", CABLE, "up")
            host.ip("link", "set", "lo", "up")
            # The host's own name leads to itself, as on Debian.
            (etc := Path("/etc/netns") / host.name).mkdir(parents=True)
            (etc / "hosts").write_text(f"127.0.0.1 localhost {os.uname().nodename}\n")
        yield both
    finally:
        for host in both:
            inside = subprocess.run(["ip", "netns", "pids", host.name], capture_output=True, text=True).stdout
            for pid in inside.split():
                os.kill(int(pid), signal.SIGKILL)
            subprocess.run(["ip", "netns", "del", host.name])
            shutil.rmtree(Path("/etc/netns") / host.name, ignore_errors=True)
