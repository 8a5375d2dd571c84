"""What one machine chose and another opens."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest

from t2icli.ground.errors import T2IError
from t2icli.registry.open import Choice, choose
from t2icli.testing import Runner, toys


@pytest.fixture
def choice(t2i: Runner) -> Choice:
    t2i.use(toys)
    return Choice.of("generator", *choose("generator", "toy", {"size": 9}))


def test_it_opens_the_same_on_another_machine(choice: Choice) -> None:
    opened = pickle.loads(pickle.dumps(choice)).open()
    assert opened.entry == "toy" and opened.thing.size == 9 and opened.tables == choice.tables
    assert choice.name == opened.name and choice.plan["option"] == {"size": 9}


def test_a_plugin_that_is_missing_on_a_machine_is_named(choice: Choice, t2i: Runner) -> None:
    t2i.use()
    with pytest.raises(T2IError, match=r"'toy'.*: install the same packages and models on all machines"):
        choice.open()


def test_another_version_of_a_plugin_is_refused(choice: Choice) -> None:
    with pytest.raises(T2IError, match=r"generator 'toy' has another plugin here, .*: install the same packages"):
        replace(choice, distribution="toys 0.0.1").open()


def test_another_model_is_refused(choice: Choice) -> None:
    with pytest.raises(T2IError, match=r"generator 'toy' has another model here, .*: install the same packages"):
        replace(choice, identity="0" * 64).open()
