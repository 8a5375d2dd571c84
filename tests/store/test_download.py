"""Against a real server on this machine that can be told to misbehave."""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from t2icli.ground.errors import T2IError
from t2icli.ground.watch import Watch
from t2icli.store import download
from t2icli.store.sources import RemoteFile

CONTENT = bytes(range(256)) * 4000  # what the server serves
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def remote(*urls: str, sha256: str | None = SHA256) -> RemoteFile:
    return RemoteFile(urls, sha256, len(CONTENT))


@pytest.mark.parametrize("how", ["well", "no-length", "no-range"])
def test_a_file_arrives_whole(server: Any, tmp_path: Path, how: str) -> None:
    path = download.fetch(remote(server.url(how)), tmp_path / "new")
    assert path.read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["model.pt"]


def test_progress_ends_at_the_total(server: Any, tmp_path: Path) -> None:
    class Seen(Watch):
        def progress(self, job: str, done: int, of: int | None = None, figures: Any = None, *, unit: str = "") -> None:
            self.last = (job, done, of, unit)

    download.fetch(remote(server.url("well")), tmp_path, watch := Seen())
    assert watch.last == ("downloading model.pt", len(CONTENT), len(CONTENT), "B")


@pytest.mark.parametrize(
    ("file", "name"),
    [
        (RemoteFile(("https://example.org/a/b%20c.pt?dl=1",), None), "b c.pt"),
        (RemoteFile(("https://example.org/f/1234/?dl=1",), None, name="model.yaml"), "model.yaml"),
        (RemoteFile(("https://example.org/",), None), "download"),
        (RemoteFile(("https://example.org/x",), None, name="../../evil"), "evil"),
        (RemoteFile(("https://example.org/a/..%2F..%2Fevil",), None), "evil"),
    ],
)
def test_a_file_gets_a_name_and_never_a_path(file: RemoteFile, name: str) -> None:
    assert download.file_name(file) == name


def test_what_is_there_is_not_fetched_again(server: Any, tmp_path: Path) -> None:
    for _ in range(2):
        download.fetch(remote(server.url("well")), tmp_path)
    assert len(server.asked) == 1


def test_a_file_of_that_name_with_other_bytes_is_replaced(server: Any, tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"something else")
    assert download.fetch(remote(server.url("well")), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("how", ["well", "no-range"])
def test_an_interrupted_download_goes_on_where_it_stopped(server: Any, tmp_path: Path, how: str) -> None:
    (tmp_path / "model.pt.part").write_bytes(CONTENT[:1000])
    assert download.fetch(remote(server.url(how)), tmp_path).read_bytes() == CONTENT
    assert server.asked == [(how, "bytes=1000-")]


def test_a_part_that_was_whole_already_only_needs_its_name(server: Any, tmp_path: Path) -> None:
    (tmp_path / "model.pt.part").write_bytes(CONTENT)
    assert download.fetch(remote(server.url("well")), tmp_path).read_bytes() == CONTENT


def test_a_connection_that_breaks_off_once_is_resumed(server: Any, tmp_path: Path) -> None:
    assert download.fetch(remote(server.url("cut-once")), tmp_path).read_bytes() == CONTENT
    assert server.asked == [("cut-once", None), ("cut-once", f"bytes={len(CONTENT) // 2}-")]


def test_a_connection_that_keeps_breaking_off_leaves_a_part_and_no_file(server: Any, tmp_path: Path) -> None:
    with pytest.raises(T2IError, match="cannot download") as caught:
        download.fetch(remote(server.url("cut")), tmp_path)
    assert "the connection was lost" in str(caught.value.hint)
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt.part"]


def test_a_bad_start_of_a_file_is_fetched_again_from_the_beginning(server: Any, tmp_path: Path) -> None:
    (tmp_path / "model.pt.part").write_bytes(b"x" * 1000)
    assert download.fetch(remote(server.url("well")), tmp_path).read_bytes() == CONTENT
    assert server.asked == [("well", "bytes=1000-"), ("well", None)]


def test_wrong_bytes_never_get_the_name(server: Any, tmp_path: Path) -> None:
    with pytest.raises(T2IError) as caught:
        download.fetch(remote(server.url("wrong")), tmp_path)
    assert f"expected {SHA256}" in str(caught.value.hint)
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt.wrong"]


def test_a_file_that_is_gone_says_so(server: Any, tmp_path: Path) -> None:
    with pytest.raises(T2IError) as caught:
        download.fetch(remote(server.url("missing")), tmp_path)
    assert "404" in str(caught.value.hint)


def test_mirrors_are_tried_in_turn(server: Any, tmp_path: Path) -> None:
    urls = [server.url(how) for how in ("missing", "wrong", "well", "never")]
    assert download.fetch(remote(*urls), tmp_path).read_bytes() == CONTENT
    assert [how for how, _ in server.asked] == ["missing", "wrong", "well"]


def test_a_first_download_without_a_published_hash_is_trusted(server: Any, tmp_path: Path) -> None:
    assert download.fetch(remote(server.url("well"), sha256=None), tmp_path).read_bytes() == CONTENT


def test_only_http_addresses_are_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret.pt"
    secret.write_bytes(CONTENT)
    with pytest.raises(T2IError, match=r"cannot download 'secret\.pt'"):
        download.fetch(remote(secret.as_uri()), tmp_path / "new")
    assert not list((tmp_path / "new").iterdir())


def test_a_network_that_swallows_everything_is_given_up_within_two_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "CONNECT_SECONDS", 0.2)
    over = threading.Event()

    def swallow(*_: object, **__: object) -> None:
        over.wait(5)
        raise OSError("no name server")

    monkeypatch.setattr(socket, "getaddrinfo", swallow)
    begun = time.monotonic()
    with pytest.raises(T2IError) as caught:
        download.fetch(remote("http://models.invalid/a/model.pt", "http://models.invalid/b/model.pt"), tmp_path)
    assert "no answer" in str(caught.value.hint)
    assert time.monotonic() - begun < 2
    over.set()


def test_offline_asks_nobody(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T2I_OFFLINE", "1")
    with pytest.raises(T2IError, match="offline"):
        download.fetch(remote(server.url("well")), tmp_path)
    assert not server.asked


def test_a_proxy_is_asked_in_place_of_the_host(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.delenv("no_proxy", raising=False)
    path = download.fetch(remote("http://models.invalid/model.pt"), tmp_path)
    assert path.read_bytes() == CONTENT


def test_a_disk_that_is_too_small_is_noticed_before_it_is_full(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(T2IError, match="not enough disk space"):
        download.fetch(remote(server.url("well")), tmp_path)
    assert not any(path.suffix == ".pt" for path in tmp_path.iterdir())
