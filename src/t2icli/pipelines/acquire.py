"""How models come into the store: converted from files, or downloaded by a plugin's directions."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from t2icli.contract.kinds import Entry, ModelSource, RemoteFile, Upstream
from t2icli.ground.errors import T2IError, did_you_mean
from t2icli.pipelines import adopt
from t2icli.pipelines import models as work
from t2icli.registry import discovery
from t2icli.store import download, models
from t2icli.store.models import Model

if TYPE_CHECKING:
    import filelock


def import_files(
    backend: str | None,
    files: Sequence[Path],
    *,
    name: str | None = None,
    parts: Mapping[str, Sequence[Path]] | None = None,
) -> Model:
    """Convert files of another project, or take a finished model folder, into the store."""
    folder = models.folder_of(files[0]) if len(files) == 1 else None
    finished = models.open_model(folder) if folder is not None else None
    upstream = Upstream(
        tuple(map(_readable, files)),
        {part: tuple(map(_file_or_model, paths)) for part, paths in (parts or {}).items()},
    )
    if backend is None and finished is None:
        raise T2IError(
            "cannot tell which backend the files are for",
            f"add --as BACKEND, one of: {', '.join(sorted({*_converters(), *adopt.adopters()}))}",
        )
    owner = backend or finished.card.backend  # type: ignore[union-attr]
    full = _full_name(owner, name or _as_name(_title(files[0])))
    with _making(full) as draft:
        if draft is None:
            raise T2IError(f"there is already a model {full!r}", "choose another name with --name")
        if finished is not None:
            _take(finished, owner, draft)
        elif len(files) == 1 and files[0].is_dir() and (entry := adopt.adopter(owner)) is not None:
            adopt.adopt_folder(entry, files[0], draft)
        else:
            _convert(_converter(owner), upstream, draft)
    return models.open_model(models.store() / full, full)


def _take(model: Model, backend: str, folder: Path) -> None:
    """Copy a model whose every byte is as its card says."""
    model.check_made_for(backend)
    if problems := list(work.problems(model)):
        raise T2IError(problems[0], code=1)
    models.copy(model, folder)


def _converters() -> dict[str, Entry[object]]:
    """The entries, of whatever kind, that can read files of other projects."""
    kinds = discovery.installed().offers.values()
    return {name: offer.entry for of_kind in kinds for name, offer in of_kind.items() if offer.entry.convert}


def _converter(backend: str) -> Entry[object]:
    if adopt.adopter(backend) is not None:
        raise T2IError(f"{backend!r} imports a whole repository, not single files", "give the folder it lies in")
    able = _converters()
    if backend not in able:
        raise T2IError(
            f"no backend called {backend!r} can import files", did_you_mean(backend, [*able, *adopt.adopters()])
        )
    return able[backend]


def _file_or_model(path: Path) -> Path:
    """A part is given as a file, or as a model by its folder or its name in the store."""
    if not path.exists() and path.as_posix() in (places := models.places(discovery.installed().sources)):
        return places[path.as_posix()]
    return _readable(path)


def _readable(path: Path) -> Path:
    if not path.exists():
        raise T2IError(f"no file {str(path)!r}")
    if path.is_file() and not path.stat().st_size:
        raise T2IError(f"{str(path)!r} is empty", "the download may be incomplete")
    return path


def _title(path: Path) -> str:
    """What a file or folder is called; a snapshot in a hub's cache, whose folder is a number, like its repository."""
    name = adopt.origin(path).partition("@")[0].rpartition("/")[2]
    return name or (path.absolute().name if path.is_dir() else path.stem)


def _as_name(stem: str) -> str:
    """A file's name as the second half of a model's."""
    return re.sub(r"[^a-z0-9._-]+", "-", stem.lower()).strip("-._") or "imported"


def _full_name(backend: str, what: str) -> str:
    full = what if what.startswith(f"{backend}/") else f"{backend}/{what}"
    if not models.NAME.fullmatch(full):
        raise T2IError(f"{full!r} cannot be a model's name", "a name is backend/what, of a-z, 0-9, '.', '_' and '-'")
    return full


@contextlib.contextmanager
def _making(name: str) -> Iterator[Path | None]:
    """An empty folder that becomes the model `name` if all goes well; None if the model is there already.

    Two processes that make the same model take turns; what a killed one left behind is swept up.
    """
    import filelock

    place, draft = models.store() / name, models.home() / "making" / name.replace("/", "--")
    draft.parent.mkdir(parents=True, exist_ok=True)
    with _alone(filelock.FileLock(f"{draft}.lock"), name):
        if (place / models.CARD).is_file():
            yield None
            return
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        try:
            yield draft
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(draft, place)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


@contextlib.contextmanager
def _alone(lock: filelock.BaseFileLock, name: str) -> Iterator[None]:
    """Wait for another process that makes the same model, and say so."""
    try:
        lock.acquire(timeout=0)
    except TimeoutError:
        warnings.warn(f"waiting for another t2i that is downloading {name!r}", UserWarning, stacklevel=4)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _convert(entry: Entry[object], upstream: Upstream, folder: Path) -> None:
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


def pull(name: str, tell: download.Tell = lambda *_: None) -> Model:
    """Download a model that a plugin knows of and convert it; nothing to do if it is here."""
    source = _source(name)
    if source.folder is not None:
        return models.open_model(source.folder, source.name)
    if not source.files and source.name not in models.places():
        raise T2IError(
            f"{source.name!r} cannot be downloaded: there is no address for it",
            f"once you have its files, run: {models.way_to_get(source)}",
        )
    with _making(source.name) as draft:
        if draft is not None:
            upstream = _downloaded(source, _downloads(source), tell)
            _convert(_converter(work.backend_of(source.name)), upstream, draft)
            _note_origin(source, upstream, draft)
    shutil.rmtree(_downloads(source), ignore_errors=True)
    return models.open_model(models.store() / source.name, source.name)


def _source(name: str) -> ModelSource:
    """The model a plugin knows by this name, or the only one to be got for a backend of this name."""
    known = {source.name: source for source in discovery.installed().sources}
    away = [source for source in known.values() if source.folder is None]
    of_backend = [source for source in away if work.backend_of(source.name) == name]
    if name not in known and len(of_backend) != 1:
        raise T2IError(f"no plugin lists a model {name!r}", did_you_mean(name, known))
    return known[name] if name in known else of_backend[0]


def _downloads(source: ModelSource) -> Path:
    return models.home() / "downloads" / source.name.replace("/", "--")


def _downloaded(source: ModelSource, folder: Path, tell: download.Tell) -> Upstream:
    try:
        files = _fetched(source.files, folder, tell)
        parts = {part: _fetched(remotes, folder / part, tell) for part, remotes in (source.parts or {}).items()}
    except T2IError as error:
        raise T2IError(error.message, "\n  ".join(filter(None, [error.hint, *by_hand(source)])), error.code) from error
    return Upstream(files, parts)


def _fetched(remotes: Sequence[RemoteFile], folder: Path, tell: download.Tell) -> tuple[Path, ...]:
    """Each in a folder of its own: two addresses may end alike."""
    return tuple(download.fetch(remote, folder / str(i), tell) for i, remote in enumerate(remotes))


def by_hand(source: ModelSource) -> Iterator[str]:
    """How to get a model without us: which files, their hashes, and the line that imports them."""
    yield "get these by other means:"
    for remote in work.remotes(source):
        yield f"  {remote.urls[0]}  sha256 {remote.sha256 or 'unpublished'}"
    words = [download.file_name(remote) for remote in source.files]
    for part, remotes in (source.parts or {}).items():
        words += [f"--part {part}={download.file_name(remote)}" for remote in remotes]
    backend, _, what = source.name.partition("/")
    yield f"then run: t2i models import {' '.join(words)} --as {backend} --name {what}"


def _note_origin(source: ModelSource, upstream: Upstream, folder: Path) -> None:
    """Where a model came from and under which licence, for whoever opens its card.

    A hash that upstream never published is noted as it was found: so two downloads can be told apart.
    """
    card = models.open_model(folder).card
    paths = [*upstream.files, *(path for files in upstream.parts.values() for path in files)]
    came_from = " ".join(
        f"{remote.urls[0]} sha256:{remote.sha256 or models.file_sha256(path)}"
        for remote, path in zip(work.remotes(source), paths, strict=True)
    )
    filled = {"about": source.about, "licence": source.licence, "source": came_from}
    models.write_card(folder, msgspec.structs.replace(card, **{k: v for k, v in filled.items() if v}))
