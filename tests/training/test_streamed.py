"""Training on data at an address: the same bytes as on a folder, also when it is killed in the middle of an epoch."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import forked
import numpy as np
import pytest
import torch

from t2icli.data import room
from t2icli.data.dataset import PreparedDataset
from t2icli.store import models
from t2icli.testing import Runner
from t2icli.training.ahead import Ahead
from t2icli.training.order import SampleOrder, shuffled

if TYPE_CHECKING:
    from tests.conftest import FolderServer

Make = Callable[[Path, int, int], Path]
WORDS = ["train", "tiny", "--output", "x", "--report-to", "none", "--max-steps", "11", "--save-every", "5"]
WORDS += ["--eval-every", "0", "--preview-every", "0", "-o", "slow=0.01", "-o", "frozen=false"]
TINY_CACHE = {"T2I_CACHE_SIZE": "60000"}
"""Room for two of four shards."""


def finished(data: str, folder: Path, environment: Mapping[str, str] | None = None, *more: str) -> bytes:
    """The weights after a training on `data`, continued where one was begun."""
    folder.mkdir(exist_ok=True)
    process = forked.start([*WORDS, "--resume", "--train-data", data, *more], folder, environment)
    process.join(100)
    assert process.exitcode == 0, (folder / "said").read_text()
    return (folder / "x/model" / models.WEIGHTS).read_bytes()


def killed(data: str, folder: Path, step: int, environment: Mapping[str, str] | None = None, *more: str) -> None:
    """Kill a training in the middle of an epoch."""
    folder.mkdir(exist_ok=True)
    process = forked.start([*WORDS, "--resume", "--train-data", data, *more], folder, environment)
    while process.is_alive() and not (folder / f"x/checkpoints/step-{step:09d}").is_dir():
        time.sleep(0.001)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.parametrize("more", [pytest.param((), marks=pytest.mark.slow), ("-o", "loop.shuffle_window=16")])
def test_killed_and_resumed_on_a_web_server_it_ends_with_the_bytes_of_a_folder(
    folder_server: FolderServer, in_shards: Make, tmp_path: Path, more: tuple[str, ...]
) -> None:
    local = in_shards(folder_server.folder, 4, 8)  # an epoch is 8 steps of 4
    expected = finished(str(local), tmp_path / "local", None, *more)
    folder_server.cuts.update({"000001.tar": 1, "000002.parquet": 1})
    killed(folder_server.url, tmp_path / "streamed", 5, TINY_CACHE, *more)
    assert finished(folder_server.url, tmp_path / "streamed", TINY_CACHE, *more, "--workers", "2") == expected


def test_killed_and_resumed_on_s3_it_ends_with_the_bytes_of_a_folder(
    s3: Callable[[Path, str], str], in_shards: Make, tmp_path: Path
) -> None:
    local = in_shards(tmp_path / "data", 4, 8)
    address = s3(local, "training")
    store = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    killed(address, tmp_path / "streamed", 5, store)
    assert finished(address, tmp_path / "streamed", store) == finished(str(local), tmp_path / "local")


def test_two_processes_train_on_one_cache(folder_server: FolderServer, in_shards: Make, tmp_path: Path) -> None:
    local = in_shards(folder_server.folder, 3, 8)
    expected = together(str(local), tmp_path / "local")
    assert not folder_server.asked
    assert together(folder_server.url, tmp_path / "streamed") == expected
    assert set(folder_server.downloads(".tar").values()) == {1}


def together(data: str, folder: Path) -> bytes:
    """The weights after a training by two processes."""
    folder.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        told = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(probe.getsockname()[1])}
    words = [*WORDS, "--train-data", data, "--device", "cpu", "-o", "dropout=0"]
    both = [forked.start(words, folder, {**told, "RANK": str(rank), "LOCAL_RANK": "0"}) for rank in range(2)]
    for each in both:
        each.join(100)
    assert [each.exitcode for each in both] == [0, 0], (folder / "said").read_text()
    return (folder / "x/model" / models.WEIGHTS).read_bytes()


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_store_that_goes_away_ends_the_training_and_skips_no_sample(
    folder_server: FolderServer, in_shards: Make, tmp_path: Path, workers: str
) -> None:
    in_shards(folder_server.folder, 2, 8)
    (folder_server.folder / "000001.tar").rename(tmp_path / "lost")
    more = ["--on-bad-sample", "skip", "--workers", workers]
    (tmp_path / "x").mkdir()
    process = forked.start([*WORDS, "--train-data", folder_server.url, *more], tmp_path / "x")
    process.join(100)
    said = (tmp_path / "x/said").read_text()
    assert process.exitcode == 1 and f"error: there is nothing at '{folder_server.url}/000001.tar'" in said
    assert "skipped" not in said and "Traceback" not in said


def test_the_settings_of_a_run_name_the_address(tiny_t2i: Runner, folder_server: FolderServer, in_shards: Make) -> None:
    in_shards(folder_server.folder, 1, 8)
    tiny_t2i.ok("train", "tiny", "--train-data", f"{folder_server.url}/", "--output", "x", "--max-steps", "1")
    assert f'train_data = "{folder_server.url}"' in Path("x/settings.toml").read_text()


def test_a_window_of_the_shuffle_has_few_neighbours_of_all_there_are() -> None:
    order = shuffled(3, 1, 1000, 100)
    assert sorted(order.tolist()) == list(range(1000))
    assert torch.equal(order, shuffled(3, 1, 1000, 100)) and not torch.equal(order, shuffled(3, 2, 1000, 100))
    runs = 100 // 16
    for part in order.split(100):
        assert len({row // runs for row in part.tolist()}) <= 18
        assert part.tolist() != sorted(part.tolist())
    assert torch.equal(shuffled(3, 1, 1000, 1000), shuffled(3, 1, 1000))


@pytest.fixture
def streamed(
    folder_server: FolderServer, in_shards: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> PreparedDataset:
    monkeypatch.setenv("T2I_HOME", str(tmp_path / "home"))
    in_shards(folder_server.folder, 5, 8)
    return PreparedDataset.open(folder_server.url)


def test_the_shards_that_come_next_are_those_of_the_next_samples(
    streamed: PreparedDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = SampleOrder(0, len(streamed), 4, 8)
    ahead = Ahead(streamed, order, 3)
    ahead.most = 2 * 2 * streamed.size_of(0)
    rows = [row for step in range(3, 13) for row, _ in order.rows(step)]
    first = list(dict.fromkeys(row // 8 for row in rows))
    assert ahead.coming() == first[:2]
    ahead.step = 10  # its epoch has no further samples
    after = [row // 8 for step in range(10, 20) for row, _ in order.rows(step)]
    assert ahead.coming() == list(dict.fromkeys(after))[:2]


class OneByOne(PreparedDataset):
    """Gets no shard before it is read."""

    def soon(self, shard: int) -> None: ...


def test_shards_come_before_they_are_read_once_training_reads_any(
    streamed: PreparedDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("t2icli.training.ahead.PAUSE", 0.01)
    monkeypatch.setenv(room.VARIABLE, "1GB")
    data = OneByOne(streamed.place, streamed.card)

    def here() -> int:
        return len(list(data.folder.glob("*.tar")))

    with Ahead(data, SampleOrder(0, len(data), 4), 0).following():
        time.sleep(0.2)
        assert here() == 0  # what is trained on may have been encoded long ago
        data.image(0)
        deadline = time.monotonic() + 20
        while here() < 5 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert here() == 5


def test_data_that_the_cache_cannot_hold_are_told_of(
    streamed: PreparedDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(room.VARIABLE, "50KB")
    ahead = Ahead(streamed, SampleOrder(0, len(streamed), 4), 0)
    ahead.most = room.bound()
    with pytest.warns(UserWarning, match=r"set --cache-size, or shuffle less"):
        ahead.check_size()
    windowed = Ahead(streamed, SampleOrder(0, len(streamed), 4, 8), 0)
    windowed.most = room.bound()
    windowed.check_size()  # no warning, which would be an error


def test_rows_know_their_shard(streamed: PreparedDataset) -> None:
    assert streamed.shards_of(np.arange(len(streamed))).tolist() == [i // 8 for i in range(40)]
