from __future__ import annotations

import threading
import warnings
from pathlib import Path

import pytest
from filelock import FileLock

from t2icli.ground import locks
from t2icli.ground.errors import T2IError


def test_a_lock_that_is_taken_is_refused_and_free_again_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "deep/lock"
    with locks.locked(path), pytest.raises(T2IError, match="in use"), locks.locked(path, taken=T2IError("in use")):
        raise AssertionError("two have it")
    with locks.locked(path, taken=T2IError("in use")):
        pass


def test_who_waits_for_another_is_told_before(tmp_path: Path) -> None:
    held, warned = threading.Event(), threading.Event()

    def hold() -> None:
        with FileLock(tmp_path / "lock"):
            held.set()
            assert warned.wait(60)

    other = threading.Thread(target=hold)
    other.start()
    assert held.wait(60)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_: warned.set() if "waiting for another" in str(message) else None
        with locks.locked(tmp_path / "lock", waiting="waiting for another"):
            assert warned.is_set()
    other.join()
