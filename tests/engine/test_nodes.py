"""A cluster whose nodes are not alike: each difference is one line. Needs `t2i install 't2icli[ray]'`, and minutes."""

from __future__ import annotations

import platform
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from namespaces import two_hosts
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
from ray_hosts import start_ray

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
HOST = socket.gethostname()
PYTHON = platform.python_version().rpartition(".")[0]
OTHERS = {
    "Python": (
        "import platform; platform.python_version_tuple = lambda: ('3', '7', '0')",
        f"{HOST}: Python is 3.7 here, on the machine that began this job {PYTHON}",
    ),
    "t2i": (
        "import importlib.metadata as m; real = m.version; m.version = lambda n: '0.0.1' if n == 't2icli' else real(n)",
        f"{HOST}: t2icli is 0.0.1 here, on the machine that began this job {version('t2icli')}",
    ),
    "plugin": (
        "from t2icli.ground import distributions as d; real = d.points;"
        "d.points = lambda: [each for each in real() if 'brivl' not in each.name]",
        f"{HOST}: no embedder called 'brivl': install the same packages and models on all machines",
    ),
}
"""What is different on one node, by a program that changes it, and what is said of it."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """The driver's own node, which computes nothing, and one that does."""
    utils = pytest.importorskip("ray.cluster_utils")
    pytest.importorskip("daft")
    cluster = utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        cluster.add_node(num_cpus=1)
        yield cluster
    finally:
        cluster.shutdown()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    pytest.importorskip("t2i_starter")
    pytest.importorskip("t2i_brivl")
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(12):
        Image.effect_noise((40, 30), 40 + i).convert("RGB").save(folder / f"{i:02d}.png")
    return folder


def embed(photos: Path, address: str) -> list[str]:
    output = photos.with_name("vectors")
    words = ["-m", "t2icli", "embed", photos, "-m", "brivl", "--shard-rows", "2", "--output", output]
    return list(map(str, [*words, "--engine", "ray", "--workers", "2", "--address", address]))


@pytest.mark.parametrize("what", OTHERS)
def test_a_node_with_something_else_is_named(tmp_path: Path, photos: Path, cluster: Any, what: str) -> None:
    program, message = OTHERS[what]
    (tmp_path / "other").mkdir()
    (tmp_path / "other/sitecustomize.py").write_text(f"{program}\n")
    other = cluster.add_node(num_cpus=1, env_vars={"PYTHONPATH": str(tmp_path / "other")})
    try:
        done = subprocess.run([sys.executable, *embed(photos, cluster.address)], capture_output=True, text=True)
    finally:
        cluster.remove_node(other)
    assert done.returncode == 1, done.stderr
    error, hint = done.stderr.splitlines()[-2:]
    assert error == f"error: {message}" and "run the same command again" in hint
    assert "Traceback" not in done.stderr


def test_a_folder_that_one_host_does_not_see_is_named(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("daft")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # of a cluster that nothing outside the two hosts can reach
    with two_hosts(tmp_path, "a job") as (head, other):
        start_ray(head, "--head", "--port", "6379")
        start_ray(other, "--address", f"{head.address}:6379", hidden=photos)
        assert head.start(embed(photos, f"{head.address}:6379")).wait(200) == 1
        assert (
            f"error: {HOST}: '{photos}' is not there, or is empty, but every machine must see the same folder"
            in head.said
        )
        assert "Traceback" not in head.said
