"""The list of models of public hubs, and the names that messages give to users."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path

import pytest

import t2icli
from t2icli.contract.kinds import KINDS
from t2icli.registry import catalogue, discovery
from t2icli.store import hub, models
from t2icli.testing import FakeHub, Runner

SOURCES = catalogue.sources()
MESSAGES = json.loads((Path(t2icli.__file__).parent / "locale/zh.json").read_text(encoding="utf-8"))


@functools.cache
def built_in() -> set[str]:
    return {name for of_kind in discovery.collect([]).offers.values() for name in of_kind}


def test_the_list_has_models_of_every_kind_that_hubs_have() -> None:
    assert len(SOURCES) >= 30
    assert {source.kind for source in SOURCES} >= {"generator", "embedder", "ranker", "captioner"}
    assert all(source.kind in KINDS for source in SOURCES)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_each_line_can_be_pulled(source: t2icli.ModelSource) -> None:
    assert models.NAME.fullmatch(source.name) and source.about
    assert hub.parse(source.repository)
    backend = source.name.partition("/")[0]
    assert catalogue.plugin_of(backend) or backend in built_in()
    assert source.is_noncommercial or not hub.is_noncommercial(source.licence)


def test_a_model_whose_plugin_is_missing_says_how_to_get_it(t2i: Runner, fake_hub: FakeHub) -> None:
    row = next(row for row in t2i.ok("models", "list", "--json").json() if row["name"] == "diffusers/z-image-turbo")
    assert (row["plugin"], row["chinese"], row["kind"]) == ("t2icli-diffusers", True, "generator")
    refused = t2i.fails("models", "pull", "diffusers/z-image-turbo", says="backend 'diffusers' is not installed")
    assert "t2i install plugins/diffusers" in refused.stderr
    t2i.fails("models", "pull", "hf:a/b", "--as", "hub-clip", says="backend 'hub-clip' is not installed")
    assert not fake_hub.asked


def test_every_model_that_a_message_tells_to_pull_is_listed(t2i: Runner) -> None:
    told = {name for message in MESSAGES for name in re.findall(r"models pull ([a-z][\w.-]*/[\w.-]+)", message)}
    assert told and told <= {source.name for source in discovery.installed().sources}


def test_a_plugins_own_word_on_a_model_goes_before_the_list(t2i: Runner) -> None:
    class Plugin:
        @t2icli.hookimpl
        def t2i_models(self) -> list[t2icli.ModelSource]:
            return [t2icli.ModelSource("diffusers/z-image-turbo", "our own", "MIT", repository="hf:our/own")]

    t2i.use(Plugin())
    rows = [row for row in t2i.ok("models", "list", "--json").json() if row["name"] == "diffusers/z-image-turbo"]
    assert [row["about"] for row in rows] == ["our own"]
