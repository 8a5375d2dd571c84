"""Pictures to captions, the best first if there are judges; they are written as they come."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from t2icli.contract.kinds import Captioner
from t2icli.engine.jobs import Job, Make
from t2icli.ground import files
from t2icli.ground.batches import batched
from t2icli.ground.errors import T2IError
from t2icli.pipelines import scoring
from t2icli.pipelines.evaluate import pairs
from t2icli.pipelines.evaluate.pairs import CaptionedPicture
from t2icli.pipelines.output_file import OutputFile
from t2icli.registry.open import Choice

if TYPE_CHECKING:
    from PIL.Image import Image

AT_ONCE = 8
SUFFIX = ".jsonl"
CAPTIONS = "captions.jsonl"
"""What is made of the shards: all their lines."""


@dataclass(frozen=True)
class CaptionedFile:
    """A picture and its captions, best first; without judges there are no scores."""

    path: Path
    captions: list[str]
    scores: list[float] | None = None


@dataclass(frozen=True)
class UnreadableFile:
    """A file that could not be opened, and why."""

    path: Path
    reason: str


def caption(
    pictures: Iterable[tuple[int, CaptionedPicture]],
    captioner: Captioner,
    n: int,
    *,
    seed: int,
    judges: Sequence[scoring.Judge] = (),
    at_once: int | None = None,
    done: Callable[[int], None] = lambda count: None,
) -> Iterator[list[CaptionedFile | UnreadableFile]]:
    """Describe every picture, a few at a time and in order.

    The picture at position i is described with `seed + i`, whatever the size of a batch and what others can be opened.
    """
    for some in batched(pictures, at_once or AT_ONCE):
        results: list[CaptionedFile | UnreadableFile] = []
        for neighbours in _runs([_opened(position, picture) for position, picture in some]):
            images = [each.image for each in neighbours if each.image is not None]
            captions = captioner.caption(images, n, seed=seed + neighbours[0].position) if images else []
            _check(captions, n, len(images))
            results += [UnreadableFile(each.path, each.reason) for each in neighbours if each.image is None]
            paths = [each.path for each in neighbours]
            results += [
                _judged(path, image, each, judges)
                for path, image, each in zip(paths[: len(images)], images, captions, strict=True)
            ]
        yield results
        done(len(some))


class _Opened(NamedTuple):
    position: int
    path: Path
    image: Image | None
    reason: str = ""


def _opened(position: int, picture: CaptionedPicture) -> _Opened:
    try:
        return _Opened(position, Path(picture.name), picture.open())
    except T2IError as error:
        return _Opened(position, Path(picture.name), None, error.message)


def _runs(opened: Sequence[_Opened]) -> Iterator[list[_Opened]]:
    """Neighbours whose positions count upwards, either all readable or none."""
    places = groupby(enumerate(opened), lambda each: (each[1].image is None, each[1].position - each[0]))
    return ([each for _, each in group] for _, group in places)


def _check(captions: Sequence[Sequence[str]], n: int, pictures: int) -> None:
    if len(captions) != pictures or any(len(each) != n for each in captions):
        raise T2IError(f"the captioner did not give {n} captions for each of {pictures} pictures", code=1)


@dataclass(frozen=True)
class Captioning:
    """How pictures become captions; what every worker of a job is given."""

    captioner: Choice
    n: int
    seed: int
    judges: Mapping[str, tuple[float, Choice]] = field(default_factory=dict)

    def plan(self, shard_rows: int) -> dict[str, Any]:
        """What the plan of a job notes of it."""
        return {
            "n": self.n,
            "seed": self.seed,
            "shard_rows": shard_rows,
            "captioner": self.captioner.plan,
            "ranker": scoring.plan(self.judges),
        }

    def make(self, write: Write) -> Make:
        """`write` with all models loaded."""
        return partial(write, self, self.captioner.open().thing, scoring.opened(self.judges))


Write = Callable[[Captioning, Captioner, Sequence[scoring.Judge], Sequence[tuple[int, CaptionedPicture]], Path], None]
"""Describes the pictures of a chunk and writes what is kept of them."""


def job(
    pictures: Sequence[CaptionedPicture],
    reads: tuple[Path, ...],
    output: Path,
    how: Captioning,
    shard_rows: int,
    at_once: int | None = None,
) -> Job:
    """The job that describes `pictures`; a later run must have the same ones."""
    plan = {"job": "caption", "pictures": len(pictures), "keys": pairs.keys(pictures), **how.plan(shard_rows)}
    load = partial(how.make, partial(_write, at_once=at_once))
    return Job(output, plan, batched(enumerate(pictures), shard_rows), load, SUFFIX, reads)


def _write(
    how: Captioning,
    captioner: Captioner,
    judges: Sequence[scoring.Judge],
    chunk: Sequence[tuple[int, CaptionedPicture]],
    draft: Path,
    at_once: int | None,
) -> None:
    """The shard of some pictures: a line for each."""
    with draft.open("w", encoding="utf-8", newline="\n") as stream:
        for results in caption(chunk, captioner, how.n, seed=how.seed, judges=judges, at_once=at_once):
            for each in results:
                stream.write(f"{json.dumps(msgspec.to_builtins(each, enc_hook=str), ensure_ascii=False)}\n")


def join(shards: Sequence[Path], path: Path) -> None:
    """All lines of the shards in one file."""
    with files.whole(path) as draft, draft.open("wb") as stream:
        for shard in shards:
            with shard.open("rb") as lines:
                shutil.copyfileobj(lines, stream)


def in_file(output: OutputFile) -> Iterator[CaptionedFile | UnreadableFile]:
    """What an earlier run has written."""
    return output.results(lambda fields: UnreadableFile if "reason" in fields else CaptionedFile)


def _judged(path: Path, image: Image, captions: Sequence[str], judges: Sequence[scoring.Judge]) -> CaptionedFile:
    captions = [" ".join(each.split()) for each in captions]
    if not judges:
        return CaptionedFile(path, captions)
    columns = [{judge.name: judge.score(text, [image])[0] for judge in judges} for text in captions]
    scores = scoring.combined(judges, columns)
    order = sorted(range(len(captions)), key=lambda index: -scores[index])
    return CaptionedFile(path, [captions[index] for index in order], [scores[index] for index in order])


def text_file(path: Path) -> Path:
    """Where `--txt` puts a picture's captions: beside it, as trainers read them."""
    return path.with_suffix(".txt")


def check_text_files(paths: Sequence[Path], *, force: bool) -> None:
    """Whether every picture can have its text file; those that are there already stay, unless forced."""
    texts: dict[Path, Path] = {}
    for path in paths:
        target = text_file(path)
        if target in texts:
            raise T2IError(f"'{texts[target]}' and '{path}' would share one text file", "rename one of them")
        if target.exists() and not force:
            raise T2IError(f"'{target}' already exists", "replace it with --force")
        texts[target] = path


def write_text(described: CaptionedFile) -> None:
    """The captions of a picture beside it, one a line."""
    files.write(text_file(described.path), "".join(f"{caption}\n" for caption in described.captions))
