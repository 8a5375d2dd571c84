"""The making of a model folder in the store: its name, its place, who can convert or adopt, one process at a time."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from t2icli.contract.entries import Entry, Upstream
from t2icli.ground import files, locks
from t2icli.ground.errors import T2IError, did_you_mean
from t2icli.registry import catalogue, discovery
from t2icli.store import models


def converters() -> dict[str, Entry[object]]:
    """The entries, of whatever kind, that can read files of other projects."""
    kinds = discovery.installed().offers.values()
    return {name: offer.entry for of_kind in kinds for name, offer in of_kind.items() if offer.entry.convert}


def adopters() -> dict[str, Entry[object]]:
    """The entries, of whatever kind, that use repositories as they are."""
    kinds = discovery.installed().offers.values()
    return {name: offer.entry for of_kind in kinds for name, offer in of_kind.items() if offer.entry.adopt}


def backends() -> list[str]:
    """All names that `--as` may give."""
    return sorted({*converters(), *adopters()})


def converter(backend: str) -> Entry[object]:
    """The entry that reads single files, or an error with what works."""
    if backend in adopters():
        raise T2IError(f"{backend!r} imports a whole repository, not single files", "give its folder")
    able = converters()
    if backend not in able and (plugin := catalogue.plugin_of(backend)):
        raise T2IError(f"backend {backend!r} is not installed", f"run: {discovery.where_to_get(plugin)}")
    if backend not in able:
        raise T2IError(f"no backend called {backend!r} can import files", did_you_mean(backend, backends()))
    return able[backend]


def as_name(stem: str) -> str:
    """A file's name as the second half of a model's."""
    return re.sub(r"[^a-z0-9._-]+", "-", stem.lower()).strip("-._") or "imported"


def full_name(backend: str, what: str) -> str:
    full = what if what.startswith(f"{backend}/") else f"{backend}/{what}"
    if not models.NAME.fullmatch(full):
        raise T2IError(f"{full!r} cannot be a model's name", "a name is backend/what, of a-z, 0-9, '.', '_' and '-'")
    return full


@contextlib.contextmanager
def making(name: str) -> Iterator[Path | None]:
    """An empty folder that becomes the model `name` if all goes well; None if the model is there already.

    Two processes that make the same model take turns; what a killed one left behind is swept up.
    """
    place, draft = models.store() / name, models.home() / "making" / name.replace("/", "--")
    waiting = f"waiting for another t2i that is downloading {name!r}"
    with locks.locked(draft.with_name(f"{draft.name}.lock"), waiting=waiting):
        if (place / models.CARD).is_file():
            yield None
            return
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        try:
            yield draft
            place.parent.mkdir(parents=True, exist_ok=True)
            files.fsync_tree(draft)
            os.replace(draft, place)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def convert(entry: Entry[object], upstream: Upstream, folder: Path) -> None:
    """Convert the files with the entry; an error of a plugin is reported as one."""
    assert entry.convert is not None
    try:
        entry.convert(upstream, folder)
    except (T2IError, OSError):
        raise
    except Exception as error:
        shown = ", ".join(path.name for path in upstream.files)
        raise T2IError(
            f"{entry.name!r} cannot read {shown}: {type(error).__name__}: {str(error)[:200]}",
            "check that the files belong to this backend; t2i plugins lists what can be imported",
            code=1,
        ) from error
    made = models.open_model(folder)
    if made.card.backend != entry.name:
        raise T2IError(f"plugin {entry.name!r} made a model for {made.card.backend!r}: a bug in the plugin", code=1)
