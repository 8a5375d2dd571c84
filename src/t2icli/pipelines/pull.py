"""How models come into the store from the network: by a plugin's directions, or from a repository of a model hub.

A pull is planned first: which files, how many bytes, under which licence. Then it is run.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from t2icli.contract.entries import Entry, Upstream
from t2icli.ground.errors import T2IError, did_you_mean
from t2icli.ground.watch import Watch, unwatched
from t2icli.pipelines import adopt, making
from t2icli.pipelines import models as work
from t2icli.registry import discovery
from t2icli.store import download, hub, layout, models, verified, web
from t2icli.store.hub import Reference, Snapshot
from t2icli.store.layout import HubFile
from t2icli.store.models import Model
from t2icli.store.sources import ModelSource, RemoteFile

LARGE = 2_000_000_000
"""Bytes from which on a download is not begun without asking."""
RESERVE = 2_000_000_000
"""Bytes that a download leaves free on the disk without asking."""


@dataclass(frozen=True)
class PullPlan:
    """What will be downloaded, and what it is for."""

    name: str
    entry: Entry[object]
    source: ModelSource
    files: tuple[RemoteFile, ...]
    """Those of parts included."""
    snapshot: Snapshot | None = None
    wanted: tuple[HubFile, ...] = ()
    """The files of the repository, if it is one."""

    @property
    def origin(self) -> str:
        return str(self.snapshot.reference) if self.snapshot else self.source.name

    @property
    def licence(self) -> str:
        return (self.snapshot.licence if self.snapshot else "") or self.source.licence

    @property
    def is_noncommercial(self) -> bool:
        return self.source.is_noncommercial or hub.is_noncommercial(self.licence)

    @property
    def size(self) -> int | None:
        """Bytes of all files; None if they are unknown before the download."""
        sizes = [file.size for file in self.files]
        return None if None in sizes else sum(size for size in sizes if size)

    @property
    def missing(self) -> int | None:
        """Bytes that are still to be downloaded."""
        return None if self.size is None else self.size - self._fetched()

    @property
    def needed(self) -> int | None:
        """Bytes of disk space that are still needed: a converted model is written beside its files."""
        again = 0 if self.entry.adopt else self.size or 0
        return None if self.missing is None else self.missing + again

    @property
    def free(self) -> int:
        """Bytes on the disk that are free."""
        folder = models.home()
        while not folder.exists():
            folder = folder.parent
        return shutil.disk_usage(folder).free

    def folders(self) -> dict[str, int]:
        """Bytes by folder of the repository."""
        totals: dict[str, int] = {}
        for file in self.wanted:
            totals[file.folder] = totals.get(file.folder, 0) + file.size
        return totals

    def facts(self) -> dict[str, Any]:
        """The plan for programs."""
        named = ("name", "origin", "licence", "is_noncommercial", "size", "missing", "free")
        files = [{"path": download.file_name(file), "size": file.size, "sha256": file.sha256} for file in self.files]
        return {**{name: getattr(self, name) for name in named}, "files": files}

    def _fetched(self) -> int:
        folder = downloads(self.name)
        if not folder.is_dir():
            return 0
        here = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.suffix != ".wrong")
        return min(here, self.size or 0)


def plan(
    word: str,
    *,
    backend: str | None = None,
    name: str | None = None,
    variant: str | None = None,
    patterns: Sequence[str] = (),
) -> PullPlan | Model:
    """What `t2i models pull WORD` will do; the model itself if it is here already."""
    reference = hub.parse(word)
    if reference is None:
        return _plan_known(_source(word), variant)
    backend = backend or _listed_for(reference)
    if backend is None:
        choices = ", ".join(making.backends())
        raise T2IError(f"which backend is {reference} for?", f"add --as BACKEND, one of: {choices}")
    full = making.full_name(backend, name or making.as_name(reference.title))
    source = ModelSource(full, "", "", repository=str(reference), wanted=tuple(patterns), variant=variant)
    return _of_repository(source, reference)


def _listed_for(reference: Reference) -> str | None:
    """The backend that a listed model of this repository has."""
    for source in discovery.installed().sources:
        listed = hub.parse(source.repository) if source.repository else None
        if listed is not None and listed.id.lower() == reference.id.lower():
            return work.backend_of(source.name)
    return None


def _plan_known(source: ModelSource, variant: str | None) -> PullPlan | Model:
    """Of a model that a plugin or our list knows."""
    if source.folder is not None:
        return models.open_model(source.folder, source.name)
    if source.name in (places := models.places()):
        return models.open_model(places[source.name], source.name)
    if not source.can_be_pulled:
        raise T2IError(
            f"{source.name!r} cannot be downloaded: there is no address for it",
            f"once you have its files, run: {models.way_to_get(source)}",
        )
    if reference := hub.parse(source.repository):
        return _of_repository(replace(source, variant=variant or source.variant), reference)
    entry = making.converter(work.backend_of(source.name))
    return PullPlan(source.name, entry, source, tuple(work.remotes(source)))


def _source(name: str) -> ModelSource:
    """The model known by this name, or the only one to be got for a backend of this name."""
    known = {source.name: source for source in discovery.installed().sources}
    away = [source for source in known.values() if source.folder is None]
    of_backend = [source for source in away if work.backend_of(source.name) == name]
    if name not in known and len(of_backend) != 1:
        hint = did_you_mean(name, known)
        raise T2IError(f"no plugin lists a model {name!r}", hint)
    return known[name] if name in known else of_backend[0]


def _of_repository(source: ModelSource, reference: Reference) -> PullPlan | Model:
    backend = work.backend_of(source.name)
    if (model := _already_here(source.name, reference)) is not None:
        return model
    entry = making.adopters().get(backend) or making.converter(backend)
    snapshot = _listed(source, reference)
    patterns = source.wanted or (() if entry.adopt else entry.wanted)
    wanted = layout.choose(
        snapshot.files, snapshot.read, variant=source.variant, pickles=entry.adopt is None, patterns=patterns
    )
    return PullPlan(source.name, entry, source, tuple(map(snapshot.remote, wanted)), snapshot, tuple(wanted))


def _already_here(name: str, reference: Reference) -> Model | None:
    """The model of this name, if it is of this repository, and of this commit where one is asked for."""
    if name not in (places := models.places()):
        return None
    model = models.open_model(places[name], name)
    came_from = hub.parse(model.card.source) if model.card.source else None
    if came_from and came_from.id == reference.id and (came_from.revision or "").startswith(reference.revision or ""):
        return model
    hint = f"choose another name with --name, or remove it: t2i models rm {name}"
    raise T2IError(f"there is already a model {name!r}, from {model.card.source or 'files'}", hint)


def _listed(source: ModelSource, reference: Reference) -> Snapshot:
    try:
        return hub.snapshot(reference)
    except web.CannotDownload as error:
        hint = "\n  ".join(filter(None, [error.hint, *by_hand(source, reference)]))
        raise T2IError(error.message, hint, error.code) from error


def question(plan: PullPlan) -> str | None:
    """What to ask before a large download, or one that nearly fills the disk; one that cannot fit is refused."""
    if plan.missing is None or plan.needed is None:
        return None
    if plan.needed > plan.free:
        raise T2IError(
            f"not enough disk space in {models.home()}: {in_gb(plan.needed)} needed, {in_gb(plan.free)} free",
            "set T2I_HOME to a folder on a larger disk",
            code=1,
        )
    if plan.missing < LARGE and plan.free - plan.needed > RESERVE:
        return None
    return f"download {in_gb(plan.missing)}, and leave {in_gb(plan.free - plan.needed)} free on the disk?"


def in_gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"


def run(plan: PullPlan, watch: Watch = unwatched) -> Model:
    """Download what was planned and make the model of it. What was fetched before a kill is not fetched again."""
    folder = downloads(plan.name)
    with making.making(plan.name) as draft:
        if draft is not None:
            try:
                _make(plan, folder, draft, watch)
            except web.CannotDownload as error:
                ways = by_hand(plan.source, plan.snapshot.reference if plan.snapshot else None)
                raise T2IError(error.message, "\n  ".join(filter(None, [error.hint, *ways])), error.code) from error
    shutil.rmtree(folder, ignore_errors=True)
    return models.open_model(models.store() / plan.name, plan.name)


def downloads(name: str) -> Path:
    return models.home() / "downloads" / name.replace("/", "--")


def _make(plan: PullPlan, folder: Path, draft: Path, watch: Watch) -> None:
    if plan.snapshot is None:
        upstream = _downloaded(plan.source, folder, watch)
        making.convert(plan.entry, upstream, draft)
        return _note_origin(plan.source, upstream, draft)
    if plan.entry.adopt:
        return _adopt(plan, plan.snapshot, folder, draft, watch)
    files = tuple(download.fetch(file, folder, watch) for file in plan.files)
    making.convert(plan.entry, Upstream(files, {}), draft)
    card = models.open_model(draft).card
    models.write_card(draft, _described(plan, card))


def _adopt(plan: PullPlan, snapshot: Snapshot, folder: Path, draft: Path, watch: Watch) -> None:
    """The small files first: the backend may refuse them before the large ones are fetched."""
    small = [file for file in plan.wanted if layout.is_small(file)]
    for file in small:
        download.fetch(snapshot.remote(file), folder, watch)
    adopt.place(folder, small, draft)
    try:
        card = adopt.card(plan.entry, draft)
    except T2IError as error:  # by the name that the user knows, not that of a folder which will be gone
        message = error.message.replace(str(draft), plan.source.repository)
        raise T2IError(message, error.hint, error.code) from error
    weights = [file for file in plan.wanted if not layout.is_small(file)]
    _borrow(weights, folder)
    for file in weights:
        download.fetch(snapshot.remote(file), folder, watch)
    adopt.place(folder, weights, draft)
    models.seal(draft, _described(plan, card))


def _borrow(wanted: Sequence[HubFile], folder: Path) -> None:
    """Use files that another model has already: one network can be a captioner and a ranker."""
    cards = models.installed().values()
    here = {sha256: model.folder / path for model in cards for path, sha256 in model.card.files.items()}
    for file in wanted:
        source, target = here.get(file.sha256 or ""), folder / file.path
        if source is not None and source.is_file() and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            verified.link(source, target)


def _described(plan: PullPlan, card: models.Card) -> models.Card:
    about = plan.source.about or card.about
    own = {**card.settings, **plan.source.settings}
    licence = plan.licence or card.licence
    return msgspec.structs.replace(card, about=about, licence=licence, source=plan.origin, settings=own)


def _downloaded(source: ModelSource, folder: Path, watch: Watch) -> Upstream:
    files = _fetched(source.files, folder, watch)
    parts = {part: _fetched(remotes, folder / part, watch) for part, remotes in (source.parts or {}).items()}
    return Upstream(files, parts)


def _fetched(remotes: Sequence[RemoteFile], folder: Path, watch: Watch) -> tuple[Path, ...]:
    """Side by side under their own names; each in a folder of its own if two have the same name."""
    names = [download.file_name(remote) for remote in remotes]
    apart = len(set(names)) < len(names)
    return tuple(download.fetch(file, folder / str(i) if apart else folder, watch) for i, file in enumerate(remotes))


def by_hand(source: ModelSource, reference: Reference | None = None) -> Iterator[str]:
    """How to get a model without us: which files, their hashes, and the line that imports them."""
    backend, _, what = source.name.partition("/")
    if reference is not None:
        revision = f" --revision {reference.revision}" if reference.revision else ""
        client = "hf download" if reference.hub == "hf" else "modelscope download --model"
        yield f"or fetch it on another machine: {client} {reference.id}{revision} --local-dir {reference.title}"
        files = f"{reference.title}" if backend in making.adopters() else f"{reference.title}/*"
        yield f"then run: t2i models import {files} --as {backend} --name {what}"
        return
    yield "get these by other means:"
    for remote in work.remotes(source):
        yield f"  {remote.urls[0]}  sha256 {remote.sha256 or 'unpublished'}"
    words = [download.file_name(remote) for remote in source.files]
    for part, remotes in (source.parts or {}).items():
        words += [f"--part {part}={download.file_name(remote)}" for remote in remotes]
    yield f"then run: t2i models import {' '.join(words)} --as {backend} --name {what}"


def _note_origin(source: ModelSource, upstream: Upstream, folder: Path) -> None:
    """Where a model came from and under which licence, for its card.

    A hash that upstream never published is noted as computed, so that two downloads can be distinguished.
    """
    card = models.open_model(folder).card
    paths = [*upstream.files, *(path for files in upstream.parts.values() for path in files)]
    came_from = " ".join(
        f"{remote.urls[0]} sha256:{remote.sha256 or models.file_sha256(path)}"
        for remote, path in zip(work.remotes(source), paths, strict=True)
    )
    own = {**card.settings, **source.settings}
    filled = {"about": source.about, "licence": source.licence, "source": came_from, "settings": own}
    models.write_card(folder, msgspec.structs.replace(card, **{k: v for k, v in filled.items() if v}))
