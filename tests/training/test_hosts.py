"""Training on two hosts, which are network namespaces of this one with a cable between them.

Needs Linux, root and iproute2 (`apt-get install iproute2`); starts torchrun as the documentation does.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import forked
import pytest
import tiny
from namespaces import CABLE, Host, two_hosts

from t2icli.store import models

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
PORT = "29471"


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[list[Host]]:
    with two_hosts(tmp_path, "training") as both:
        yield both


def train(data: Path, tmp_path: Path, *more: str) -> list[str]:
    words = ["train", "tiny", "--train-data", str(data), "--output", str(tmp_path / "x"), "--report-to", "none"]
    return [tiny.__file__, *words, "--resume", "--device", "cpu", "-o", "slow=0.05", "--save-every", "5", *more]


def torchrun(host: Host, words: list[str]) -> subprocess.Popen[bytes]:
    agent = ["-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1", "--max-restarts", "3"]
    is_host = "true" if host.address.endswith(".1") else "false"
    meet = ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"10.83.0.1:{PORT}", "--rdzv-conf", f"is_host={is_host}"]
    return host.start(
        [*agent, *meet, "--local-addr", host.address, *words], {"GLOO_SOCKET_IFNAME": CABLE, "OMP_NUM_THREADS": "1"}
    )


def alone(host: Host, rank: int, words: list[str], **environment: str) -> subprocess.Popen[bytes]:
    """As Slurm starts a process: no agent, four variables."""
    told = {"RANK": str(rank), "LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "10.83.0.1", "MASTER_PORT": PORT}
    return host.start(words, {**told, "OMP_NUM_THREADS": "1", **environment})


def worker(host: Host) -> int | None:
    """The process on this host that trains, if there is one: torchrun's child."""
    pids = subprocess.run(["ip", "netns", "pids", host.name], capture_output=True, text=True, check=True).stdout
    for pid in map(int, pids.split()):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if tiny.__file__.encode() in words and b"torch.distributed.run" not in words:
            return pid
    return None


def wait_for(folder: Path, step: int, *processes: subprocess.Popen[bytes]) -> None:
    while not (folder / f"x/checkpoints/step-{step:09d}").exists():
        assert all(process.poll() is None for process in processes), "ended early"
        time.sleep(0.02)


def test_a_host_whose_process_is_killed_comes_back_and_the_weights_are_the_same(
    data: Path, tmp_path: Path, hosts: list[Host]
) -> None:
    words = train(data, tmp_path, "--max-steps", "60", "-o", "dropout=0.1")
    agents = [torchrun(host, words) for host in hosts]
    wait_for(tmp_path, 10, *agents)
    os.kill(worker(hosts[1]) or 0, signal.SIGKILL)
    said = "\n".join(host.said for host in hosts)
    assert [agent.wait() for agent in agents] == [0, 0], said
    said = "\n".join(host.said for host in hosts)
    assert said.count("continues from step") == 1
    assert "this is a bug" not in said
    (left_alone := tmp_path / "alone").mkdir()
    _, *words = train(data, left_alone, "--max-steps", "60", "-o", "dropout=0.1")
    told = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": PORT}
    undisturbed = [forked.start(words, left_alone, {**told, "RANK": str(i), "LOCAL_RANK": "0"}) for i in range(2)]
    for process in undisturbed:
        process.join()
    weights = [(folder / "x/model" / models.WEIGHTS).read_bytes() for folder in (tmp_path, left_alone)]
    assert weights[0] == weights[1]


def test_a_cut_cable_is_an_error_on_both_hosts(data: Path, tmp_path: Path, hosts: list[Host]) -> None:
    words = train(data, tmp_path, "--max-steps", "100000", "--dist-timeout", "20")
    processes = [alone(host, i, words, GLOO_SOCKET_IFNAME=CABLE) for i, host in enumerate(hosts)]
    wait_for(tmp_path, 5, *processes)
    hosts[1].ip("link", "set", CABLE, "down")
    cut = time.monotonic()
    assert [process.wait() for process in processes] == [1, 1]
    assert time.monotonic() - cut < 120
    for host in hosts:
        assert "error: another process of this training ended, or could not be reached for 20 seconds" in host.said
        assert "continue with --resume" in host.said and "bug" not in host.said


def test_processes_that_talk_through_the_wrong_interface_are_told_how_to_name_the_right_one(
    data: Path, tmp_path: Path, hosts: list[Host]
) -> None:
    words = train(data, tmp_path, "--max-steps", "5", "--dist-timeout", "20")
    processes = [alone(host, i, words) for i, host in enumerate(hosts)]
    assert [process.wait() for process in processes] == [1, 1]
    for host in hosts:
        assert "could not reach each other" in host.said
        assert f"export GLOO_SOCKET_IFNAME=NAME; {os.uname().nodename} has {CABLE}" in host.said
