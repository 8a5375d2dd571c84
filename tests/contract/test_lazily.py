"""Functions that are imported when they are called."""

from __future__ import annotations

import pickle
import sys

import pytest

from t2icli import lazily


def test_nothing_is_imported_before_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "this", raising=False)
    later = lazily("this:s.upper")
    assert "this" not in sys.modules
    assert later().startswith("GUR MRA BS CLGUBA")


def test_an_entry_may_go_to_another_process() -> None:
    assert pickle.loads(pickle.dumps(lazily("math:sqrt")))(4) == 2


def test_a_wrong_place_is_named_by_the_error() -> None:
    with pytest.raises(AttributeError, match=r"math.*squareroot"):
        lazily("math:squareroot")(4)
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        lazily("no_such_module:load")(4)
