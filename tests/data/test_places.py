"""Datasets at an address: the same rows as in a folder, whatever happens on the way."""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from t2icli.data import places, room
from t2icli.data.dataset import PreparedDataset
from t2icli.ground.errors import T2IError, Unreachable
from t2icli.testing import Runner

if TYPE_CHECKING:
    from tests.conftest import FolderServer

Make = Callable[[Path, int, int], Path]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("T2I_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("T2I_CACHE_SIZE", "1GB")
    monkeypatch.delenv("T2I_OFFLINE", raising=False)
    monkeypatch.setattr(places, "FIRST", 60.0)  # the machine may be busy
    yield tmp_path / "home"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "FIRST", 0.4)
    monkeypatch.setattr(places, "PATIENCE", 0.4)


class OneByOne(PreparedDataset):
    """Gets no shard before it is read."""

    def soon(self, shard: int) -> None: ...


def contents(data: PreparedDataset) -> list[tuple[Any, ...]]:
    return [(data.key(i), data.captions(i), data.image_bytes(i), data.extra(i)) for i in range(len(data))]


def files(home: Path) -> list[str]:
    """Names of what the cache holds."""
    return sorted(path.name for path in home.glob("cache/shards/*/*") if path.suffix in (".tar", ".parquet", ".part"))


def test_data_from_a_web_server_are_the_same_rows(folder_server: FolderServer, in_shards: Make) -> None:
    local = PreparedDataset.open(in_shards(folder_server.folder / "set", 3, 4))
    data = PreparedDataset.open(f"{folder_server.url}/set/")
    assert contents(data) == contents(local)
    assert data.sha256 == local.sha256
    assert contents(pickle.loads(pickle.dumps(data.split("train")))) == contents(local)
    assert set(folder_server.downloads().values()) == {1}


def test_data_from_s3_are_the_same_rows(s3: Callable[[Path, str], str], in_shards: Make, tmp_path: Path) -> None:
    local = in_shards(tmp_path / "set", 2, 4)
    address = s3(local, "same-rows")
    assert contents(PreparedDataset.open(address)) == contents(PreparedDataset.open(local))


def test_data_from_any_file_system_of_fsspec_are_the_same_rows(in_shards: Make, tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    local = in_shards(tmp_path / "set", 2, 3)
    fsspec.filesystem("memory").put(str(local), "/any/set", recursive=True)
    assert contents(PreparedDataset.open("memory://any/set")) == contents(PreparedDataset.open(local))


def test_a_file_is_downloaded_when_its_rows_are_read(folder_server: FolderServer, in_shards: Make) -> None:
    in_shards(folder_server.folder, 5, 2)
    data = PreparedDataset.open(folder_server.url)
    data.image(7)
    assert set(folder_server.downloads()) == {"dataset.toml", "000003.parquet", "000003.tar"}


def test_who_reads_on_finds_the_next_shard_there(folder_server: FolderServer, in_shards: Make) -> None:
    wanted: list[int] = []

    class Noting(PreparedDataset):
        def bring(self, shard: int) -> None:
            wanted.append(shard)

    in_shards(folder_server.folder, 4, 2)
    data = Noting.open(folder_server.url)
    for i in (0, 1, 2, 3):
        data.image(i)
    for _ in range(100):
        if wanted == [1, 2]:
            break
        time.sleep(0.01)
    assert wanted == [1, 2]


def test_a_connection_that_breaks_off_is_continued_where_it_stopped(
    folder_server: FolderServer, in_shards: Make
) -> None:
    local = PreparedDataset.open(in_shards(folder_server.folder, 1, 4))
    folder_server.cuts["000000.tar"] = 3
    folder_server.failures["dataset.toml"] = 1
    assert contents(PreparedDataset.open(folder_server.url)) == contents(local)
    ranges = [wanted for name, wanted in folder_server.asked if name == "000000.tar"]
    assert len(ranges) == 4 and ranges[0] is None and None not in ranges[1:]


def test_what_a_killed_process_has_downloaded_is_not_downloaded_again(
    folder_server: FolderServer, in_shards: Make, home: Path
) -> None:
    local = PreparedDataset.open(in_shards(folder_server.folder, 1, 4))
    whole = (local.folder / "000000.tar").read_bytes()
    data = PreparedDataset.open(folder_server.url)
    (data.folder / f".000000.tar.{len(whole)}.part").write_bytes(whole[:5000])
    assert contents(data) == contents(local)
    assert [wanted for name, wanted in folder_server.asked if name == "000000.tar"] == ["bytes=5000-"]
    assert files(home) == ["000000.parquet", "000000.tar"]


def test_an_old_beginning_of_another_file_is_given_up(folder_server: FolderServer, in_shards: Make) -> None:
    local = PreparedDataset.open(in_shards(folder_server.folder, 1, 4))
    size = (local.folder / "000000.tar").stat().st_size
    data = PreparedDataset.open(folder_server.url)
    for wrong in (f".000000.tar.{size}.part", f".000000.tar.{size + 99}.part"):
        (data.folder / "000000.tar").unlink(missing_ok=True)
        (data.folder / wrong).write_bytes(b"x" * 5000)
        assert contents(data) == contents(local)


@pytest.mark.parametrize("name", ["000000.tar", "000000.parquet"])
def test_wrong_bytes_are_an_error_and_stay_out_of_the_cache(
    folder_server: FolderServer, in_shards: Make, home: Path, name: str
) -> None:
    in_shards(folder_server.folder, 1, 4)
    data = PreparedDataset.open(folder_server.url)
    folder_server.spoilt = {name}
    with pytest.raises(Unreachable, match=f"{name}' is not what the dataset's card says"):
        data.image(0)
    assert name not in files(home)
    folder_server.spoilt = set()
    data.image(0)


def test_a_picture_that_was_replaced_in_the_store_is_noticed(folder_server: FolderServer, in_shards: Make) -> None:
    tar = in_shards(folder_server.folder, 1, 4) / "000000.tar"
    content = tar.read_bytes()
    at = content.index(b"IDAT") + 10
    tar.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    with pytest.raises(Unreachable, match="the picture of '0-0' has another sha256"):
        PreparedDataset.open(folder_server.url).image(3)


def test_a_dataset_that_was_replaced_is_downloaded_again(folder_server: FolderServer, in_shards: Make) -> None:
    in_shards(folder_server.folder / "a", 2, 2)
    first = contents(PreparedDataset.open(f"{folder_server.url}/a"))
    (folder_server.folder / "a").rename(folder_server.folder / "old")
    new = PreparedDataset.open(in_shards(folder_server.folder / "a", 1, 3))
    assert contents(PreparedDataset.open(f"{folder_server.url}/a")) == contents(new) != first


def test_a_store_that_goes_away_is_an_error_with_its_address(
    folder_server: FolderServer, in_shards: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_shards(folder_server.folder, 1, 4)
    data = PreparedDataset.open(folder_server.url)
    monkeypatch.setattr(places, "PATIENCE", 0.4)
    folder_server.failures["000000.parquet"] = 1000
    with pytest.raises(Unreachable, match=r"000000\.parquet' could not be read for 0 seconds") as raised:
        data.image(0)
    assert raised.value.code == 1 and "run the same command again" in str(raised.value.hint)


def test_an_address_that_nobody_answers_is_an_error(impatient: None) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(T2IError, match="could not be read for 0 seconds: no connection"):
            PreparedDataset.open(f"http://127.0.0.1:{taken.getsockname()[1]}/set")


@pytest.mark.parametrize("scheme", ["http", "s3"])
def test_a_store_that_takes_connections_and_says_nothing_is_an_error(
    s3: Callable[[Path, str], str], monkeypatch: pytest.MonkeyPatch, impatient: None, scheme: str
) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(50)
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        with pytest.raises(T2IError, match="could not be read for 0 seconds"):
            PreparedDataset.open("s3://silent/set" if scheme == "s3" else f"{address}/set")


def test_without_a_network_what_was_downloaded_is_read(
    folder_server: FolderServer, in_shards: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_shards(folder_server.folder, 2, 2)
    before = OneByOne.open(folder_server.url)
    before.image(0)
    monkeypatch.setenv("T2I_OFFLINE", "1")
    asked = len(folder_server.asked)
    data = PreparedDataset.open(folder_server.url)
    assert data.image_bytes(1) == before.image_bytes(1)
    with pytest.raises(Unreachable, match="offline"):
        data.image(3)
    with pytest.raises(T2IError, match="offline"):
        PreparedDataset.open(f"{folder_server.url}/other")
    assert len(folder_server.asked) == asked


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("https://user:word@127.0.0.1/set", "'https://127.0.0.1/set' comes with a password or a query"),
        ("s3://bucket/set?X-Amz-Signature=word", "'s3://bucket/set' comes with a password or a query"),
    ],
)
def test_an_address_that_cannot_be_read_is_refused_without_its_secrets(address: str, says: str) -> None:
    with pytest.raises(T2IError) as raised:
        PreparedDataset.open(address)
    assert says in raised.value.message and "word" not in str(raised.value.hint)


def test_a_kind_of_store_that_nobody_knows_is_an_error() -> None:
    pytest.importorskip("fsspec")
    with pytest.raises(T2IError, match="there is no kind of store called 'nothing'"):
        PreparedDataset.open("nothing://bucket/set")


def test_a_place_without_a_dataset_is_an_error(folder_server: FolderServer, s3: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for address in (f"{folder_server.url}/none", s3(tmp_path / "empty", "empty-bucket"), "s3://unknown-bucket/set"):
        with pytest.raises(T2IError, match=f"there is no prepared dataset at '{address}'"):
            PreparedDataset.open(address)


def test_missing_and_wrong_credentials_are_told_apart(
    s3: Callable[[Path, str], str], in_shards: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from s3fs import S3FileSystem

    address = s3(in_shards(tmp_path / "set", 1, 1), "secrets")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    S3FileSystem.clear_instance_cache()
    with pytest.raises(T2IError, match="there are no credentials for") as raised:
        PreparedDataset.open(address)
    assert "AWS_ACCESS_KEY_ID" in str(raised.value.hint)


def test_what_a_store_forbids_is_told_without_trying_again(
    monkeypatch: pytest.MonkeyPatch, s3: Any, in_shards: Make, tmp_path: Path
) -> None:
    from s3fs import S3FileSystem

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("The AWS Access Key Id you provided does not exist in our records.")

    address = s3(in_shards(tmp_path / "set", 1, 1), "forbidden")
    monkeypatch.setattr(S3FileSystem, "info", refuse)
    with pytest.raises(T2IError, match=r"the store refuses to give 's3://forbidden/data/dataset\.toml'") as raised:
        PreparedDataset.open(address)
    assert "not-to-be-shown" not in f"{raised.value.message}{raised.value.hint}"


def test_a_tiny_cache_holds_little_and_gives_the_same_rows(
    folder_server: FolderServer, in_shards: Make, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = PreparedDataset.open(in_shards(folder_server.folder, 4, 3))
    data = OneByOne.open(folder_server.url)
    size = (local.folder / "000000.tar").stat().st_size
    monkeypatch.setenv("T2I_CACHE_SIZE", str(2 * size + 2000))
    for _ in range(2):
        assert contents(data) == contents(local)
        assert room.held() <= 2 * size + 2000
    assert max(folder_server.downloads(".tar").values()) == 2


def test_what_was_used_last_stays_longest(
    folder_server: FolderServer, in_shards: Make, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = in_shards(folder_server.folder, 3, 3)
    data = OneByOne.open(folder_server.url)
    for row in (0, 3):
        data.image(row)
    for age, name in enumerate(("000001.tar", "000000.tar")):
        os.utime(data.folder / name, (age + 1, age + 1))
    monkeypatch.setenv("T2I_CACHE_SIZE", str(room.held() + 5000))
    data.image(6)
    assert [name for name in files(home) if name.endswith(".tar")] == ["000000.tar", "000002.tar"]
    assert (local / "000001.tar").exists()


def test_what_is_in_use_is_not_removed(
    folder_server: FolderServer, in_shards: Make, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_shards(folder_server.folder, 2, 3)
    data = OneByOne.open(folder_server.url)
    data.image(0)
    monkeypatch.setenv("T2I_CACHE_SIZE", "1")
    with data.place.held("000000.tar", lambda path: None):
        data.image(3)
        assert "000000.tar" in files(home)
        assert not room.remove(data.folder / "000000.tar")
    assert room.remove(data.folder / "000000.tar")


READ = """
import hashlib, sys
from t2icli.data.dataset import PreparedDataset

data = PreparedDataset.open(sys.argv[1])
sys.stdin.readline()
for i in range(len(data)):
    print(hashlib.sha256(data.image_bytes(i)).hexdigest())
"""


def test_processes_share_what_one_of_them_downloads(folder_server: FolderServer, in_shards: Make) -> None:
    local = PreparedDataset.open(in_shards(folder_server.folder, 6, 3))
    words = [sys.executable, "-c", READ, folder_server.url]
    both = [subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    while folder_server.downloads()["dataset.toml"] < len(both):
        time.sleep(0.01)
    for each in both:
        assert each.stdin is not None
        each.stdin.write("\n")
        each.stdin.flush()
    expected = [local.image_sha256(i) for i in range(len(local))]
    assert [each.communicate()[0].split() for each in both] == [expected] * len(both)
    assert {*folder_server.downloads(".tar").values(), *folder_server.downloads(".parquet").values()} == {1}


def test_every_command_that_reads_data_takes_an_address(
    t2i: Runner, folder_server: FolderServer, in_shards: Make, tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    from t2icli.testing import toys

    t2i.use(toys)
    local = in_shards(folder_server.folder, 2, 2)
    for words in (
        ["prepare", "--show", "3", "--json"],
        ["prepare", "--check"],
        ["search", "dish 1", "-r", "toy-vectors", "--top", "1", "--json"],
        ["evaluate", "retrieval", "-r", "toy-vectors", "--json"],
        ["caption", "-m", "toy", "--seed", "1", "--json"],
    ):
        place = 2 if words[0] == "search" else 1 if words[0] != "evaluate" else 2
        here, there = (t2i.ok(*words[:place], data, *words[place:]).stdout for data in (local, f"{folder_server.url}/"))
        assert here == there != ""
    t2i.fails("prepare", folder_server.url, "--report", says="a page cannot be written to the address")
    t2i.ok("embed", folder_server.url, "-m", "toy-vectors", "--output", tmp_path / "vectors")
    assert folder_server.url in (tmp_path / "vectors/plan.toml").read_text()
    assert t2i.ok("search", "dish 1", tmp_path / "vectors", "--copy", tmp_path / "found", "--top", "1")
    assert [path.suffix for path in (tmp_path / "found").iterdir()] == [".png"]


def test_a_store_that_is_away_leaves_out_no_rows(
    t2i: Runner, folder_server: FolderServer, in_shards: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    from t2icli.testing import toys

    monkeypatch.setattr(places, "PATIENCE", 0.4)
    t2i.use(toys)
    in_shards(folder_server.folder, 2, 2)
    folder_server.failures["000001.tar"] = 1000
    output = tmp_path / "vectors"
    says = "000001.tar' could not be read"
    t2i.fails("embed", folder_server.url, "-m", "toy-vectors", "--output", output, code=1, says=says)
    assert not list(output.glob("shards/*.arrow"))
    t2i.fails("caption", folder_server.url, "-m", "toy", code=1, says=says)
    folder_server.failures.clear()
    t2i.ok("embed", folder_server.url, "-m", "toy-vectors", "--output", output)


def test_the_size_of_the_cache_may_be_typed_anywhere(t2i: Runner, folder_server: FolderServer, in_shards: Make) -> None:
    in_shards(folder_server.folder, 1, 2)
    for words in (
        ["--cache-size", "1MB", "prepare"],
        ["prepare", "--cache-size=1MB"],
        ["prepare", "--cache-size", "1MB"],
    ):
        t2i.ok(*words, folder_server.url, "--check")
    t2i.fails("prepare", folder_server.url, "--check", "--cache-size", "much", says="'much' is not a size")


@pytest.mark.parametrize(
    ("text", "size"), [("20GB", 20 * 10**9), ("1.5 MiB", 3 << 19), ("100", 100), ("2tb", 2 * 10**12)]
)
def test_a_size_is_read_as_it_is_written(text: str, size: int) -> None:
    assert room.parse(text) == size
