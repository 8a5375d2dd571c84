"""Hashes that are remembered."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from t2icli.store import verified


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that counts as large and was written a while ago."""
    monkeypatch.setenv("T2I_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(verified, "LARGE", 4)
    path = tmp_path / "weights"
    path.write_bytes(b"weights")
    os.utime(path, ns=(0, 1_000_000_000))
    return path


def spoil(path: Path, content: bytes, mtime: int = 1_000_000_000) -> None:
    """Other bytes in the same file."""
    with path.open("r+b") as stream:
        stream.write(content)
        stream.truncate()
    os.utime(path, ns=(0, mtime))


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_an_unchanged_file_is_not_read_again(large: Path) -> None:
    assert verified.sha256(large) == sha256(b"weights")
    spoil(large, b"weighty")  # of the same size, and as old: nothing shows that it has changed
    assert verified.sha256(large) == sha256(b"weights")
    assert verified.file_sha256(large) == sha256(b"weighty")


@pytest.mark.parametrize(("content", "mtime"), [(b"longer weights", 1_000_000_000), (b"weighty", 2_000_000_000)])
def test_another_size_or_time_is_noticed(large: Path, content: bytes, mtime: int) -> None:
    verified.sha256(large)
    spoil(large, content, mtime)
    assert verified.sha256(large) == sha256(content)


def test_another_file_in_its_place_is_noticed(large: Path) -> None:
    verified.sha256(large)
    other = large.with_name("other")
    other.write_bytes(b"weighty")
    os.utime(other, ns=(0, 1_000_000_000))
    other.replace(large)
    assert verified.sha256(large) == sha256(b"weighty")


def test_a_file_that_has_just_been_written_is_read_again(large: Path) -> None:
    large.write_bytes(b"weights")
    verified.sha256(large)
    assert not (verified.home() / verified.NAME).exists()


def test_another_name_of_the_file_shares_what_is_known(large: Path) -> None:
    verified.remember(large, "known")
    verified.link(large, large.with_name("link"))
    assert verified.sha256(large.with_name("link")) == "known"


def test_small_files_are_read_each_time(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verified, "LARGE", 100)
    verified.sha256(large)
    assert not verified.home().exists()


@pytest.mark.parametrize("memory", ["", "[]", '{"x": 3}', "\0"])
def test_a_damaged_memory_is_none(large: Path, memory: str) -> None:
    verified.home().mkdir()
    (verified.home() / verified.NAME).write_text(memory)
    assert verified.sha256(large) == sha256(b"weights")


def test_a_home_that_cannot_be_written_only_costs_time(large: Path) -> None:
    verified.home().write_text("no folder")
    assert verified.sha256(large) == sha256(b"weights")


def test_small_files_are_copied_and_large_ones_linked(large: Path) -> None:
    small = large.with_name("small")
    small.write_bytes(b"abc")
    for path in (large, small):
        verified.link(path, path.with_suffix(".copy"))
    assert large.with_suffix(".copy").samefile(large)
    assert not small.with_suffix(".copy").samefile(small) and small.with_suffix(".copy").read_bytes() == b"abc"
