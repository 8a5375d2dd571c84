"""Chunks on Ray. Needs `t2i install 't2icli[ray]'`, and half a minute to start a cluster."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from t2icli.data.dataset import PreparedDataset
from t2icli.prepare import report
from t2icli.prepare.check import problems

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
IMAGES = 60
RUN = """
import sys
from pathlib import Path
from t2icli.pipelines.prepare import Preparation, prepare
from t2icli.prepare.settings import FetchLimits, PreparePlan, Rules
if __name__ == "__main__":
    source, output, address, shard = sys.argv[1:]
    plan = PreparePlan(Rules(), FetchLimits(), int(shard))
    prepare(Preparation("folder", Path(source), Path(output), plan), cluster=address)
"""


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    pytest.importorskip("ray")
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(IMAGES):
        Image.effect_noise((300 + i, 200), 50).convert("RGB").save(folder / f"{i}.png")
    (folder / "same.png").write_bytes((folder / "7.png").read_bytes())
    return folder


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A cluster whose first node, the driver's own, computes nothing, as is usual; tests add nodes that do."""
    utils = pytest.importorskip("ray.cluster_utils")
    cluster = utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        yield cluster
    finally:
        cluster.shutdown()


def start(photos: Path, output: Path, address: str = "", shard: int = 4) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", RUN, str(photos), str(output), address, str(shard)])


def everything_once(output: Path) -> None:
    data = PreparedDataset.open(output)
    assert list(problems(data)) == []
    assert len(data) == IMAGES and data.card.counts == {"ok": IMAGES, "dropped duplicate-image": 1}


def workers() -> list[int]:
    """The processes in which Daft works."""
    found = subprocess.run(
        ["pgrep", "-u", str(os.getuid()), "-f", "ray::.*(Swordfish|UDF)"], capture_output=True, text=True
    )
    return [int(word) for word in found.stdout.split()]


def test_a_cluster_makes_the_dataset_that_one_machine_makes(photos: Path, tmp_path: Path) -> None:
    assert start(photos, tmp_path / "out").wait(280) == 0
    everything_once(tmp_path / "out")


def test_a_worker_that_is_killed_loses_nothing_and_doubles_nothing(photos: Path, tmp_path: Path) -> None:
    before = set(workers())
    run = start(photos, tmp_path / "out")
    while len(report.files(tmp_path / "out")) < 3 and run.poll() is None:
        time.sleep(0.02)
    mine = set(workers()) - before
    assert mine
    for process in mine:
        os.kill(process, signal.SIGKILL)
    if run.wait(250):  # the cluster gave up: the next run goes on where it stopped
        assert start(photos, tmp_path / "out").wait(250) == 0
    everything_once(tmp_path / "out")


def test_a_node_that_is_lost_loses_nothing_and_ends_nothing(photos: Path, tmp_path: Path, cluster: Any) -> None:
    lost = cluster.add_node(num_cpus=1)
    run = start(photos, tmp_path / "out", cluster.address, shard=1)
    while len(report.files(tmp_path / "out")) < 3 and run.poll() is None:
        time.sleep(0.02)
    cluster.add_node(num_cpus=1)
    assert run.poll() is None
    cluster.remove_node(lost, allow_graceful=False)
    assert run.wait(250) == 0
    everything_once(tmp_path / "out")


@pytest.mark.timeout(900)
def test_pairs_that_two_nodes_score_are_those_of_one_machine(tmp_path: Path, cluster: Any) -> None:
    """And a prepared dataset is cleaned there by the scores in its rows."""
    pytest.importorskip("t2i_brivl")
    pytest.importorskip("t2i_starter")
    cluster.add_node(num_cpus=1)
    cluster.add_node(num_cpus=1)
    (tmp_path / "photos").mkdir()
    for i in range(30):
        Image.effect_noise((40 + i, 30), 40 + i).convert("RGB").save(tmp_path / f"photos/{i:02d}.png")
        (tmp_path / f"photos/{i:02d}.txt").write_text(("红烧牛肉面", "a red bowl")[i % 2])
    words: list[Any] = [sys.executable, "-m", "t2icli", "prepare", tmp_path / "photos", "--shard-rows", "3"]
    words += ["--filter", "brivl > 0.12", "--output"]
    subprocess.run([*words, tmp_path / "here"], check=True, timeout=200)
    there = ["--runner", "ray", "--address", cluster.address]
    subprocess.run([*words, tmp_path / "there", *there], check=True, timeout=400)
    made = [{path.name: path.read_bytes() for path in (tmp_path / name).glob("0*")} for name in ("here", "there")]
    assert made[0] == made[1] and len(made[0]) > 10
    cards = [PreparedDataset.open(tmp_path / name).card for name in ("here", "there")]
    assert cards[0] == cards[1] and 0 < cards[0].counts["ok"] < 30
    data = PreparedDataset.open(tmp_path / "here")
    scores = sorted(data.extra(i)["scores"]["brivl"][0] for i in range(len(data)))
    middle = f"brivl > {scores[len(scores) // 2]}"
    again = [*words[:3], "prepare", tmp_path / "here", "--filter", middle, "--output", tmp_path / "clean"]
    subprocess.run([*again, *there], check=True, timeout=400)
    assert 0 < len(PreparedDataset.open(tmp_path / "clean")) < cards[0].counts["ok"]
