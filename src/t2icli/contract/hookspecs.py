"""The hooks a plugin can implement. Each docstring is that hook's manual; `docs/hooks.md` has examples.

A plugin is a module (or object) named by an entry point in the group `t2icli`. Hooks return entries;
no registry is passed in. Keep the module light: import torch inside `Entry.load` only.
"""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from t2icli.contract.entries import Command, Entry
from t2icli.contract.kinds import (
    Captioner,
    Codec,
    DatasetPreparer,
    Embedder,
    Generator,
    LatentCodec,
    Metric,
    Ranker,
    Tokenizer,
)
from t2icli.contract.recipes import Fit, Recipe
from t2icli.store.sources import ModelSource

PROJECT = "t2icli"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def t2i_tokenizers() -> Iterable[Entry[Tokenizer]]:
    """Ways to turn text into ids: the `tokenizer` part of a generator."""
    raise NotImplementedError  # pluggy never calls a specification's body


@hookspec
def t2i_embedders() -> Iterable[Entry[Embedder]]:
    """Joint spaces of texts and images. Each is offered as a ranker of the same name for free."""
    raise NotImplementedError


@hookspec
def t2i_codecs() -> Iterable[Entry[Codec] | Entry[LatentCodec]]:
    """Ways to turn images into discrete codes, or into latents, and back: the `codec` part of a generator."""
    raise NotImplementedError


@hookspec
def t2i_generators() -> Iterable[Entry[Generator]]:
    """Ways to draw images for a prompt: `t2i generate --model NAME`."""
    raise NotImplementedError


@hookspec
def t2i_rankers() -> Iterable[Entry[Ranker]]:
    """Ways to score images against a prompt: `t2i rerank --ranker NAME`, `t2i generate --rerank NAME`."""
    raise NotImplementedError


@hookspec
def t2i_captioners() -> Iterable[Entry[Captioner]]:
    """Ways to describe images: `t2i caption --model NAME`."""
    raise NotImplementedError


@hookspec
def t2i_recipes() -> Iterable[Entry[Recipe] | Entry[Fit]]:
    """Things that can be trained: `t2i train NAME`."""
    raise NotImplementedError


@hookspec
def t2i_datasets() -> Iterable[Entry[DatasetPreparer]]:
    """Sources of picture-text pairs: `t2i prepare NAME SOURCE`."""
    raise NotImplementedError


@hookspec
def t2i_metrics() -> Iterable[Entry[Metric]]:
    """Ways to tell how unlike two pictures look: what codecs are trained and judged by."""
    raise NotImplementedError


@hookspec
def t2i_models() -> Iterable[ModelSource]:
    """Models this plugin ships or knows where to download: `t2i models list`, `t2i models pull NAME`."""
    raise NotImplementedError


@hookspec
def t2i_commands() -> Iterable[Command]:
    """Commands of `t2i`, as those that come with it are announced. A command's module is imported when it runs."""
    raise NotImplementedError
