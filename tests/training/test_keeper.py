"""Checkpoints written in the background: what the training waits for, and what is in them."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from t2icli.ground.errors import T2IError
from t2icli.training import shards
from t2icli.training.checkpoint import Keeper, Run
from t2icli.training.devices import World


class Slow(shards.Copies):
    """Copies when it is allowed to."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self.may_copy = threading.Event()
        self.error = error

    def end(self) -> None:
        assert self.may_copy.wait(60)
        if self.error is not None:
            raise self.error
        super().end()


class Writing(Keeper):
    """Writes when it is allowed to, and to no file."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.written: list[dict[str, Tensor]] = []
        self.may_write = threading.Event()

    def _save_shards(self, parts: dict[str, Tensor], outline: dict[str, Any], step: int) -> None:
        assert self.may_write.wait(60)
        self.written.append({name: part.clone() for name, part in parts.items()})


@pytest.fixture
def keeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Writing:
    made = Writing(Run(tmp_path), World(torch.device("cpu")), 1, is_sharded=False, in_background=False)
    made.is_sharded = made.in_background = True
    monkeypatch.setattr(shards, "DTensor", Tensor)  # as if each were cut up
    monkeypatch.setattr(shards, "_local", lambda tensor: tensor)
    return made


def test_a_change_waits_for_the_copy_and_not_for_the_file(keeper: Writing) -> None:
    keeper.copies = slow = Slow()
    state = {"weight": torch.zeros(3)}
    for step in (0.0, 1.0):  # the first time, room is taken
        state["weight"].fill_(step)
        keeper.may_write.clear()
        keeper.save(state, int(step))
        changing = threading.Thread(target=keeper.before_change)
        changing.start()
        changing.join(0.05)
        assert changing.is_alive()
        slow.may_copy.set()
        changing.join(60)
        assert not changing.is_alive()
        slow.may_copy.clear()
        state["weight"].fill_(9)
        assert keeper.pending is not None and not keeper.pending.done()
        keeper.may_write.set()
        keeper.wait()
    assert [parts["['weight']"].tolist() for parts in keeper.written] == [[0, 0, 0], [1, 1, 1]]


def test_a_copy_that_fails_holds_up_nothing_and_is_an_error_at_the_next_save(keeper: Keeper) -> None:
    keeper.copies = slow = Slow(T2IError("no memory"))
    slow.may_copy.set()
    keeper.save({"weight": torch.zeros(3)}, 1)
    keeper.before_change()
    with pytest.raises(T2IError, match="no memory"):
        keeper.save({"weight": torch.zeros(3)}, 2)


def test_what_a_forward_changes_is_copied_before_the_next_one(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    copies, buffer = shards.Copies(), torch.zeros(2)
    for value in (1.0, 2.0):
        buffer.fill_(value)
        copies.begin({"buffer": buffer})
        buffer.fill_(9)
        copies.end()
        assert copies.parts["buffer"].tolist() == [value, value]
