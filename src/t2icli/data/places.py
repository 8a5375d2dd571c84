"""Where a dataset is: in a folder, or at an address, whose files come into the cache when they are wanted.

For one at an address a folder of the cache stands on this machine, with the card. All code takes that folder as it
takes any other; only `held`, through which the files of shards are opened, knows the difference.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, ClassVar, Protocol, TypeVar

from t2icli.data import room
from t2icli.ground import files, locks, toml
from t2icli.ground.errors import T2IError, Unreachable
from t2icli.store import remote

T = TypeVar("T")
CARD = "dataset.toml"
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
"""How something on the web starts, as opposed to a path."""
ORIGIN = "address"
"""The file, in a folder of the cache, that says what it stands for."""
FIRST = 8.0
"""Seconds to wait for a store that has not answered yet."""
PATIENCE = 120.0
"""Seconds to wait for one that did, and then stopped."""
LONGEST = 15.0
"""Seconds between two tries."""

Check = Callable[[Path], str | None]
"""What is wrong with a file that has been downloaded; None where nothing is."""


class Place(Protocol):
    """Where the files of a dataset are."""

    @property
    def folder(self) -> Path: ...

    def held(self, name: str, check: Check) -> contextlib.AbstractContextManager[Path]:
        """A file of the dataset, which stays there during the block."""

    def is_here(self, name: str) -> bool: ...

    def bring(self, name: str, check: Check) -> None:
        """Get a file here, unless another process does it already or it cannot be had."""


@dataclass(frozen=True)
class Folder:
    """A dataset on this machine."""

    folder: Path
    is_writable: ClassVar = True

    def __str__(self) -> str:
        return str(self.folder)

    def held(self, name: str, check: Check) -> contextlib.AbstractContextManager[Path]:
        return contextlib.nullcontext(self.folder / name)

    def is_here(self, name: str) -> bool:
        return True

    def bring(self, name: str, check: Check) -> None: ...


@dataclass(frozen=True)
class Mirror:
    """A dataset at an address, and the folder of the cache that stands for it."""

    address: str
    is_writable: ClassVar = False

    def __str__(self) -> str:
        return self.address

    @property
    def folder(self) -> Path:
        return room.folder() / hashlib.sha256(self.address.encode()).hexdigest()[:24]

    def refresh(self) -> None:
        """Get the card as it is now; without the network, the one that was got before has to do."""
        path = self.folder / CARD
        before = _shards(path)
        if os.environ.get("T2I_OFFLINE") and path.is_file():
            return
        try:
            card = patiently(self.address, FIRST, self._card, lambda: 0)
        except remote.NotThere as error:
            hint = "prepare one with t2i prepare, and copy its folder there"
            raise T2IError(f"there is no prepared dataset at '{self.address}': it has no {CARD}", hint) from error
        self._begin()
        with files.whole(path) as draft:
            draft.write_bytes(card)
        for name in (name for name, _ in before - _shards(path)):
            for ending in ("tar", "parquet"):  # what is downloaded is compared with the card, and then trusted
                (self.folder / f"{name}.{ending}").unlink(missing_ok=True)

    def _card(self) -> bytes:
        with remote.opened(f"{self.address}/{CARD}", seconds=FIRST) as stream:
            card = b"".join(stream.blocks)
            if len(card) != stream.total:
                raise remote.NoAnswer(f"only {len(card)} of {stream.total} bytes came")
            return card

    def _begin(self) -> None:
        if not (self.folder / ORIGIN).is_file():
            files.write(self.folder / ORIGIN, self.address)

    def is_here(self, name: str) -> bool:
        return (self.folder / name).is_file()

    @contextlib.contextmanager
    def held(self, name: str, check: Check) -> Iterator[Path]:
        stream = room.use(self.folder / name)
        while stream is None:
            try:
                stream = self._brought(name, check, wait=True)
            except T2IError as error:  # caught as that, it would be an error of a single row
                raise Unreachable(error.message, error.hint) from error
        with stream:
            yield self.folder / name

    def bring(self, name: str, check: Check) -> None:
        with contextlib.suppress(T2IError, OSError):  # whoever needs the file reports it
            stream = self._brought(name, check, wait=False)
            if stream is not None:
                stream.close()

    def _brought(self, name: str, check: Check, *, wait: bool) -> IO[bytes] | None:
        """A file that is here now, and in use. One process downloads it; the others wait, or do without."""
        path = self.folder / name
        self._begin()
        busy = None if wait else T2IError(f"'{name}' is being downloaded already")
        with locks.locked(room.lock_of(path), taken=busy):
            if path.is_file():
                return room.use(path)
            is_resumed = self._draft(name) is not None
            problem = self._download(name, check)
            if problem is not None and is_resumed:  # its old beginning may have been of another file
                problem = self._download(name, check)
            if problem is not None:
                raise T2IError(
                    f"'{self.address}/{name}' is not what the dataset's card says: {problem}",
                    "copy it there again, or, if the dataset has been replaced, run the command again",
                    code=1,
                )
            draft = self._draft(name)
            assert draft is not None
            files.fsync(draft)
            stream = room.use(draft) if room.RENAMES_OPEN else None  # Windows renames no file that is open
            os.replace(draft, path)
            return stream or room.use(path)

    def _draft(self, name: str) -> Path | None:
        """What there is of a file that is not complete."""
        found = ((path, room.DRAFT.fullmatch(path.name)) for path in self.folder.glob(".*.part"))
        return next((path for path, match in found if match and match["name"] == name), None)

    def _download(self, name: str, check: Check) -> str | None:
        """Complete the draft of a file; what is wrong with it, which then is gone."""
        patiently(f"{self.address}/{name}", PATIENCE, lambda: self._append(name), lambda: _size(self._draft(name)))
        draft = self._draft(name)
        problem = check(draft) if draft is not None else "it was removed"
        if problem is not None and draft is not None:
            draft.unlink()
        return problem

    def _append(self, name: str) -> None:
        draft, start = self._draft(name), _size(self._draft(name))
        if draft is not None and draft == self._draft_of(name, start):
            return
        with remote.opened(f"{self.address}/{name}", start) as stream:
            place = self._draft_of(name, stream.total)
            if draft is not None and draft != place:
                draft.unlink()
                raise remote.NoAnswer("it has another size than before")
            room.reserve(place)
            with files.writing(place), place.open("r+b") as out:
                out.seek(stream.start)
                out.truncate()
                for block in stream.blocks:
                    out.write(block)
                if out.tell() != stream.total:
                    raise remote.NoAnswer(f"only {out.tell()} of {stream.total} bytes came")

    def _draft_of(self, name: str, total: int) -> Path:
        return self.folder / f".{name}.{total}.part"


def _shards(card: Path) -> set[tuple[str, str]]:
    """Names and hashes of the shards on a card, as far as it can be read."""
    with contextlib.suppress(T2IError, LookupError, TypeError):
        return {(shard["name"], shard["sha256"]) for shard in toml.read(card)["shards"]}
    return set()


def _size(draft: Path | None) -> int:
    return 0 if draft is None else draft.stat().st_size


def patiently(address: str, seconds: float, work: Callable[[], T], progress: Callable[[], int]) -> T:
    """Try until it works, or until nothing has come for so many seconds."""
    deadline, wait, before = time.monotonic() + seconds, 0.2, progress()
    while True:
        try:
            return work()
        except remote.NoAnswer as problem:
            if progress() > before:
                deadline, wait, before = time.monotonic() + seconds, 0.2, progress()
            if time.monotonic() + wait > deadline:
                message = f"'{address}' could not be read for {seconds:.0f} seconds: {problem}"
                hint = "see whether the store runs and the network reaches it; then run the same command again"
                raise T2IError(message, hint, code=1) from problem
        time.sleep(wait)
        wait = min(2 * wait, LONGEST)


def where(word: Path | str) -> Path:
    """The folder of a dataset; of one at an address, that of the cache, with its card as it is now."""
    if isinstance(word, Path) or not ADDRESS.match(word):
        return Path(word)
    mirror = Mirror(remote.check(word))
    mirror.refresh()
    return mirror.folder


def absolute(word: str) -> str:
    """What is written down of data that was named so."""
    return remote.check(word) if ADDRESS.match(word) else os.path.abspath(word)


def shown(word: str) -> str:
    """How what was written down is typed here."""
    return word if ADDRESS.match(word) else os.path.relpath(word)


def at(folder: Path) -> Folder | Mirror:
    """What is in a folder: a dataset, or what stands for one."""
    origin = folder / ORIGIN
    if origin.is_file() and folder.resolve().parent == room.folder().resolve():
        return Mirror(origin.read_text(encoding="utf-8"))
    return Folder(folder)


def name(path: Path) -> str:
    """What is to be written down of data, to find it again: its address, or the whole path."""
    place = at(path)
    return place.address if isinstance(place, Mirror) else str(path.resolve())


def title(path: Path) -> str:
    """A name for data: the last part of where it is."""
    place = at(path)
    return place.address.rpartition("/")[2] if isinstance(place, Mirror) else path.name


def on_this_machine(path: Path) -> tuple[Path, ...]:
    """What other machines must see too, to read the same data."""
    return () if isinstance(at(path), Mirror) else (path.resolve(),)
