"""A repository of a hub, and a plugin whose backends use such repositories."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from t2icli.contract.entries import Entry, Upstream
from t2icli.contract.hookspecs import hookimpl
from t2icli.ground.errors import T2IError
from t2icli.store import models
from t2icli.store.models import Card, Model
from t2icli.store.sources import ModelSource
from t2icli.testing import Runner

NAME = "Some-Owner/Some-Pipeline"
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
FILES = {
    "model_index.json": json.dumps({"_class_name": "Known", "unet": ["diffusers", "UNet"]}).encode(),
    "unet/config.json": b'{"width": 8}',
    WEIGHTS: bytes(range(256)) * 4000,
    "unet/diffusion_pytorch_model.fp16.safetensors": bytes(range(256)) * 2000,
    "unet/diffusion_pytorch_model.bin": b"pickled",
    "LICENSE": b"do as you like",
    "pipeline.py": b"print('not for us')",
}
NEEDED = {"model_index.json", "unet/config.json", WEIGHTS, "LICENSE"}


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    model: Annotated[Model | None, Meta(description="a repository")] = None


def adopt(folder: Path) -> Card:
    index = folder / "model_index.json"
    if not index.is_file():
        raise T2IError(f"'{folder.name}' is no pipeline: it has no model_index.json")
    if (name := json.loads(index.read_bytes())["_class_name"]) != "Known":
        raise T2IError(f"pipeline {name!r} is not known here")
    return Card(kind="generator", backend="pipes", about="a pipeline", config={"class": name})


def convert(upstream: Upstream, folder: Path) -> None:
    names = [path.relative_to(os.path.commonpath(upstream.files)).as_posix() for path in upstream.files]
    (folder / models.WEIGHTS).write_bytes(b"".join(path.read_bytes() for path in upstream.files))
    models.seal(folder, Card(kind="ranker", backend="kiln", about="fired", config={"from": names}))


class Plugin:
    def __init__(self, *sources: ModelSource, wanted: tuple[str, ...] = ()) -> None:
        self.sources, self.wanted = sources, wanted

    @hookimpl
    def t2i_generators(self) -> list[Entry[Any]]:
        return [Entry("pipes", "draws with a pipeline", Settings, lambda settings: None, adopt=adopt)]

    @hookimpl
    def t2i_rankers(self) -> list[Entry[Any]]:
        return [Entry("kiln", "converts", Settings, lambda settings: None, convert, wanted=self.wanted)]

    @hookimpl
    def t2i_models(self) -> list[ModelSource]:
        return list(self.sources)


def pull_it(t2i: Runner, *words: object) -> Model:
    t2i.ok("models", "pull", f"hf:{NAME}", "--as", "pipes", *words)
    return models.find("pipes/some-pipeline")


def left_behind(t2i: Runner) -> list[str]:
    """What a refused pull must not leave: models and half-made ones."""
    folders = [*t2i.home.glob("models/*/*"), *(path for path in t2i.home.glob("making/*") if path.is_dir())]
    return [path.relative_to(t2i.home).as_posix() for path in folders]
