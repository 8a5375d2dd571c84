"""The folder pictures are generated into: numbered PNGs, `results.jsonl`, `grid.png`, `index.html`, `settings.toml`.

`results.jsonl` has a line for every candidate, also of those that were not kept. The grid and the gallery
are made from it again after every run. A later run continues the numbering and replaces no picture.

Lines are appended, and what other runs append is read once, so that a picture costs the same however many there are.

Unfinished files are in the run's own hidden folder. A picture leaves it after its row is in `results.jsonl`,
so leftovers of a killed run are either put in place or removed by the next run when it files pictures.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from t2icli.ground import files, journal, runfile, toml, workspace
from t2icli.ground.errors import T2IError

if TYPE_CHECKING:
    from PIL.Image import Image

RESULTS = "results.jsonl"
GRID = "grid.png"
GALLERY = "index.html"
PAGE = 400
"""Pictures in one page of the gallery: the next ones are in index-2.html and so on."""
SHEET = 256
"""Pictures in the grid: the latest."""
PICTURE = re.compile(r"[0-9]{3,200}\.png")
OURS = re.compile(r"settings(-\d+)?\.toml|index(-\d+)?\.html")
"""Files of a run besides its pictures, of which there may be several."""


class ResultRow(msgspec.Struct):
    """What a row of `results.jsonl` has at least."""

    file: Annotated[str, msgspec.Meta(pattern=rf"\A{PICTURE.pattern}\Z")] | None
    prompt: str
    rank: int
    seed: int
    score: float | None
    scores: dict[str, float]
    model: str
    sha256: str | None
    same_as: int | None = None
    """The seed of an equal picture of the prompt; earlier versions did not look for one."""


class ResultRows:
    """Rows of `results.jsonl` by their places in the file: read when they are needed, so that many need no memory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ranges: list[tuple[int, int]] = []
        self._count = 0

    def append(self, start: int, end: int, count: int) -> None:
        if self._ranges and self._ranges[-1][1] == start:
            start = self._ranges.pop()[0]
        self._ranges.append((start, end))
        self._count += count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (row for start, end in self._ranges for row in _read(self.path, start, end))


class Album:
    """One such folder."""

    def __init__(self, folder: Path) -> None:
        from filelock import FileLock

        self.folder = folder
        self.path = folder / RESULTS
        self.filed = ResultRows(self.path)
        """What was filed through this object."""
        self._lock = FileLock(folder / ".lock")  # one for all uses: a run that was interrupted does not wait for itself
        self._space: Path | None = None
        self._read = 0
        """Bytes of `results.jsonl` that `_number` takes account of."""
        self._number: int | None = None
        """Above every number that is taken, or was; None until the folder is looked through."""

    @property
    def space(self) -> Path:
        """The run's own folder, for what is not finished."""
        if self._space is None:
            raise AssertionError("the album is not open")
        return self._space

    @contextlib.contextmanager
    def opened(self, *, force: bool = False) -> Iterator[Album]:
        """Make the folder and work in it; `force` clears out what earlier runs left, and nothing else.

        Files of the same names that no run of ours has made stop it here, before anything is drawn.
        """
        self._prepare(force=force)
        with self._locked() as others:
            if force and others:
                raise T2IError(
                    f"another t2i generate is working in '{self.folder}', and --force would remove its pictures",
                    "wait for it, or choose another --output",
                )
            space = workspace.Workspace(self.folder)
        try:
            self._space = space.folder
            if force:
                self._clear()
            yield self
        finally:
            self._space = None
            with self._lock:
                self._decide(space.folder)
                space.close()

    def _prepare(self, *, force: bool) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise T2IError(
                f"cannot make the folder '{self.folder}': {error.strerror}", "choose another --output", code=1
            ) from error
        for _ in self.rows():  # says so if one is damaged
            pass
        ours = self.path.exists()
        foreign = [name for name in (GRID, GALLERY, runfile.NAME) if not ours and (self.folder / name).exists()]
        if foreign and not force:
            raise T2IError(
                f"'{self.folder / foreign[0]}' already exists and was not written by t2i generate",
                "choose another --output, or replace it with --force",
            )

    def _clear(self) -> None:
        """Until `results.jsonl` is empty the pictures can be put back, and are if this is cut short."""
        with self._locked():
            for row in self.rows():
                if row["file"] is not None:
                    with contextlib.suppress(FileNotFoundError):
                        os.replace(self.folder / row["file"], self.space / row["file"])
            os.replace(files.write(self.space / RESULTS, ""), self.path)
            self._decide(self.space)
            others = [path.name for path in self.folder.iterdir() if OURS.fullmatch(path.name)]
            for name in [*others, GRID]:
                (self.folder / name).unlink(missing_ok=True)

    def _decide(self, space: Path, noted: Collection[str] | None = None) -> None:
        """Put the pictures of a run that are in `results.jsonl` in their places, and remove the others."""
        pictures = {path.name for path in space.iterdir() if PICTURE.fullmatch(path.name)}
        if pictures and noted is None:
            noted = {row["file"] for row in self.rows() if row["file"] in pictures}
        for name in pictures:
            if name in (noted or ()) and not (self.folder / name).exists():
                os.replace(space / name, self.folder / name)
            else:
                (space / name).unlink()

    def everything(self) -> ResultRows:
        """The same as the rows of a run that has filed them all."""
        rows = ResultRows(self.path)
        rows.append(0, self.path.stat().st_size, sum(1 for _ in self.rows()))
        return rows

    def results(self) -> list[dict[str, Any]]:
        """A row for every candidate ever drawn into this folder."""
        return list(self.rows())

    def rows(self) -> Iterator[dict[str, Any]]:
        """The same, one after the other."""
        return _read(self.path, 0, self.path.stat().st_size) if self.path.exists() else iter(())

    def keep_settings(self, tables: Mapping[str, Any]) -> str:
        """Write `settings.toml`, or `settings-2.toml` ... where an earlier run had other ones; returns its name."""
        text = toml.dumps(tables)
        with self._locked():
            self.path.touch()  # by which a later run knows that the settings are ours
            for name in _settings_names():
                path = self.folder / name
                if not path.exists():
                    os.replace(files.write(self.space / name, text), path)
                    return name
                if path.read_text(encoding="utf-8") == text:
                    return name
        raise AssertionError("the names do not end")

    def add(
        self,
        rows: Iterable[tuple[Image | bytes | None, dict[str, Any]]],
        record: Mapping[str, Any],
        filed: list[dict[str, Any]],
    ) -> None:
        """File these pictures in their order; a row without a picture is noted alone. `filed` gets the rows as filed.

        Each PNG carries its row and `record`; one that comes as the bytes of its file does so already.

        If the disk is full half way, the pictures already written are noted before the error is raised.
        """
        with self._lock:
            number = self._next_number()
            written: list[dict[str, Any]] = []
            noted: list[dict[str, Any]] = []
            try:
                for image, row in rows:
                    name = None
                    if image is not None:
                        number = self._free(number)
                        name, number = f"{number:03d}.png", number + 1
                        _save(image, self.space / name, {**row, **record})
                    written.append({"file": name, **row})
            except BaseException:
                with contextlib.suppress(T2IError):
                    self._note(written)
                    noted = written
                raise
            else:
                self._note(written)
                noted, self._number = written, number
            finally:
                filed += noted
                self._decide(self.space, {row["file"] for row in noted})

    def _note(self, rows: Sequence[Mapping[str, Any]]) -> None:
        start, end = journal.append(self.path, rows)
        self.filed.append(start, end, len(rows))
        if self._read == start:
            self._read = end

    def _next_number(self) -> int:
        """A number above all that are taken, or were: `results.jsonl` remembers pictures deleted since."""
        if self._number is None:
            names = (path.name for path in self.folder.iterdir())
            self._number = max((int(name[:-4]) + 1 for name in names if PICTURE.fullmatch(name)), default=0)
        end = journal.mend(self.path)
        for row in _read(self.path, self._read, end) if end > self._read else ():
            if row["file"] is not None:
                self._number = max(self._number, int(row["file"][:-4]) + 1)
        self._read = end
        return self._number

    def _free(self, number: int) -> int:
        """The number, or the next one that has not been taken since the folder was listed."""
        while (self.folder / f"{number:03d}.png").exists():
            number += 1
        return number

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        """Runs into one folder take turns; yields the number of other live runs, after removing what dead ones left."""
        with self._lock:
            others = 0
            for space in workspace.others(self.folder, self._space):
                if space is None:
                    others += 1
                else:
                    self._decide(space.folder)
                    space.close()
            yield others

    def publish(self, *, grid: bool = True) -> None:
        """Make the gallery and the grid from everything in `results.jsonl`."""
        from t2icli.pictures import images

        with self._locked():
            size = self.path.stat().st_size if self.path.exists() else 0
            latest = self._write_pages()
        if latest and grid:
            sheet = images.grid([self.folder / name for name in latest])
            images.save_png(sheet, self.space / GRID, {images.SHEET: len(latest)})
            with self._locked():
                if self.path.stat().st_size == size:  # else a later run makes one with more pictures
                    os.replace(self.space / GRID, self.folder / GRID)

    def _write_pages(self) -> Collection[str]:
        """The gallery; returns the latest pictures. The first page is put in place last, so that its links lead on."""
        from t2icli.pictures import gallery

        candidates = different = n = 0
        latest: deque[str] = deque(maxlen=SHEET)
        for row in self.rows():
            candidates, different = candidates + 1, different + (row.get("same_as") is None)
            if self._is_kept(row):
                n += 1
                latest.append(row["file"])
        pages = max(1, -(-n // PAGE))
        rows = filter(self._is_kept, self.rows())
        about = gallery.summary(n, candidates, different)
        for number in range(1, pages + 1):
            text = gallery.page(list(islice(rows, PAGE)), about, number, pages)
            files.write(self.space / gallery.name(number), text)
        for number in range(pages, 0, -1):
            os.replace(self.space / gallery.name(number), self.folder / gallery.name(number))
        while (old := self.folder / gallery.name(pages := pages + 1)).exists():
            old.unlink()
        return latest

    def _is_kept(self, row: Mapping[str, Any]) -> bool:
        return row["file"] is not None and (self.folder / row["file"]).is_file()


def _save(image: Image | bytes, path: Path, record: Mapping[str, Any]) -> None:
    from t2icli.pictures import images

    if not isinstance(image, bytes):
        images.save_png(image, path, record)
        return
    with files.whole(path) as draft:
        draft.write_bytes(image)


def read(folder: Path) -> Iterator[dict[str, Any]]:
    """All rows of the album in a folder."""
    path = folder / RESULTS
    yield from _read(path, 0, path.stat().st_size)


def _read(path: Path, start: int, end: int) -> Iterator[dict[str, Any]]:
    """The rows between two places of `results.jsonl`."""
    for number, line in enumerate(journal.lines(path, start, end), start=1):
        if line.strip():
            yield _row(line, f"line {number} of '{path}'" if not start else f"a line of '{path}'")


def _row(line: bytes, place: str) -> dict[str, Any]:
    """A line of `results.jsonl`, with all its fields."""
    try:
        row = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise T2IError(f"{place} is damaged: {error}", "choose another --output") from error
    try:
        msgspec.convert(row, ResultRow)
    except msgspec.ValidationError as error:
        raise T2IError(f"{place} was not written by t2i generate: {error}", "choose another --output") from error
    return dict(row)


def distinct(rows: Iterable[Mapping[str, Any]]) -> int:
    """How many pictures are not equal to an earlier one of their prompt and run."""
    return sum(row.get("same_as") is None for row in rows)


def _settings_names() -> Iterator[str]:
    yield runfile.NAME
    number = 2
    while True:
        yield f"settings-{number}.toml"
        number += 1
