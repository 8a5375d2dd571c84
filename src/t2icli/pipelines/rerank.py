"""Sort pictures by how well they fit a prompt."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from t2icli.ground import files
from t2icli.ground.errors import T2IError
from t2icli.pipelines import image_files, scoring

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Ranked:
    """A picture in its place."""

    rank: int
    path: Path
    score: float
    scores: dict[str, float]
    same_as: Path | None = None
    """An earlier file with the very same pixels."""


@dataclass(frozen=True)
class Ranking:
    """All of them, best first, and the files that are no pictures with the reason."""

    prompt: str
    ranked: list[Ranked]
    unreadable: dict[Path, str]


def rerank(
    prompt: str,
    paths: Sequence[Path],
    judges: Sequence[scoring.Judge],
    *,
    at_once: int | None = None,
    scored: Callable[[int], None] = lambda count: None,
) -> Ranking:
    """Judge every picture; the same pixels are judged once. Equal scores stay in the order given."""
    scores: dict[str, dict[str, float]] = {}
    """By the hash of the pixels."""
    pixels: dict[Path, str] = {}
    unreadable: dict[Path, str] = {}
    for batch in image_files.opened(paths, at_once or scoring.AT_ONCE, unreadable.__setitem__):
        pixels |= _judge(prompt, batch, judges, scores)
        scored(len(batch))
    if not pixels:
        raise T2IError(f"none of {len(paths)} files is a picture", next(iter(unreadable.values())))
    combined = dict(zip(scores, scoring.combined(judges, list(scores.values())), strict=True))
    first: dict[str, Path] = {}
    for path, key in pixels.items():
        first.setdefault(key, path)
    order = sorted(pixels, key=lambda path: -combined[pixels[path]])
    ranked = [
        Ranked(rank, path, combined[key], scores[key], first[key] if first[key] != path else None)
        for rank, path in enumerate(order, start=1)
        for key in [pixels[path]]
    ]
    return Ranking(prompt, ranked, unreadable)


def _judge(
    prompt: str,
    batch: Sequence[tuple[Path, Image]],
    judges: Sequence[scoring.Judge],
    scores: dict[str, dict[str, float]],
) -> dict[Path, str]:
    """Add the scores of pictures not seen before; returns the hash of each."""
    from t2icli.pictures.images import pixels_sha256

    pixels = {path: pixels_sha256(image) for path, image in batch}
    new = {pixels[path]: image for path, image in batch if pixels[path] not in scores}
    columns = {judge.name: judge.score(prompt, list(new.values())) for judge in judges} if new else {}
    for index, key in enumerate(new):
        scores[key] = {name: column[index] for name, column in columns.items()}
    return pixels


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


def file(ranked: Sequence[Ranked], folder: Path, how: str) -> list[Path]:
    """Copy, move or link pictures into a folder, in names that sort by rank; nothing there is replaced."""
    targets = [folder / f"{each.rank:03d}-{each.path.name}" for each in ranked]
    if taken := [target for target in targets if target.exists() or target.is_symlink()]:
        raise T2IError(f"'{taken[0]}' already exists", f"use another folder for --{how}")
    folder.mkdir(parents=True, exist_ok=True)
    for each, target in zip(ranked, targets, strict=True):
        FILING[how](each.path, target)
    return targets
