"""Pictures to captions, the best first if there are judges; they are written as they come."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from t2icli.contract.kinds import Captioner
from t2icli.ground import files
from t2icli.ground.errors import T2IError
from t2icli.pipelines import image_files, scoring
from t2icli.pipelines.output_file import OutputFile

if TYPE_CHECKING:
    from PIL.Image import Image

AT_ONCE = 8


@dataclass(frozen=True)
class CaptionResult:
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
    paths: Sequence[Path],
    captioner: Captioner,
    n: int,
    *,
    seed: int,
    judges: Sequence[scoring.Judge] = (),
    at_once: int | None = None,
    done: Callable[[int], None] = lambda count: None,
) -> Iterator[list[CaptionResult | UnreadableFile]]:
    """Describe every picture, a few at a time and in order.

    Readable picture i is described with `seed + i`, whatever the size of a batch.
    """
    position = {path: index for index, path in enumerate(paths)}
    unreadable: list[CaptionResult | UnreadableFile] = []
    described = 0
    for batch in image_files.opened(
        paths, at_once or AT_ONCE, lambda path, reason: unreadable.append(UnreadableFile(path, reason))
    ):
        captions = captioner.caption([image for _, image in batch], n, seed=seed + described)
        if len(captions) != len(batch) or any(len(each) != n for each in captions):
            raise T2IError(f"the captioner did not give {n} captions for each of {len(batch)} pictures", code=1)
        results = [_judged(path, image, each, judges) for (path, image), each in zip(batch, captions, strict=True)]
        yield sorted([*unreadable, *results], key=lambda each: position[each.path])
        done(len(batch))
        described += len(batch)
        unreadable.clear()
    if unreadable:
        yield unreadable


def in_file(output: OutputFile) -> list[CaptionResult | UnreadableFile]:
    """What an earlier run has written."""
    return list(output.results(lambda fields: UnreadableFile if "reason" in fields else CaptionResult))


def _judged(path: Path, image: Image, captions: Sequence[str], judges: Sequence[scoring.Judge]) -> CaptionResult:
    captions = [" ".join(each.split()) for each in captions]
    if not judges:
        return CaptionResult(path, captions)
    columns = [{judge.name: judge.score(text, [image])[0] for judge in judges} for text in captions]
    scores = scoring.combined(judges, columns)
    order = sorted(range(len(captions)), key=lambda index: -scores[index])
    return CaptionResult(path, [captions[index] for index in order], [scores[index] for index in order])


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


def write_text(described: CaptionResult) -> None:
    """The captions of a picture beside it, one a line."""
    files.write(text_file(described.path), "".join(f"{caption}\n" for caption in described.captions))
