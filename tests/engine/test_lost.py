"""A job on Ray under which machines are lost. Needs `t2i install 't2icli[ray]'`; each test starts its own cluster."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from jobs_to_do import loads, shards
from namespaces import CABLE, two_hosts
from ray_hosts import start_ray

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
CHUNKS = 16
EXPECTED = {f"{number:06d}.txt": f"{number} {number**2}\n" for number in range(CHUNKS)}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The driver's own node, which computes nothing; tests add nodes that do."""
    utils = pytest.importorskip("ray.cluster_utils")
    pytest.importorskip("daft")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # the workers' too
    cluster = utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        yield cluster
    finally:
        cluster.shutdown()


def start(output: Path, address: str, deadly: str = "", seconds: float = 0.5) -> subprocess.Popen[str]:
    script = Path(__file__).with_name("jobs_to_do.py")
    words = [sys.executable, script, output, str(CHUNKS), str(seconds), deadly, address]
    return subprocess.Popen(words, stderr=subprocess.PIPE, text=True)


def begun(output: Path, run: subprocess.Popen[str], workers: int = 2) -> None:
    """Wait until all workers work and some shards are there."""
    while len(loads(output)) < workers or len(list(output.glob("shards/*.txt"))) < 4:
        assert run.poll() is None, run.communicate()
        time.sleep(0.02)


def said(run: subprocess.Popen[str]) -> str:
    """The one line that a run has written to stderr before it failed."""
    error = run.communicate(timeout=200)[1]
    assert run.returncode == 1 and error.count("\n") == 1, error
    return error


def finished(run: subprocess.Popen[str], output: Path) -> None:
    error = run.communicate(timeout=250)[1]
    assert run.returncode == 0, error
    assert shards(output) == EXPECTED


def test_a_lost_node_leaves_its_chunks_to_the_other(tmp_path: Path, cluster: Any) -> None:
    cluster.add_node(num_cpus=1)
    lost = cluster.add_node(num_cpus=1)
    run = start(tmp_path / "out", cluster.address)
    begun(tmp_path / "out", run)
    cluster.remove_node(lost, allow_graceful=False)
    finished(run, tmp_path / "out")


def test_a_node_in_place_of_a_lost_one_takes_its_chunks(tmp_path: Path, cluster: Any) -> None:
    cluster.add_node(num_cpus=1)
    lost = cluster.add_node(num_cpus=1)
    run = start(tmp_path / "out", cluster.address, seconds=4)  # longer in all than a node takes to start
    begun(tmp_path / "out", run)
    cluster.add_node(num_cpus=1)
    cluster.remove_node(lost, allow_graceful=False)
    finished(run, tmp_path / "out")
    assert len(loads(tmp_path / "out")) >= 3


def test_when_all_nodes_are_lost_one_line_says_so_and_the_next_run_continues(tmp_path: Path, cluster: Any) -> None:
    nodes = [cluster.add_node(num_cpus=1), cluster.add_node(num_cpus=1)]
    run = start(tmp_path / "out", cluster.address)
    begun(tmp_path / "out", run)
    for node in nodes:
        cluster.remove_node(node, allow_graceful=False)
    error = said(run)
    assert error.startswith("the cluster has lost machines: the cluster has 0 cores and 0 GPUs")
    assert "finished shards are kept: run the same command again" in error
    made = len(shards(tmp_path / "out"))
    assert 4 <= made < CHUNKS
    cluster.add_node(num_cpus=2)
    finished(start(tmp_path / "out", cluster.address), tmp_path / "out")


def test_when_the_head_is_lost_one_line_says_so(tmp_path: Path, cluster: Any) -> None:
    cluster.add_node(num_cpus=2)
    run = start(tmp_path / "out", cluster.address)
    begun(tmp_path / "out", run)
    cluster.head_node.kill_all_processes(check_alive=False, allow_graceful=False)
    assert said(run).startswith(f"the cluster has lost machines: no Ray cluster answers at {cluster.address}")


def test_a_node_that_stands_still_for_a_while_is_waited_for(tmp_path: Path, cluster: Any) -> None:
    cluster.add_node(num_cpus=1)
    slow = cluster.add_node(num_cpus=1)
    run = start(tmp_path / "out", cluster.address)
    begun(tmp_path / "out", run)
    (raylet,) = (each.process.pid for each in slow.all_processes["raylet"])
    family = [raylet, *children(raylet)]
    assert {int(process) for process in loads(tmp_path / "out")} & set(family)
    signalled(family, signal.SIGSTOP)
    try:
        time.sleep(8)
    finally:
        signalled(family, signal.SIGCONT)
    finished(run, tmp_path / "out")


def test_a_chunk_that_ends_every_worker_is_named(tmp_path: Path, cluster: Any) -> None:
    cluster.add_node(num_cpus=2)
    error = said(start(tmp_path / "out", cluster.address, deadly="5"))
    assert "3 workers have died on the rows from '5' on" in error
    assert "000005.txt" not in shards(tmp_path / "out")


def test_a_host_whose_cable_is_cut_leaves_its_chunks_to_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("daft")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # of a cluster that nothing outside the two hosts can reach
    with two_hosts(tmp_path, "a job") as (head, other):
        address = f"{head.address}:6379"
        start_ray(head, "--head", "--port", "6379")
        start_ray(other, "--address", address)
        words = [Path(__file__).with_name("jobs_to_do.py"), tmp_path / "out", str(CHUNKS), "0.5", "", address]
        run = head.start(list(map(str, words)))
        while len(loads(tmp_path / "out")) < 2 or len(list(tmp_path.glob("out/shards/*.txt"))) < 4:
            assert run.poll() is None, head.said
            time.sleep(0.02)
        other.ip("link", "set", CABLE, "down")
        assert run.wait(250) == 0, head.said
    assert shards(tmp_path / "out") == EXPECTED


def children(process: int) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(process)], capture_output=True, text=True).stdout.split()
    return [each for child in map(int, found) for each in (child, *children(child))]


def signalled(processes: list[int], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)
