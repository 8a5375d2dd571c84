"""A run's folder: checkpoints that are whole or not there, models that are swapped in, and what may be continued.

    settings.toml  log.jsonl  tensorboard/  model/  best/  checkpoints/  previews/

Everything appears by renaming a finished draft, so that a process killed at any moment leaves the last good
state. A checkpoint is one file written by the first process, complete even when the model is sharded: it can
be continued by any number of processes with any strategy.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors import SafetensorError

from t2icli.ground import files
from t2icli.ground.errors import T2IError
from t2icli.store import models

STATE = "state.pt"
LATEST = "latest"


class Run:
    """The folder of one run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checkpoints = folder / "checkpoints"
        self.previews = folder / "previews"
        self.log = folder / "log.jsonl"

    def tidy(self) -> None:
        """Clear away what a killed run left half done."""
        for draft in [*self.folder.glob(".*.part"), *self.checkpoints.glob(".*.part")]:
            shutil.rmtree(draft) if draft.is_dir() else draft.unlink()
        for old in self.folder.glob(".*.old"):
            place = self.folder / old.name[1 : -len(".old")]
            shutil.rmtree(old) if place.exists() else old.rename(place)

    def latest(self) -> Path | None:
        """The newest checkpoint, named by the pointer that is written last."""
        pointer = self.checkpoints / LATEST
        return self.checkpoints / pointer.read_text(encoding="utf-8").strip() if pointer.is_file() else None

    def read(self, device: torch.device | str = "cpu") -> dict[str, Any] | None:
        """The state in the newest checkpoint, if there is one."""
        newest = self.latest()
        if newest is None:
            return None
        try:
            state: dict[str, Any] = torch.load(newest / STATE, map_location=device, weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise T2IError(
                f"checkpoint '{newest}' cannot be read: {error}",
                f"write the name of another one into {self.checkpoints / LATEST}",
                code=1,
            ) from error
        return state

    def keep(self, state: dict[str, Any], step: int, keep: int) -> None:
        """Write a checkpoint, point to it, and drop the oldest."""
        name = f"step-{step:09d}"
        with self._explained("checkpoint"):
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            with files.whole_folder(self.checkpoints / name) as draft:
                _save(state, draft / STATE)
            files.write(self.checkpoints / LATEST, name, durable=True)
        for old in sorted(self.checkpoints.glob("step-*"))[:-keep]:
            shutil.rmtree(old)

    def publish(self, name: str, save: Callable[[Path], None], source: str) -> None:
        """Put a model folder in place of the earlier one of that name."""
        with self._explained(name), files.whole_folder(self.folder / name) as draft:
            save(draft)
            card = models.open_model(draft).card
            versions = {"torch": str(torch.__version__), **card.versions}
            models.seal(draft, msgspec.structs.replace(card, source=source, versions=versions))

    @contextlib.contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        try:
            yield
        except (OSError, RuntimeError, SafetensorError, T2IError) as error:
            if isinstance(error, T2IError) and not isinstance(error.__cause__, OSError):
                raise
            newest = self.latest()
            hint = f"the last good checkpoint is '{newest}'" if newest else "there is no earlier checkpoint"
            reason = "the disk is full" if _is_full(error) else str(error)
            raise T2IError(
                f"cannot write the {what} in '{self.folder}': {reason}",
                f"{hint}; make room and continue with --resume",
                code=1,
            ) from error


def _save(state: dict[str, Any], path: Path) -> None:
    with path.open("wb") as stream:  # torch's own writer would hide why a disk refused
        torch.save(state, stream)


def _is_full(error: BaseException | None) -> bool:
    if error is None:
        return False
    codes = (errno.ENOSPC, errno.EDQUOT)
    named = (isinstance(error, OSError) and error.errno in codes) or any(
        os.strerror(code) in str(error) for code in codes
    )
    return named or _is_full(error.__context__)
