"""The folder pictures are generated into: numbered PNGs, `results.jsonl`, `grid.png`, `index.html`, `settings.toml`.

`results.jsonl` is what counts: a line for every candidate, also of those that were not kept. The grid and the gallery
are made from it anew after every run. A later run continues the numbering and replaces no picture.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t2icli import config, files, toml
from t2icli.errors import T2IError

if TYPE_CHECKING:
    from PIL.Image import Image

RESULTS = "results.jsonl"
GRID = "grid.png"
GALLERY = "index.html"
PICTURE = re.compile(r"\d{3,}\.png")
SETTINGS = re.compile(r"settings(-\d+)?\.toml")
COLUMNS = {"file", "prompt", "rank", "seed", "score", "scores", "model", "sha256"}
"""What a row of `results.jsonl` has at least."""


class Album:
    """One such folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def prepare(self, *, force: bool = False) -> None:
        """Make the folder; `force` clears out what earlier runs left, and nothing else.

        Files of the same names that no run of ours has made stop it here, before anything is drawn.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise T2IError(
                f"cannot make the folder '{self.folder}': {error.strerror}", "choose another --output", code=1
            ) from error
        self.results()  # says so if they are damaged
        ours = (self.folder / RESULTS).exists()
        foreign = [name for name in (GRID, GALLERY, config.NAME) if not ours and (self.folder / name).exists()]
        if force:
            self._clear()
        elif foreign:
            raise T2IError(
                f"'{self.folder / foreign[0]}' is there already, and no run of t2i generate made it",
                "choose another --output, or replace it with --force",
            )

    def _clear(self) -> None:
        names = [row["file"] for row in self.results() if PICTURE.fullmatch(str(row.get("file")))]
        settings = [path.name for path in self.folder.iterdir() if SETTINGS.fullmatch(path.name)]
        for name in [*names, *settings, GRID, GALLERY, RESULTS]:
            (self.folder / name).unlink(missing_ok=True)

    def results(self) -> list[dict[str, Any]]:
        """A row for every candidate ever drawn into this folder."""
        path = self.folder / RESULTS
        if not path.exists():
            return []
        try:
            rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
        except ValueError as error:
            raise T2IError(f"'{path}' is damaged: {error}", "choose another --output") from error
        if not all(isinstance(row, dict) and row.keys() >= COLUMNS for row in rows):
            raise T2IError(f"'{path}' was not written by t2i generate", "choose another --output")
        return rows

    def keep_settings(self, tables: Mapping[str, Any]) -> str:
        """Write `settings.toml`, or `settings-2.toml` ... where an earlier run had other ones; returns its name."""
        text = toml.dumps(tables)
        for name in _settings_names():
            path = self.folder / name
            if not path.exists():
                files.write(path, text)
                return name
            if path.read_text(encoding="utf-8") == text:
                return name
        raise AssertionError("the names do not end")

    def add(
        self, rows: Iterable[tuple[Image | None, dict[str, Any]]], record: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        """File these pictures in their order; a row without a picture is noted alone. Returns the rows as filed.

        Each PNG carries its row and `record`.

        Should the disk be full half way, the pictures that made it are noted before the error goes on.
        """
        from t2icli import images

        filed: list[dict[str, Any]] = []
        with self._locked():
            number = self._next_number()
            try:
                for image, row in rows:
                    name = None if image is None else f"{number + sum(r['file'] is not None for r in filed):03d}.png"
                    if image is not None and name is not None:
                        images.save_png(image, self.folder / name, {**row, **record})
                    filed.append({"file": name, **row})
            except BaseException:
                with contextlib.suppress(T2IError):
                    self._note(filed)
                raise
            self._note(filed)
        return filed

    def _note(self, rows: Sequence[Mapping[str, Any]]) -> None:
        lines = [json.dumps(row, ensure_ascii=False) for row in [*self.results(), *rows]]
        files.write(self.folder / RESULTS, "".join(f"{line}\n" for line in lines))

    def _next_number(self) -> int:
        """Above every number that is taken, or was: `results.jsonl` remembers pictures deleted since."""
        names = [path.name for path in self.folder.iterdir()] + [str(row["file"]) for row in self.results()]
        return max((int(name[:-4]) for name in names if PICTURE.fullmatch(name)), default=-1) + 1

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Two runs into one folder take turns at filing."""
        from filelock import FileLock

        with FileLock(self.folder / ".lock"):
            yield

    def publish(self) -> None:
        """Make the grid and the gallery anew from everything in `results.jsonl`."""
        from t2icli import gallery, images

        rows = self.results()
        kept = [row for row in rows if row["file"] is not None and (self.folder / row["file"]).is_file()]
        if kept:
            images.save_png(images.grid([self.folder / row["file"] for row in kept]), self.folder / GRID)
        files.write(self.folder / GALLERY, gallery.page(kept, candidates=len(rows)))


def _settings_names() -> Iterator[str]:
    yield config.NAME
    number = 2
    while True:
        yield f"settings-{number}.toml"
        number += 1
