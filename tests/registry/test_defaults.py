"""Which backend is meant when none is named."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import pytest
from msgspec import Meta

from t2icli.contract.entries import Entry
from t2icli.contract.fields import ELSEWHERE
from t2icli.contract.hookspecs import hookimpl
from t2icli.contract.kinds import Captioner
from t2icli.ground.errors import T2IError
from t2icli.registry import configure, defaults, discovery, settings
from t2icli.store import models
from t2icli.store.models import Model
from t2icli.store.sources import ModelSource
from t2icli.testing import Runner


class WithModel(msgspec.Struct, frozen=True):
    model: Model


class MaybeModel(msgspec.Struct, frozen=True):
    model: Model | None = None


class WithFile(msgspec.Struct, frozen=True):
    file: str


class Complete(msgspec.Struct, frozen=True):
    size: int = 1


class Plugin:
    def __init__(self, *sources: ModelSource, **settings: type) -> None:
        self.sources, self.settings = sources, settings

    @hookimpl
    def t2i_models(self) -> list[ModelSource]:
        return list(self.sources)

    @hookimpl
    def t2i_captioners(self) -> list[Entry[Captioner]]:
        return [Entry(name, "x", kind, lambda settings: None) for name, kind in self.settings.items()]  # type: ignore[arg-type,return-value]


def store(home: Path, name: str, size: int, **card: str) -> Path:
    folder = home / "models" / name
    folder.mkdir(parents=True)
    (folder / "weights").write_bytes(bytes(size))
    models.seal(folder, models.Card(kind="captioner", backend=name.split("/")[0], **card))
    return folder


def shipped(folder: Path, name: str, size: int) -> ModelSource:
    return ModelSource(name, "", "MIT", folder=store(folder, name, size, stand_in="a small one"))


def test_the_backend_with_the_largest_model_is_meant(t2i: Runner) -> None:
    t2i.use(Plugin(small=WithModel, large=MaybeModel, always=Complete))
    store(t2i.home, "small/1", 10)
    store(t2i.home, "large/1", 10_000)
    assert defaults.name("captioner") == "large"


def test_of_models_that_stand_in_the_first_that_is_listed_is_meant(t2i: Runner, tmp_path: Path) -> None:
    first, second = shipped(tmp_path, "usual/starter", 10), shipped(tmp_path, "also/starter", 10_000)
    t2i.use(Plugin(first, second, also=WithModel, usual=WithModel))
    assert defaults.name("captioner") == "usual"


def test_a_model_of_ones_own_goes_before_any_that_stands_in(t2i: Runner, tmp_path: Path) -> None:
    t2i.use(Plugin(shipped(tmp_path, "usual/starter", 10_000), usual=WithModel, other=WithModel))
    store(t2i.home, "other/own", 10)
    assert defaults.name("captioner") == "other"


def test_without_models_one_that_needs_nothing_is_meant(t2i: Runner) -> None:
    t2i.use(Plugin(asks=WithFile, heavy=WithModel, maybe=MaybeModel, works=Complete))
    assert defaults.name("captioner") == "works"


def test_backends_without_a_model_are_named_in_the_error(t2i: Runner) -> None:
    t2i.use(Plugin(heavy=WithModel))
    with pytest.raises(T2IError, match=r"there is a captioner \(heavy\) but no model for it"):
        defaults.name("captioner")


def test_with_nothing_the_error_says_what_to_install(t2i: Runner) -> None:
    with pytest.raises(T2IError, match="no captioner is installed") as error:
        defaults.name("captioner")
    assert "t2i install plugins/clipcap in the source tree" in str(error.value.hint)


class Either(msgspec.Struct, frozen=True):
    model: Model | None = None
    weights: Annotated[str | None, Meta(description="instead of a model", extra=ELSEWHERE)] = None


def test_weights_named_in_place_of_a_model_leave_the_default_model_out(t2i: Runner) -> None:
    t2i.use(Plugin(either=Either))
    store(t2i.home, "either/1", 10)
    _, chosen = configure.configure("captioner", "either")
    assert chosen.model.name == "either/1"
    for model in ({}, {"model": None}):
        _, chosen = configure.configure("captioner", "either", {"weights": "elsewhere", **model})
        assert chosen == Either(weights="elsewhere")
    _, chosen = configure.configure("captioner", "either", {"weights": None})
    assert chosen.model.name == "either/1"


@pytest.mark.parametrize(
    ("kind", "name", "setting"),
    [
        ("embedder", "clip", "pretrained"),
        ("embedder", "chinese-clip", "source"),
        ("tokenizer", "chinese", "vocabulary"),
        ("tokenizer", "json", "file"),
    ],
)
def test_our_backends_mark_their_settings_that_do_so(t2i: Runner, kind: str, name: str, setting: str) -> None:
    assert settings.is_replaced(discovery.find(kind, name).settings, {setting: "x"}, "model")
