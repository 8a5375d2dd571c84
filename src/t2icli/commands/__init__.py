"""The commands that come with t2i, announced as a plugin announces its own.

Each is a function, or a `typer.Typer` of several, in a module of this package. Those modules stay light: heavy imports
belong inside the pipelines.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from t2icli.contract.entries import Command
from t2icli.contract.hookspecs import hookimpl

PANELS: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "Pictures": {
        "generate": ("generate:generate", "Draw pictures of prompts, best first, with a gallery of them."),
        "rerank": ("rerank:rerank", "Rank pictures by how well they fit a prompt or a sound, best first."),
        "search": ("search:search", "Find the pictures that fit a prompt best."),
        "embed": ("embed:embed", "Turn pictures, texts or sounds into vectors in shards, for `t2i search`."),
        "caption": ("caption:caption", "Describe pictures."),
        "replay": ("replay:replay", "Draw a picture again and compare every pixel."),
    },
    "Data, training, measuring": {
        "prepare": ("prepare:prepare", "Make a dataset to train on from addresses, folders, tables or tars."),
        "train": ("train:train", "Train a model."),
        "evaluate": ("evaluate:app", "Measure rankers, generators, codecs and captioners."),
    },
    "Models and plugins": {
        "models": ("models:app", "List, download, import and remove models."),
        "plugins": ("plugins:app", "List what is installed: generators, rankers, codecs and other plugins."),
        "install": ("plugins:install", "Install plugins into the environment of t2i."),
        "uninstall": ("plugins:uninstall", "Remove a plugin's distribution."),
        "doctor": ("doctor:doctor", "Check packages, devices, plugins, models and disk space."),
    },
}
"""By heading and name: the function in this package, and the line that the list of commands shows."""


@hookimpl
def t2i_commands() -> Iterator[Command]:
    for panel, commands in PANELS.items():
        for name, (place, about) in commands.items():
            yield Command(name, about, f"t2icli.commands.{place}", panel)
