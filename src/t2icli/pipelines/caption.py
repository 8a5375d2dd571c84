"""Pictures to sentences, the best first if somebody judges them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from t2icli.contract.kinds import Captioner
from t2icli.ground import files
from t2icli.ground.errors import T2IError
from t2icli.pipelines import image_files, scoring

if TYPE_CHECKING:
    from PIL.Image import Image

AT_ONCE = 8


@dataclass(frozen=True)
class Captioned:
    """A picture and what was said of it, best first; without judges there are no scores."""

    path: Path
    captions: list[str]
    scores: list[float] | None = None


def caption(
    paths: Sequence[Path],
    captioner: Captioner,
    n: int,
    *,
    seed: int,
    judges: Sequence[scoring.Judge] = (),
    at_once: int | None = None,
    done: Callable[[int], None] = lambda count: None,
) -> tuple[list[Captioned], dict[Path, str]]:
    """Describe every picture; also says which files could not be opened, and why.

    Picture i is described with `seed + i`, whatever the size of a batch.
    """
    described: list[Captioned] = []
    unreadable: dict[Path, str] = {}
    for batch in image_files.opened(paths, at_once or AT_ONCE, unreadable.__setitem__):
        captions = captioner.caption([image for _, image in batch], n, seed=seed + len(described))
        if len(captions) != len(batch) or any(len(each) != n for each in captions):
            raise T2IError(f"the captioner did not give {n} captions for each of {len(batch)} pictures", code=1)
        described += [_judged(path, image, each, judges) for (path, image), each in zip(batch, captions, strict=True)]
        done(len(batch))
    if not described:
        raise T2IError(f"none of {len(paths)} files is a picture", next(iter(unreadable.values())))
    return described, unreadable


def _judged(path: Path, image: Image, captions: Sequence[str], judges: Sequence[scoring.Judge]) -> Captioned:
    captions = [" ".join(each.split()) for each in captions]
    if not judges:
        return Captioned(path, captions)
    columns = [{judge.name: judge.score(text, [image])[0] for judge in judges} for text in captions]
    scores = scoring.combined(judges, columns)
    order = sorted(range(len(captions)), key=lambda index: -scores[index])
    return Captioned(path, [captions[index] for index in order], [scores[index] for index in order])


def text_file(path: Path) -> Path:
    """Where `--txt` puts a picture's captions: beside it, as trainers read them."""
    return path.with_suffix(".txt")


def check_text_files(paths: Sequence[Path], *, force: bool) -> None:
    """Whether every picture can have its text file; those that are there already stay, unless forced."""
    seen: dict[Path, Path] = {}
    for path in paths:
        target = text_file(path)
        if target in seen:
            raise T2IError(f"'{seen[target]}' and '{path}' would share one text file", "rename one of them")
        if target.exists() and not force:
            raise T2IError(f"'{target}' already exists", "replace it with --force")
        seen[target] = path


def write_texts(described: Sequence[Captioned]) -> None:
    """The captions of each picture beside it, one a line."""
    for each in described:
        files.write(text_file(each.path), "".join(f"{caption}\n" for caption in each.captions))
