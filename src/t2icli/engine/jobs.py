"""A job cut into chunks, each of which becomes one file, its shard: what is done is what is there.

A shard appears by renaming under its chunk's number. So each chunk counts once however often it is tried, and a run
that was killed continues with the chunks that have no shard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from t2icli.ground import files, toml
from t2icli.ground.errors import T2IError

PLAN = "plan.toml"
"""The settings that the output was begun with."""
FOLDER = "shards"

Chunk = Sequence[Any]
"""Some rows; it must pickle."""
Make = Callable[[Any, Path], None]
"""Writes the shard of a chunk to a file."""


@dataclass(frozen=True)
class Job:
    """What is to be done, whichever process does it."""

    output: Path
    settings: Mapping[str, Any]
    """All that the shards depend on, as plain tables. A later run in the same folder must have the same."""
    chunks: Iterable[Chunk]
    """The same ones in the same order in every run. They are read once, as they are needed."""
    load: Callable[[], Make]
    """Called once in every worker, to load models; must pickle."""
    suffix: str
    reads: tuple[Path, ...] = ()
    """What `load` and `make` open: all machines must see it."""

    def shard(self, number: int) -> Path:
        return self.output / FOLDER / f"{number:06d}{self.suffix}"

    def finished(self) -> set[int]:
        """The numbers of the chunks that have a shard."""
        names = (path.stem for path in (self.output / FOLDER).glob(f"*{self.suffix}"))
        return {int(name) for name in names if name.isdecimal()}


def noted(output: Path) -> dict[str, Any]:
    """The settings that the output was begun with; none where it was not."""
    path = output / PLAN
    return toml.read(path) if path.is_file() else {}


def begin(job: Job) -> None:
    """Note the settings, and refuse a folder that was begun with others; remove what a killed run left half written."""
    path = job.output / PLAN
    folder = job.output / FOLDER
    if not path.is_file() and job.output.is_dir() and any(not name.startswith(".") for name in _names(job.output)):
        raise T2IError(f"'{job.output}' holds something else already", "give another --output")
    wanted = dict(_flat(job.settings))
    before = dict(_flat(noted(job.output))) if path.is_file() else wanted
    for key in {**before, **wanted}:
        if before.get(key) != wanted.get(key):
            raise T2IError(
                f"'{job.output}' was started with {key} = {before.get(key)}, now it is {wanted.get(key)}",
                "use another --output, or the same settings",
            )
    folder.mkdir(parents=True, exist_ok=True)
    if not path.is_file():
        files.write(path, toml.dumps(job.settings), durable=True)
    sweep(job)


def sweep(job: Job) -> None:
    """Remove the shards that were never finished."""
    for draft in (job.output / FOLDER).glob(".*.part"):
        draft.unlink(missing_ok=True)


def write(job: Job, number: int, chunk: Any, make: Make) -> None:
    """Make the shard of one chunk, unless it is there."""
    path = job.shard(number)
    if path.is_file():
        return
    with files.whole(path, durable=True) as draft:
        make(chunk, draft)


def name_of(row: Any) -> str:
    """A row as messages name it: the last field of a tuple, by its name if it has one."""
    thing = row[-1] if isinstance(row, tuple) else row
    return str(thing if isinstance(thing, Path) else getattr(thing, "name", thing))


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def _flat(tables: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Every value by its dotted key, as TOML keeps it."""
    for key, value in tables.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{key}.")
        elif value is not None:
            yield f"{above}{key}", list(value) if isinstance(value, tuple) else value
