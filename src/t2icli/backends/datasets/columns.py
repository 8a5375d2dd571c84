"""Which column is which, and what an image cell may mean."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from t2icli.data.dataset import key_of
from t2icli.data.places import ADDRESS
from t2icli.ground.errors import T2IError, did_you_mean

IMAGE = ("image", "filepath", "image_path", "file_name", "filename", "path", "file", "url", "image_url", "image_id")
AUDIO = "audio"
CAPTION = ("caption", "captions", "title", "text", "sentences", "sentence")


def choose(chosen: str | None, usual: tuple[str, ...], known: Collection[str], what: str, where: Path) -> str:
    """The column asked for, else the first usual name that is there."""
    if chosen is not None:
        if chosen not in known:
            raise T2IError(f"'{where}' has no column {chosen!r} for the {what}", did_you_mean(chosen, known))
        return chosen
    column = next((name for name in usual if name in known), None)
    if column is None:
        raise T2IError(
            f"'{where}' has no {what} column: it has {', '.join(map(repr, known)) or 'none at all'}",
            f"name it with -o {what}=COLUMN",
        )
    return column


def audio_of(cell: object, root: Path) -> tuple[Path | None, dict[str, str]]:
    """The sound that a cell names, a path below `root`; and what is wrong with it, if anything."""
    if not isinstance(cell, str) or not cell.strip():
        return None, {}
    path = root / cell.strip()
    return path, problem_of(path, root)


def located(cell: str, root: Path) -> Path | str | None:
    """An address on the web as it is; a path as a file under `root`; None for an empty cell."""
    cell = cell.strip()
    if not cell:
        return None
    return cell if ADDRESS.match(cell) else root / cell


def problem_of(image: Path | str | bytes | None, root: Path) -> dict[str, str]:
    """What is wrong with a path. It has to stay in its folder: a table from elsewhere must not name our other files."""
    if not isinstance(image, Path):
        return {}
    try:
        is_inside = image.resolve().is_relative_to(root.resolve())
    except (OSError, ValueError, RuntimeError):  # a NUL in it, links in a circle
        return {"problem": "bad-path"}
    return {} if is_inside else {"problem": "outside-root"}


def name_of(image: Path | str | bytes | None, cell: str, captions: tuple[str, ...]) -> str:
    """A file's key is made from the path as it was written, not from where the folder happens to lie.

    Addresses get theirs later: most rows of a web-scale table are dropped before they need one.
    """
    return key_of(cell, captions) if isinstance(image, Path) else ""
