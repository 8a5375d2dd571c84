"""Sort pictures by how well they fit a prompt."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from t2icli.engine.jobs import Job, Make
from t2icli.ground import files, journal
from t2icli.ground.batches import batched
from t2icli.ground.errors import T2IError
from t2icli.pipelines import image_files, scoring
from t2icli.pipelines.caption import UnreadableFile
from t2icli.pipelines.mixture import AudioFile
from t2icli.pipelines.output_file import OutputFile
from t2icli.registry.open import Choice

if TYPE_CHECKING:
    from PIL.Image import Image


SUFFIX = ".jsonl"


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
    """The best, best first, and the unreadable files with the reason."""

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
    rest = [path for path in paths if path not in done]
    for new, lines in _scored(prompt, rest, judges, known, at_once, unreadable):
        if output is not None:
            output.add(lines)
        done.update((each.path, each) for each in new)
        scored(len(new))
    return _ranking(prompt, paths, done, unreadable, judges, top)


def _ranking(
    prompt: str,
    paths: Sequence[Path],
    done: Mapping[Path, ScoredPicture],
    unreadable: dict[Path, str],
    judges: Sequence[scoring.Weighed],
    top: int | None,
) -> Ranking:
    if not done:
        raise T2IError(f"none of {len(paths)} files is a picture", next(iter(unreadable.values())))
    return Ranking(prompt, _ranked([done[path] for path in paths if path in done], judges, top), unreadable)


def _scored(
    prompt: str,
    paths: Sequence[Path],
    judges: Sequence[scoring.Judge],
    known: dict[bytes, tuple[float, ...]],
    at_once: int | None,
    unreadable: dict[Path, str],
) -> Iterator[tuple[list[ScoredPicture], list[Line]]]:
    """The scores of some pictures at a time, and the lines that record them."""
    stats: dict[Path, os.stat_result] = {}
    names = [judge.name for judge in judges]
    for batch in image_files.opened(_with_stat(paths, stats), at_once or scoring.AT_ONCE, unreadable.__setitem__):
        new = _judge(prompt, batch, judges, known)
        yield new, list(_lines(new, names, stats))
        stats.clear()


@dataclass(frozen=True)
class Scoring:
    """How pictures are scored; what every worker of a job is given."""

    prompt: str
    judges: Mapping[str, tuple[float, Choice]]
    at_once: int | None = None
    audio: AudioFile | None = None
    """A sound that takes the place of the prompt."""
    listener: Choice | None = None
    """What embeds the sound. It is opened once, also where it is the judge."""

    @property
    def audio_sha256(self) -> str | None:
        return None if self.audio is None else self.audio.sha256

    @property
    def weighed(self) -> list[scoring.Weight]:
        return [scoring.Weight(name, weight) for name, (weight, _) in self.judges.items()]

    def open(self) -> list[scoring.Judge]:
        if self.audio is None or self.listener is None:
            return scoring.opened(self.judges)
        sound = self.audio.embedded(self.listener.open())
        others = {name: each for name, each in self.judges.items() if each[1] != self.listener}
        if not others:
            return [scoring.by_listener(name, sound) for name in self.judges]
        return scoring.by_sound(scoring.opened(others), sound)

    def __call__(self) -> Make:
        return partial(_write, self, self.open())


def job(paths: Sequence[Path], reads: tuple[Path, ...], output: Path, how: Scoring, shard_rows: int) -> Job:
    """The job that scores the pictures; a later run must have the same ones."""
    plan = {
        "job": "rerank",
        "prompt": how.prompt,
        "sound": how.audio_sha256,
        "pictures": len(paths),
        "keys": hashlib.sha256("\n".join(map(str, paths)).encode("utf-8", "surrogateescape")).hexdigest(),
        "shard_rows": shard_rows,
        "ranker": scoring.plan(how.judges),
    }
    return Job(output, plan, batched(paths, shard_rows), how, SUFFIX, reads)


def _write(how: Scoring, judges: Sequence[scoring.Judge], paths: Sequence[Path], draft: Path) -> None:
    """The shard of some pictures: a line for each."""
    unreadable: dict[Path, str] = {}
    for _, lines in _scored(how.prompt, paths, judges, {}, how.at_once, unreadable):
        journal.append(draft, (msgspec.to_builtins(line, enc_hook=str) for line in lines))
    journal.append(draft, ({"path": str(path), "reason": reason} for path, reason in unreadable.items()))


def joined(shards: Iterable[Path], paths: Sequence[Path], how: Scoring, top: int | None) -> Ranking:
    """The ranking of all that the shards hold."""
    done: dict[Path, ScoredPicture] = {}
    unreadable: dict[Path, str] = {}
    for shard in shards:
        for line in OutputFile(shard, "rerank").results(lambda fields: UnreadableFile if "reason" in fields else Line):
            if isinstance(line, UnreadableFile):
                unreadable[line.path] = line.reason
            else:
                scores = tuple(line.scores[each.name] for each in how.weighed)
                done[line.path] = ScoredPicture(line.path, bytes.fromhex(line.pixels), scores)
    return _ranking(how.prompt, paths, done, unreadable, how.weighed, top)


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


def _ranked(done: Sequence[ScoredPicture], judges: Sequence[scoring.Weighed], top: int | None) -> list[RankedPicture]:
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
