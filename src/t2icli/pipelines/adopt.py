"""Repositories of model hubs as model folders: their files as they are, with a card."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import msgspec

from t2icli.contract.entries import Entry
from t2icli.ground.errors import T2IError
from t2icli.store import layout, models, verified
from t2icli.store.layout import HubFile
from t2icli.store.models import Card

CACHED = re.compile(r"models--(?P<owner>.+?)--(?P<name>.+)/snapshots/(?P<commit>[0-9a-f]{7,64})$")
"""Where the hub's own client keeps what it has fetched."""


def adopt_folder(entry: Entry[object], folder: Path, draft: Path) -> None:
    """A repository in a folder; large files are hard-linked, not copied."""
    wanted = layout.choose(layout.in_folder(folder), lambda name: (folder / name).read_bytes())
    place(folder, wanted, draft)
    models.seal(draft, msgspec.structs.replace(card(entry, draft), source=origin(folder) or folder.name))


def origin(folder: Path) -> str:
    """`hf:OWNER/NAME@COMMIT` for a snapshot in the cache of the hub's client; nothing for other folders."""
    match = CACHED.search(folder.absolute().as_posix())
    return f"hf:{match['owner']}/{match['name']}@{match['commit']}" if match else ""


def place(source: Path, wanted: Iterable[HubFile], draft: Path) -> None:
    """Put files of a repository where they belong in a model folder."""
    for file in wanted:
        target = draft / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        verified.link(source / file.path, target)


def card(entry: Entry[object], folder: Path) -> Card:
    """The card the backend gives a repository, if it can load it."""
    assert entry.adopt is not None
    own = entry.adopt(folder)
    if own.backend != entry.name:
        raise T2IError(f"plugin {entry.name!r} made a model for {own.backend!r}: a bug in the plugin", code=1)
    return own
