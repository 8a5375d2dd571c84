"""Weights that open_clip knows by a tag, from the hub or from what was fetched before."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from t2icli.backends.clip import IN_REPOSITORY
from t2icli.ground.errors import T2IError, did_you_mean
from t2icli.ground.home import home
from t2icli.store import download, snapshots
from t2icli.store.sources import RemoteFile


def known_tag(architecture: str, tag: str) -> dict[str, Any]:
    """open_clip's record of the weights: where they are and how they want their images."""
    from open_clip import pretrained

    from t2icli.backends.clip.model import named

    named(architecture)  # says so if there is none of that name
    record = pretrained.get_pretrained_cfg(architecture, tag)
    if not record:
        tags = pretrained.list_pretrained_tags_by_model(architecture)
        raise T2IError(f"open_clip has no weights {tag!r} for {architecture!r}", did_you_mean(tag, tags))
    return dict(record)


def fetch(architecture: str, tag: str, record: dict[str, Any]) -> Path:
    """The weights' file: the one fetched before, else a download."""
    try:
        repository, _, name = record["hf_hub"].rpartition("/")
        return _of_repository(repository, name) if repository else _of_address(record["url"])
    except T2IError as error:
        where = record["hf_hub"] or record["url"]
        raise T2IError(
            f"weights {tag!r} of {architecture!r} are not on this machine and {snapshots.why_not(error)}",
            f"download '{where}' on another machine and run: t2i models import FILE --as clip",
            code=1,
        ) from error


def _of_repository(repository: str, name: str) -> Path:
    pattern = name or IN_REPOSITORY[1]
    folder = snapshots.fetch(repository, [pattern])
    return next(folder / each for each in pattern.split("|") if (folder / each).is_file())


def _of_address(url: str) -> Path:
    """A file of OpenAI's, whose address holds its hash, or of open_clip's own releases."""
    folder = Path("~/.cache/clip").expanduser()
    if (fetched := folder / url.rpartition("/")[2]).is_file():
        return fetched
    match = re.search(r"/([0-9a-f]{64})/", url)
    return download.fetch(RemoteFile((url,), match[1] if match else None), home() / "hub" / "open_clip")
