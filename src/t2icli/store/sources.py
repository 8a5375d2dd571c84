"""Where a model's files can be had."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class RemoteFile:
    """A file a model is made from, and where it can be had."""

    urls: tuple[str, ...]
    sha256: str | None
    """None only where upstream never published one: then the first download is trusted and noted."""
    size: int | None = None
    name: str | None = None
    """What to call the file here, where its address does not say: `model.yaml`."""
    git: str | None = None
    """Git's own hash of the file, which a hub gives for those that it does not keep by sha256."""


@dataclass(frozen=True)
class ModelSource:
    """A model a plugin knows where to find: shipped in a folder of its own, or to be downloaded."""

    name: str
    """`backend/what`: `clipgen/coco`."""
    about: str
    licence: str
    folder: Path | None = None
    """A finished model folder inside the plugin."""
    files: tuple[RemoteFile, ...] = ()
    """Upstream files, converted after download."""
    repository: str = ""
    """In place of `files`, a repository of a model hub: `hf:OWNER/NAME`, `hf:OWNER/NAME@REVISION`, `ms:OWNER/NAME`."""
    wanted: tuple[str, ...] = ()
    """Patterns of the files of the repository, where the usual ones are not the right ones."""
    variant: str | None = None
    """The number format of the weights, where the repository has several: `fp16`."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Defaults of the backend's settings that suit it, for its card."""
    kind: str | None = None
    """What it becomes, for the list."""
    size: int | None = None
    """Bytes to download from the repository, about, where they are known."""
    chinese: bool | None = None
    """Whether it reads, or writes, Chinese; None where that is not known."""
    is_noncommercial: bool = False
    """Whether the licence forbids commercial use."""
    parts: Mapping[str, tuple[RemoteFile, ...]] | None = None
    words: Callable[[], Collection[str]] | None = None
    """The words, in lower case, of the captions it was trained on, where they are few enough to be listed: a prompt
    with others is drawn with a note."""

    @property
    def can_be_pulled(self) -> bool:
        """Whether there is an address; else its files have to be got by other means and imported."""
        return bool(self.files or self.repository)
