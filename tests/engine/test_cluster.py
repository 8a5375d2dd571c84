"""A job on Ray. Needs `t2i install 't2icli[ray]'`, and half a minute to start a cluster."""

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

sys.path.insert(0, str(Path(__file__).parent))
from jobs_to_do import loads, shards

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
CHUNKS = 16
EXPECTED = {f"{number:06d}.txt": f"{number} {number**2}\n" for number in range(CHUNKS)}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes that compute, beside the driver's own, which does not."""
    utils = pytest.importorskip("ray.cluster_utils")
    pytest.importorskip("daft")
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)  # the workers' too
    cluster = utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        cluster.add_node(num_cpus=1)
        cluster.add_node(num_cpus=1)
        yield cluster
    finally:
        del os.environ["PYTHONPATH"]
        cluster.shutdown()


def start(output: Path, address: str) -> subprocess.Popen[bytes]:
    script = Path(__file__).with_name("jobs_to_do.py")
    return subprocess.Popen([sys.executable, script, output, str(CHUNKS), "0.5", "", address])


def test_two_workers_load_once_each_and_make_every_shard(tmp_path: Path, cluster: Any) -> None:
    assert start(tmp_path / "out", cluster.address).wait(200) == 0
    assert shards(tmp_path / "out") == EXPECTED
    assert len(loads(tmp_path / "out")) == len(set(loads(tmp_path / "out"))) == 2


def test_a_worker_that_is_killed_loses_nothing_and_doubles_nothing(tmp_path: Path, cluster: Any) -> None:
    run = start(tmp_path / "out", cluster.address)
    while len(loads(tmp_path / "out")) < 2 and run.poll() is None:
        time.sleep(0.02)
    os.kill(int(loads(tmp_path / "out")[0]), signal.SIGKILL)
    assert run.wait(200) == 0
    assert shards(tmp_path / "out") == EXPECTED


def test_pictures_and_ranks_of_a_cluster_are_those_of_one_process_whatever_is_killed(
    tmp_path: Path, cluster: Any
) -> None:
    pytest.importorskip("t2i_starter")
    pytest.importorskip("t2i_brivl")
    (tmp_path / "menu.txt").write_text("红烧牛肉面\n番茄炒蛋\na bowl of rice\n宫保鸡丁\n麻婆豆腐\n", encoding="utf-8")
    words: list[Any] = [
        sys.executable,
        "-m",
        "t2icli",
        "generate",
        "--prompts",
        tmp_path / "menu.txt",
        "-n",
        "4",
        "--seed",
        "7",
    ]
    words += ["--rerank", "brivl", "--top", "2", "--output"]
    subprocess.run([*words, tmp_path / "here"], check=True, timeout=200)
    there = [*words, tmp_path / "there", "--engine", "ray", "--workers", "2", "--address", cluster.address]
    run = subprocess.Popen([*there, "--shard-rows", "4"])
    before = set(udf_processes())
    while not list(tmp_path.glob("there/shards/*.tar")) and run.poll() is None:
        time.sleep(0.02)
    os.kill((set(udf_processes()) - before or set(udf_processes())).pop(), signal.SIGKILL)
    assert run.wait(250) == 0
    made = [{path.name: path.read_bytes() for path in (tmp_path / name).glob("*.*")} for name in ("here", "there")]
    for files in made:
        for name in ("settings.toml", ".lock", "plan.toml", ".job.lock"):
            files.pop(name, None)
    assert len(made[0]) == 2 * 5 + 3 and made[0] == made[1]


def udf_processes() -> list[int]:
    """The processes in which Daft runs workers."""
    found = subprocess.run(["pgrep", "-u", str(os.getuid()), "-f", "ray::.*UDF"], capture_output=True, text=True)
    return [int(word) for word in found.stdout.split()]


def test_vectors_of_a_cluster_are_those_of_one_process(tmp_path: Path, cluster: Any) -> None:
    pytest.importorskip("t2i_starter")
    pytest.importorskip("t2i_brivl")
    (tmp_path / "photos").mkdir()
    for i in range(24):
        Image.effect_noise((40, 30), 40 + i).convert("RGB").save(tmp_path / f"photos/{i:02d}.png")
    words: list[Any] = [
        sys.executable,
        "-m",
        "t2icli",
        "embed",
        tmp_path / "photos",
        "-m",
        "brivl",
        "--shard-rows",
        "4",
    ]
    subprocess.run([*words, "--output", tmp_path / "here"], check=True, timeout=100)
    there = ["--output", tmp_path / "there", "--engine", "ray", "--workers", "2", "--address", cluster.address]
    subprocess.run([*words, *there], check=True, timeout=200)
    made = {path.name: path.read_bytes() for path in (tmp_path / "there/shards").iterdir()}
    assert len(made) == 6
    assert made == {path.name: path.read_bytes() for path in (tmp_path / "here/shards").iterdir()}


@pytest.mark.parametrize(
    "words",
    [["caption", "photos", "--seed", "3"], ["rerank", "a red bowl", "photos", "-r", "brivl"]],
    ids=lambda w: w[0],
)
def test_shards_of_a_cluster_are_those_of_one_process(tmp_path: Path, cluster: Any, words: list[str]) -> None:
    pytest.importorskip("t2i_starter")
    pytest.importorskip("t2i_clipcap")
    (tmp_path / "photos").mkdir()
    for i in range(12):
        Image.effect_noise((40, 30), 40 + i).convert("RGB").save(tmp_path / f"photos/{i:02d}.png")
    (tmp_path / "photos/05.png").write_text("<html>")
    job = [sys.executable, "-m", "t2icli", *words, "--shard-rows", "4", "--engine"]
    there = ["ray", "--workers", "2", "--address", cluster.address, "--output", "there"]
    for engine in (["here", "--output", "here"], there):
        assert subprocess.run([*job, *engine], cwd=tmp_path, timeout=200).returncode == 3
    made = [
        {path.name: path.read_bytes() for path in (tmp_path / name / "shards").iterdir()} for name in ("here", "there")
    ]
    assert len(made[0]) == 3 and made[0] == made[1]
