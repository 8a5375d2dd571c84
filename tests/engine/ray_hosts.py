"""Ray on hosts that are network namespaces."""

from __future__ import annotations

from pathlib import Path

from namespaces import Host

HIDES = """
import os, subprocess, sys
folder, *words = sys.argv[1:]
subprocess.run(["mount", "-t", "tmpfs", "none", folder], check=True)
os.execv(sys.executable, [sys.executable, *words])
"""


def start_ray(host: Host, *words: str, hidden: Path | None = None) -> None:
    """Start Ray on a host, with one core, where the folder `hidden` is empty; it ends with the host's processes."""
    start = ["-m", "ray.scripts.scripts", "start", "--node-ip-address", host.address, "--num-cpus", "1"]
    start += ["--disable-usage-stats", *words]
    if hidden is not None:
        start = ["-c", HIDES, str(hidden), *start]
    assert host.start(start, {"PYTHONPATH": str(Path(__file__).parent)}).wait(100) == 0, host.said
