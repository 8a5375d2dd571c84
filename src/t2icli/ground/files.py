"""Files that are written completely or not at all; and texts that users have written."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from t2icli.ground.errors import T2IError


def draft_of(path: Path) -> Path:
    """A hidden name beside `path` that no other process takes, on this host or another."""
    return path.with_name(f".{path.name}.{os.urandom(4).hex()}.part")


@contextlib.contextmanager
def whole(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """A draft to write to, which takes the name `path` when the block ends well and is removed otherwise.

    Under that name a killed program leaves the old file or the new one; `durable` holds also when the power fails.
    """
    draft = draft_of(path)
    with writing(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield draft
            if durable:
                fsync(draft)
            os.replace(draft, path)
            if durable:
                fsync(path.parent)
        except BaseException:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def whole_folder(place: Path) -> Iterator[Path]:
    """A folder to fill, which takes `place` once it is filled and on the disk; what is there is replaced."""
    draft, old = folder_draft_of(place), place.with_name(f".{place.name}.old")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        yield draft
        fsync_tree(draft)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    if place.exists():
        shutil.rmtree(old, ignore_errors=True)
        place.rename(old)
    draft.rename(place)
    fsync(place.parent)
    shutil.rmtree(old, ignore_errors=True)


def folder_draft_of(place: Path) -> Path:
    """The folder to fill before it takes `place`; several processes may fill it together."""
    return place.with_name(f".{place.name}.part")


def fsync_tree(folder: Path) -> None:
    """Wait until a folder and all within it are on the disk."""
    for path in [*folder.rglob("*"), folder]:
        if not path.is_symlink():
            fsync(path)


def fsync(path: Path) -> None:
    """Wait until a file or a folder's list of names is on the disk."""
    if os.name == "nt" and path.is_dir():
        return  # Windows opens no folders
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say which file could not be written, and why."""
    try:
        yield
    except OSError as error:
        raise T2IError(f"cannot write '{path}': {error.strerror or error}", code=1) from error


def write(path: Path, text: str, *, durable: bool = False) -> Path:
    """`text` as a whole file."""
    with whole(path, durable=durable) as draft:
        draft.write_text(text, encoding="utf-8", newline="\n")
    return path


def read_text(path: Path) -> str:
    """A user's text in UTF-8, without a BOM; an error says in which line it is something else."""
    return "".join(lines(path))


def lines(path: Path) -> Iterator[str]:
    """The lines of a user's text, with their ends, as they are needed."""
    try:
        with path.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                try:
                    text = line.decode("utf-8")
                except UnicodeDecodeError as error:
                    message = f"'{path}' is not UTF-8: line {number}: {error.reason}"
                    raise T2IError(message, "convert it, or correct that line") from error
                yield text.removeprefix("\ufeff") if number == 1 else text
    except OSError as error:
        raise T2IError(f"cannot read '{path}': {error.strerror}") from error
