"""`--output FILE.jsonl`: a line for each result as it comes, the settings in FILE.toml; the next run continues it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from t2icli.ground import files, journal, locks, toml
from t2icli.ground.errors import T2IError

T = TypeVar("T")


class OutputFile:
    """Lines of one command, all made with the same settings. Use it through `locked`."""

    def __init__(self, path: Path, command: str) -> None:
        self.path, self.command = path, command
        self.settings = path.with_suffix(".toml")
        self.is_continued = False

    def seed(self) -> int | None:
        """That of the run that began it."""
        seed = toml.read(self.settings).get("seed") if self.settings.exists() else None
        return seed if isinstance(seed, int) else None

    def begin(self, tables: Mapping[str, Any], *, force: bool) -> None:
        """Continue the file if it was written with the very same settings, else start it."""
        text = toml.dumps(tables)
        if force:
            self.path.unlink(missing_ok=True)
        elif self.path.exists() and not (self.settings.exists() and self.settings.read_text(encoding="utf-8") == text):
            raise T2IError(
                f"'{self.path}' already exists and was written with other settings",
                "choose another --output, or replace it with --force",
            )
        self.is_continued = self.path.exists()
        files.write(self.settings, text)
        journal.mend(self.path)
        if not self.path.exists():
            files.write(self.path, "")

    def add(self, results: Iterable[Any]) -> None:
        journal.append(self.path, (msgspec.to_builtins(each, enc_hook=str) for each in results))

    def results(self, kind: Any) -> Iterator[Any]:
        """Those in the file, each as `kind`, which may be a function of its fields that chooses the type."""
        for line in journal.lines(self.path):
            try:
                fields = msgspec.json.decode(line)
                chosen = kind if isinstance(kind, type) else kind(fields)
                yield msgspec.convert(fields, chosen, dec_hook=lambda of, value: of(value))
            except (msgspec.MsgspecError, TypeError) as error:
                message = f"a line of '{self.path}' was not written by t2i {self.command}: {error}"
                raise T2IError(message, "use --force") from error


@contextlib.contextmanager
def locked(path: Path, command: str) -> Iterator[OutputFile]:
    """The file, for one run at a time."""
    taken = T2IError(f"another run is writing '{path}'", "wait until it ends, or choose another --output")
    with locks.locked(path.with_name(f".{path.name}.lock"), taken=taken):
        yield OutputFile(path, command)
