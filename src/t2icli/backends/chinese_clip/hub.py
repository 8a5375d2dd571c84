"""Where a Chinese-CLIP is: in a folder, cached, or on the hub. What is missing is reported before torch is imported."""

from __future__ import annotations

from pathlib import Path

from t2icli.ground.errors import T2IError
from t2icli.store import snapshots


def folder(source: str) -> Path:
    """The folder that `source` names, or the repository of that name, downloaded unless it was before."""
    path = Path(source).expanduser()
    if path.is_dir():
        return path
    try:
        return snapshots.fetch(source)
    except T2IError as error:
        raise T2IError(
            f"Chinese-CLIP {source!r} is not installed and {snapshots.why_not(error)}",
            "run: t2i models pull chinese-clip/vit-base-patch16, or fetch its repository elsewhere and run: "
            "t2i models import FOLDER/* --as chinese-clip",
            code=1,
        ) from error
