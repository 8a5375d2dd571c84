"""Loading: nobody looks for garbage among all that is imported, and afterwards it is looked for again."""

from __future__ import annotations

import gc

import msgspec
import pytest

from t2icli.contract.entries import Entry
from t2icli.contract.kinds import loaded
from t2icli.ground.errors import T2IError
from t2icli.testing import toys


def entry(load) -> Entry:
    return Entry("toy", "for tests", toys.GeneratorSettings, load)


def test_garbage_is_not_collected_while_a_thing_is_loaded_but_afterwards() -> None:
    seen: list[bool] = []

    def load(settings: toys.GeneratorSettings) -> toys.Generator:
        seen.append(gc.isenabled())
        return toys.Generator(settings)

    loaded("generator", entry(load), toys.GeneratorSettings())
    assert seen == [False] and gc.isenabled()


def test_garbage_is_collected_again_where_loading_fails() -> None:
    def load(settings: msgspec.Struct) -> None:
        raise T2IError("no weights")

    with pytest.raises(T2IError):
        loaded("generator", entry(load), toys.GeneratorSettings())
    assert gc.isenabled()


def test_it_stays_off_where_it_was_off() -> None:
    gc.disable()
    try:
        loaded("generator", entry(toys.Generator), toys.GeneratorSettings())
        assert not gc.isenabled()
    finally:
        gc.enable()
