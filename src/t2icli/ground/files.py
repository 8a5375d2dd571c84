"""Files that appear under their name whole, or not at all; and texts that users have written."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from t2icli.ground.errors import T2IError


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A draft to write to, which takes the name `path` when the block ends well and is removed otherwise."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    with writing(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield draft
            os.replace(draft, path)
        except BaseException:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say which file could not be written, and why."""
    try:
        yield
    except OSError as error:
        raise T2IError(f"cannot write '{path}': {error.strerror or error}", code=1) from error


def write(path: Path, text: str) -> Path:
    """`text` as a whole file."""
    with whole(path) as draft:
        draft.write_text(text, encoding="utf-8", newline="\n")
    return path


def read_text(path: Path) -> str:
    """A user's text in UTF-8, without a BOM; an error says in which line it is something else."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise T2IError(f"cannot read '{path}': {error.strerror}") from error
    try:
        return content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise T2IError(
            f"'{path}' is not UTF-8: line {line}: {error.reason}", "convert it, or correct that line"
        ) from error
