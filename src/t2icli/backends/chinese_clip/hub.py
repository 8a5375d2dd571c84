"""Where a Chinese-CLIP is: in a folder, fetched before, or on the hub. Light: what is missing is told before torch."""

from __future__ import annotations

import os
from pathlib import Path

from t2icli.ground.errors import T2IError
from t2icli.store import download


def is_here(source: str) -> bool:
    """Whether it is a folder, or a repository that was fetched before."""
    from huggingface_hub import try_to_load_from_cache

    return Path(source).expanduser().is_dir() or isinstance(try_to_load_from_cache(source, "config.json"), str)


def check_reachable(source: str) -> None:
    """A clear word at once when there is no network."""
    if os.environ.get("T2I_OFFLINE") or os.environ.get("HF_HUB_OFFLINE") or not _answers():
        raise T2IError(
            f"Chinese-CLIP {source!r} is not installed and there is no network",
            "fetch its repository elsewhere and run: t2i models import FOLDER/* --as chinese-clip",
            code=1,
        )


def _answers() -> bool:
    from huggingface_hub.constants import ENDPOINT

    return bool(download.reachable([ENDPOINT]))
