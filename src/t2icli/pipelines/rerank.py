"""Sort pictures by how well they fit a prompt."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from t2icli.ground import files
from t2icli.ground.errors import T2IError
from t2icli.pipelines import image_files, scoring
from t2icli.pipelines.output_file import OutputFile

if TYPE_CHECKING:
    from PIL.Image import Image


class Line(msgspec.Struct, frozen=True):
    """A line of `--output`: a file as it was when it was scored."""

    path: Path
    size: int
    modified: int
    """In nanoseconds, as the file system gives it."""
    pixels: str
    """The hash of the picture itself."""
    scores: dict[str, float]

    def is_current(self) -> bool:
        with contextlib.suppress(OSError):
            stat = os.stat(self.path)
            return (self.size, self.modified) == (stat.st_size, stat.st_mtime_ns)
        return False


class ScoredPicture(NamedTuple):
    """What is kept of every picture until all are scored: little, for there may be many."""

    path: Path
    pixels: bytes
    scores: tuple[float, ...]
    """One for each ranker, in their order."""


class RankedPicture(NamedTuple):
    """A picture in its place."""

    rank: int
    path: Path
    score: float
    scores: dict[str, float]
    same_as: Path | None = None
    """An earlier file with the very same pixels."""


@dataclass(frozen=True)
class Ranking:
    """The best, best first, and the files that are no pictures with the reason."""

    prompt: str
    ranked: list[RankedPicture]
    unreadable: dict[Path, str]


def rerank(
    prompt: str,
    paths: Sequence[Path],
    judges: Sequence[scoring.Judge],
    *,
    top: int | None = None,
    at_once: int | None = None,
    output: OutputFile | None = None,
    scored: Callable[[int], None] = lambda count: None,
) -> Ranking:
    """Judge every picture; the same pixels are judged once. Equal scores stay in the order given.

    Scores in `output` are used for files that have not changed since, and new ones are added to it.
    """
    known: dict[bytes, tuple[float, ...]] = {}
    """By the hash of the pixels."""
    names = [judge.name for judge in judges]
    done = {} if output is None else _unchanged(output, paths, names, known)
    scored(len(done))
    unreadable: dict[Path, str] = {}
    stats: dict[Path, os.stat_result] = {}
    rest = _with_stat([path for path in paths if path not in done], stats)
    for batch in image_files.opened(rest, at_once or scoring.AT_ONCE, unreadable.__setitem__):
        new = _judge(prompt, batch, judges, known)
        if output is not None:
            output.add(_lines(new, names, stats))
        stats.clear()
        done.update((each.path, each) for each in new)
        scored(len(batch))
    if not done:
        raise T2IError(f"none of {len(paths)} files is a picture", next(iter(unreadable.values())))
    return Ranking(prompt, _ranked([done[path] for path in paths if path in done], judges, top), unreadable)


def made_with(prompt: str, judges: Sequence[scoring.Judge], sound: str | None = None) -> dict[str, Any]:
    """What decides the scores, for the settings of an output file; `sound` is a hash."""
    rankers = {judge.name: {**judge.settings, "sha256": judge.model and judge.model.sha256} for judge in judges}
    return {"prompt": prompt, "sound": sound, "ranker": {name: _scoring(of) for name, of in rankers.items()}}


def _scoring(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Without what changes no score beyond rounding."""
    return {key: value for key, value in settings.items() if key not in ("batch", "device")}


def _unchanged(
    output: OutputFile, paths: Sequence[Path], names: Sequence[str], known: dict[bytes, tuple[float, ...]]
) -> dict[Path, ScoredPicture]:
    """The lines of files that are still as they were; all that were scored are noted in `known`."""
    done: dict[Path, ScoredPicture] = {}
    same = {path: path for path in paths}  # one object for each of many paths
    for line in output.results(Line):
        if line.scores.keys() != set(names):
            raise T2IError(f"a line of '{output.path}' lacks scores of {', '.join(names)}", "use --force")
        pixels = bytes.fromhex(line.pixels)
        scores = known.setdefault(pixels, tuple(line.scores[name] for name in names))
        path = same.get(line.path)
        if path is not None and line.is_current():
            done[path] = ScoredPicture(path, pixels, scores)
        else:
            done.pop(line.path, None)
    return done


def _judge(
    prompt: str,
    batch: Sequence[tuple[Path, Image]],
    judges: Sequence[scoring.Judge],
    known: dict[bytes, tuple[float, ...]],
) -> list[ScoredPicture]:
    """The scores of pictures, of which those not in `known` are judged and added to it."""
    from t2icli.pictures.images import pixels_sha256

    pixels = [bytes.fromhex(pixels_sha256(image)) for _, image in batch]
    new = {key: image for key, (_, image) in zip(pixels, batch, strict=True) if key not in known}
    columns = [judge.score(prompt, list(new.values())) for judge in judges] if new else []
    known.update(zip(new, zip(*columns, strict=True), strict=True))
    return [ScoredPicture(path, key, known[key]) for key, (path, _) in zip(pixels, batch, strict=True)]


def _with_stat(paths: Iterable[Path], stats: dict[Path, os.stat_result]) -> Iterator[Path]:
    """The paths, each looked at before it is read: a file that changes afterwards counts as changed."""
    for path in paths:
        with contextlib.suppress(OSError):
            stats[path] = os.stat(path)
        yield path


def _lines(scored: Sequence[ScoredPicture], names: Sequence[str], stats: dict[Path, os.stat_result]) -> Iterator[Line]:
    for path, pixels, scores in scored:
        if stat := stats.pop(path, None):
            named = dict(zip(names, scores, strict=True))
            yield Line(path, stat.st_size, stat.st_mtime_ns, pixels.hex(), named)


def _ranked(done: Sequence[ScoredPicture], judges: Sequence[scoring.Judge], top: int | None) -> list[RankedPicture]:
    names = [judge.name for judge in judges]
    first: dict[bytes, int] = {}
    for index, each in enumerate(done):
        first.setdefault(each.pixels, index)
    rows = [dict(zip(names, done[index].scores, strict=True)) for index in first.values()]
    combined = dict(zip(first, scoring.combined(judges, rows), strict=True))
    order = sorted(range(len(done)), key=lambda index: -combined[done[index].pixels])
    return [
        RankedPicture(rank, each.path, combined[each.pixels], dict(zip(names, each.scores, strict=True)), same_as)
        for rank, index in enumerate(order[:top], start=1)
        for each in [done[index]]
        for same_as in [None if first[each.pixels] == index else done[first[each.pixels]].path]
    ]


def _copy(source: Path, target: Path) -> None:
    with files.whole(target) as draft:
        shutil.copy2(source, draft)


def _move(source: Path, target: Path) -> None:
    try:
        os.rename(source, target)
    except OSError:  # onto another disk
        _copy(source, target)
        source.unlink()


FILING: dict[str, Callable[[Path, Path], object]] = {
    "copy": _copy,
    "move": _move,
    "link": lambda source, target: os.symlink(source.resolve(), target),
}
"""What `file` can do with a picture."""


def file(ranked: Sequence[RankedPicture], folder: Path, how: str) -> list[Path]:
    """Copy, move or link pictures into a folder, in names that sort by rank; nothing there is replaced."""
    targets = [folder / f"{each.rank:03d}-{each.path.name}" for each in ranked]
    if taken := [target for target in targets if target.exists() or target.is_symlink()]:
        raise T2IError(f"'{taken[0]}' already exists", f"use another folder for --{how}")
    folder.mkdir(parents=True, exist_ok=True)
    for each, target in zip(ranked, targets, strict=True):
        FILING[how](each.path, target)
    return targets
