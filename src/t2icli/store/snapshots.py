"""Repositories that a setting names in place of a model: `-o source=OWNER/NAME`. Each is fetched once and then kept.

What the hub's own client has fetched before is used as it is. What is fetched here is of one commit, which is noted: a
branch that moves on the hub changes no result here.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from t2icli.ground import files, locks, toml
from t2icli.ground.errors import T2IError
from t2icli.ground.home import home
from t2icli.store import download, hub, layout, verified, web
from t2icli.store.hub import Reference
from t2icli.store.layout import HubFile

NOTE = "fetched.toml"
WEIGHTS = ("*.safetensors", "*.bin")


class Note(msgspec.Struct, frozen=True):
    """What was fetched of a repository."""

    source: str
    files: dict[str, str]
    """sha256 by path."""


def find(word: str, patterns: Sequence[str] = ()) -> Path | None:
    """A folder with these files of a repository, or with a whole model, if it is on this machine."""
    reference = _reference(word)
    wanted = list(patterns) or ["config.json", "|".join(WEIGHTS)]
    folders = [place(reference), *_cached(reference)]
    return next((folder for folder in folders if all(_matches(folder, pattern) for pattern in wanted)), None)


def _matches(folder: Path, pattern: str) -> bool:
    return any(any(folder.glob(each)) for each in pattern.split("|"))


def fetch(word: str, patterns: Sequence[str] = ()) -> Path:
    """The folder of a repository's files, as `find` gives it; they are downloaded unless they are here."""
    if (here := find(word, patterns)) is not None:
        return here
    reference = _reference(word)
    web.check_online(str(reference))  # before a folder is made for what cannot come
    folder = place(reference)
    with locks.locked(folder.parent / f"{folder.name}.lock"):
        before = _note(folder)
        snapshot = hub.snapshot(hub.parse(before.source) or reference if before else reference)
        chosen = layout.choose(snapshot.files, snapshot.read, pickles=True, patterns=patterns)
        megabytes = sum(file.size for file in chosen) / 1e6
        warnings.warn(f"downloading {snapshot.reference}: {megabytes:.1f} MB", UserWarning, stacklevel=2)
        _download(snapshot, chosen, folder, before)
    return folder


def _download(snapshot: hub.Snapshot, chosen: Sequence[HubFile], folder: Path, before: Note | None) -> None:
    paths = {file.path: download.fetch(snapshot.remote(file), folder) for file in small_first(chosen)}
    hashes = {name: verified.file_sha256(path) for name, path in paths.items()}
    note = Note(str(snapshot.reference), {**(before.files if before else {}), **hashes})
    files.write(folder / NOTE, toml.dumps(msgspec.to_builtins(note)))


def small_first(chosen: Sequence[HubFile]) -> list[HubFile]:
    """Weights last: a folder that has them has all the rest."""
    return sorted(chosen, key=lambda file: (not layout.is_small(file), file.path))


def why_not(error: T2IError) -> str:
    """Why a repository cannot be fetched, to be read after "and"."""
    if isinstance(error, web.CannotDownload):
        offline = "offline" in error.message or "no answer" in (error.hint or "")
        return "there is no network" if offline else f"cannot be fetched: {error.message}"
    return f"cannot be fetched: {error.message}"


def place(reference: Reference) -> Path:
    """Where a repository is kept here."""
    mark = f"@{reference.revision}" if reference.revision else ""
    return home() / "hub" / f"{reference.hub}--{reference.id}{mark}".replace("/", "--")


def _reference(word: str) -> Reference:
    reference = hub.parse(word) or hub.parse(f"hf:{word}")
    assert reference is not None  # else the parser has reported it
    return reference


def _note(folder: Path) -> Note | None:
    with contextlib.suppress(T2IError, msgspec.ValidationError):
        return msgspec.convert(toml.read(folder / NOTE), Note)
    return None


def _cached(reference: Reference) -> Iterator[Path]:
    """Where the hub's own client has kept it."""
    if reference.hub != "hf":
        return
    from huggingface_hub.constants import HF_HUB_CACHE

    root = Path(HF_HUB_CACHE) / f"models--{reference.id}".replace("/", "--")
    with contextlib.suppress(OSError, UnicodeDecodeError):
        commit = (root / "refs" / (reference.revision or "main")).read_text(encoding="utf-8").strip()
        yield root / "snapshots" / commit
    if reference.revision:
        yield root / "snapshots" / reference.revision
