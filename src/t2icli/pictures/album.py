"""The folder pictures are generated into: numbered PNGs, `results.jsonl`, `grid.png`, `index.html`, `settings.toml`.

`results.jsonl` is what counts: a line for every candidate, also of those that were not kept. The grid and the gallery
are made from it anew after every run. A later run continues the numbering and replaces no picture.

Whatever is not finished lies in the run's own hidden folder. A picture leaves it after its row is in `results.jsonl`,
so what a run that was killed has left is either put in its place or removed: by the next run, whenever it files.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from t2icli.ground import files, runfile, toml, workspace
from t2icli.ground.errors import T2IError

if TYPE_CHECKING:
    from PIL.Image import Image

RESULTS = "results.jsonl"
GRID = "grid.png"
GALLERY = "index.html"
PICTURE = re.compile(r"[0-9]{3,200}\.png")
SETTINGS = re.compile(r"settings(-\d+)?\.toml")


class Row(msgspec.Struct):
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


class Album:
    """One such folder."""

    def __init__(self, folder: Path) -> None:
        from filelock import FileLock

        self.folder = folder
        self._lock = FileLock(folder / ".lock")  # one for all uses: a run that was interrupted does not wait for itself
        self._space: Path | None = None

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
                    "let it finish, or choose another --output",
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
        self.results()  # says so if they are damaged
        ours = (self.folder / RESULTS).exists()
        foreign = [name for name in (GRID, GALLERY, runfile.NAME) if not ours and (self.folder / name).exists()]
        if foreign and not force:
            raise T2IError(
                f"'{self.folder / foreign[0]}' already exists and was not written by t2i generate",
                "choose another --output, or replace it with --force",
            )

    def _clear(self) -> None:
        """Until `results.jsonl` is empty the pictures can be put back, and are if this is cut short."""
        with self._locked():
            for row in self.results():
                if row["file"] is not None:
                    with contextlib.suppress(FileNotFoundError):
                        os.replace(self.folder / row["file"], self.space / row["file"])
            self._note([], [])
            self._decide(self.space)
            settings = [path.name for path in self.folder.iterdir() if SETTINGS.fullmatch(path.name)]
            for name in [*settings, GRID, GALLERY]:
                (self.folder / name).unlink(missing_ok=True)

    def _decide(self, space: Path, rows: Sequence[Mapping[str, Any]] | None = None) -> None:
        """Put the pictures of a run that are in `results.jsonl` in their places, and remove the others."""
        pictures = [path for path in space.iterdir() if PICTURE.fullmatch(path.name)]
        if not pictures:
            return
        noted = {row["file"] for row in (self.results() if rows is None else rows)}
        for path in pictures:
            if path.name in noted and not (self.folder / path.name).exists():
                os.replace(path, self.folder / path.name)
            else:
                path.unlink()

    def results(self) -> list[dict[str, Any]]:
        """A row for every candidate ever drawn into this folder."""
        path = self.folder / RESULTS
        if not path.exists():
            return []
        lines = enumerate(path.read_bytes().split(b"\n"), start=1)
        return [_row(line, f"line {number} of '{path}'") for number, line in lines if line.strip()]

    def keep_settings(self, tables: Mapping[str, Any]) -> str:
        """Write `settings.toml`, or `settings-2.toml` ... where an earlier run had other ones; returns its name."""
        text = toml.dumps(tables)
        with self._locked():
            if not (self.folder / RESULTS).exists():  # by which a later run knows that the settings are ours
                self._note([], [])
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
        rows: Iterable[tuple[Image | None, dict[str, Any]]],
        record: Mapping[str, Any],
        filed: list[dict[str, Any]],
    ) -> None:
        """File these pictures in their order; a row without a picture is noted alone. `filed` gets the rows as filed.

        Each PNG carries its row and `record`.

        Should the disk be full half way, the pictures that made it are noted before the error goes on.
        """
        from t2icli.pictures import images

        with self._locked():
            before = self.results()
            number = self._next_number(before)
            written: list[dict[str, Any]] = []
            try:
                for image, row in rows:
                    name = None if image is None else f"{number + sum(r['file'] is not None for r in written):03d}.png"
                    if image is not None and name is not None:
                        images.save_png(image, self.space / name, {**row, **record})
                    written.append({"file": name, **row})
            except BaseException:
                with contextlib.suppress(T2IError):
                    self._note(before, written)
                    filed += written
                raise
            else:
                self._note(before, written)
                filed += written
            finally:
                self._decide(self.space, filed)

    def _note(self, before: Sequence[Mapping[str, Any]], written: Sequence[Mapping[str, Any]]) -> None:
        text = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in (*before, *written))
        os.replace(files.write(self.space / RESULTS, text), self.folder / RESULTS)

    def _next_number(self, rows: Sequence[Mapping[str, Any]]) -> int:
        """Above every number that is taken, or was: `results.jsonl` remembers pictures deleted since."""
        names = [path.name for path in self.folder.iterdir()] + [str(row["file"]) for row in rows]
        return max((int(name[:-4]) for name in names if PICTURE.fullmatch(name)), default=-1) + 1

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        """Runs into one folder take turns; says how many others are alive, after cleaning up behind the dead."""
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
        """Make the gallery and the grid anew from everything in `results.jsonl`."""
        from t2icli.pictures import gallery, images

        with self._locked():
            rows = self.results()
            shown = [row for row in rows if row["file"] is not None and (self.folder / row["file"]).is_file()]
            page = files.write(self.space / GALLERY, gallery.page(shown, candidates=len(rows), distinct=distinct(rows)))
            os.replace(page, self.folder / GALLERY)
        if shown and grid:
            sheet = images.grid([self.folder / row["file"] for row in shown])
            images.save_png(sheet, self.space / GRID, {images.SHEET: len(shown)})
            with self._locked():
                if len(self.results()) == len(rows):  # else a later run makes a fuller one
                    os.replace(self.space / GRID, self.folder / GRID)


def _row(line: bytes, place: str) -> dict[str, Any]:
    """A line of `results.jsonl`, with whatever else it says."""
    try:
        row = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise T2IError(f"{place} is damaged: {error}", "choose another --output") from error
    try:
        msgspec.convert(row, Row)
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
