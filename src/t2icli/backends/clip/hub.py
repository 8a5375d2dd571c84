"""Weights that open_clip knows by a tag, from the hub or from what was fetched before."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from t2icli.ground.errors import T2IError, did_you_mean
from t2icli.store.download import reachable


def known_tag(architecture: str, tag: str) -> dict[str, Any]:
    """open_clip's record of the weights: where they are and how they want their images."""
    from open_clip import pretrained

    record = pretrained.get_pretrained_cfg(architecture, tag)
    if not record:
        tags = pretrained.list_pretrained_tags_by_model(architecture)
        raise T2IError(f"open_clip has no weights {tag!r} for {architecture!r}", did_you_mean(tag, tags))
    return dict(record)


def fetch(architecture: str, tag: str, record: dict[str, Any]) -> Path:
    """The weights' file: the one fetched before, else a download; a clear word at once when there is no network."""
    from open_clip import pretrained

    path = fetched_before(record)
    if path is not None:
        return path
    if os.environ.get("T2I_OFFLINE") or os.environ.get("HF_HUB_OFFLINE") or not reachable([_address(record)]):
        raise _absent(architecture, tag, record, "there is no network")
    try:
        return Path(pretrained.download_pretrained(record))
    except Exception as error:  # open_clip wraps every failure of every client in its own way
        raise _absent(architecture, tag, record, str(error).splitlines()[0]) from error


def fetched_before(record: dict[str, Any]) -> Path | None:
    from huggingface_hub import try_to_load_from_cache
    from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME

    repository, _, name = record["hf_hub"].rpartition("/")
    if repository:
        names = [name] if name else [HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME]
        paths = [try_to_load_from_cache(repository, each) for each in names]
    else:
        paths = [os.path.expanduser(f"~/.cache/clip/{os.path.basename(record['url'])}")]
    return next((Path(path) for path in paths if isinstance(path, str) and os.path.isfile(path)), None)


def _address(record: dict[str, Any]) -> str:
    from huggingface_hub.constants import ENDPOINT

    return str(ENDPOINT if record["hf_hub"] else record["url"])


def _absent(architecture: str, tag: str, record: dict[str, Any], reason: str) -> T2IError:
    where = record["hf_hub"] or record["url"]
    return T2IError(
        f"weights {tag!r} of {architecture!r} are not here and cannot be fetched: {reason}",
        f"download '{where}' on another machine and run: t2i models import FILE --as clip",
        code=1,
    )
