"""A run's folder: checkpoints that are whole or not there, models that are swapped in, and what may be continued.

    settings.toml  log.jsonl  tensorboard/  model/  best/  checkpoints/  previews/

Everything appears by renaming a finished draft, so that a process killed at any moment leaves the last good
state. A checkpoint is one file of the first process, or for a sharded model a file of each process beside it.
Both can be continued by any number of processes with any strategy.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import torch
import torch.distributed as dist
from safetensors import SafetensorError
from torch import Tensor

from t2icli.ground import files
from t2icli.ground.errors import T2IError
from t2icli.store import models
from t2icli.training import shards
from t2icli.training.devices import World, full_state, is_loss

STATE = "state.pt"
LATEST = "latest"
UNREADABLE = (OSError, RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError, AssertionError)
"""What torch and pickle raise for a damaged file."""


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

    def read(self) -> dict[str, Any] | None:
        """The state in the newest checkpoint, if there is one; that of a sharded model without values."""
        newest = self.latest()
        if newest is None:
            return None
        with self._readable(newest):
            state: dict[str, Any] = torch.load(newest / STATE, map_location="cpu", weights_only=True)
            return state

    def read_shards(self, state: Any) -> None:
        """Give the tensors of the newest checkpoint's state their values, if they have none in `read`'s."""
        newest = self.latest()
        if newest is not None and (newest / shards.LIST).is_file():
            with self._readable(newest):
                shards.read(state, newest)

    @contextlib.contextmanager
    def _readable(self, checkpoint: Path) -> Iterator[None]:
        try:
            yield
        except (*UNREADABLE, pickle.UnpicklingError) as error:
            raise T2IError(
                f"checkpoint '{checkpoint}' cannot be read: {error}",
                f"write the name of another one into {self.checkpoints / LATEST}",
                code=1,
            ) from error

    def keep(self, step: int, keep: int, write: Callable[[Path], None]) -> None:
        """Write a checkpoint, point to it, and drop the oldest."""
        with self._explained("checkpoint"):
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            with files.whole_folder(self._place(step)) as draft:
                write(draft)
            files.write(self.checkpoints / LATEST, self._place(step).name, durable=True)
        for old in sorted(self.checkpoints.glob("step-*"))[:-keep]:
            shutil.rmtree(old)

    def keep_part(self, step: int, write: Callable[[Path], None]) -> None:
        """Write what a process other than the first adds to a checkpoint."""
        with self._explained("checkpoint"):
            write(files.folder_draft_of(self._place(step)))

    def _place(self, step: int) -> Path:
        return self.checkpoints / f"step-{step:09d}"

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
            if is_loss(error) or (isinstance(error, T2IError) and not isinstance(error.__cause__, OSError)):
                raise
            newest = self.latest()
            hint = f"the last good checkpoint is '{newest}'" if newest else "there is no earlier checkpoint"
            reason = "the disk is full" if _is_full(error) else str(error)
            raise T2IError(
                f"cannot write the {what} in '{self.folder}': {reason}",
                f"{hint}; make room and continue with --resume",
                code=1,
            ) from error


class Keeper:
    """Writes the checkpoints of one run; those of a sharded model, if wanted, while training continues."""

    def __init__(self, run: Run, world: World, keep: int, *, is_sharded: bool, in_background: bool) -> None:
        self.run, self.world, self.keep, self.is_sharded = run, world, keep, is_sharded
        self.in_background = is_sharded and in_background
        timeout = timedelta(seconds=world.timeout)
        self.group: Any = dist.new_group(backend="gloo", timeout=timeout) if is_sharded else None
        """The process group of checkpoints, apart from that of training."""
        self.writer = ThreadPoolExecutor(1)
        self.pending: Future[None] | None = None
        self.copies = shards.Copies()
        self.is_copied = threading.Event()
        self.is_copied.set()

    def save(self, state: dict[str, Any], step: int) -> None:
        """Write a checkpoint; to be called by all processes."""
        if not self.is_sharded:
            self.world.first(lambda: self.run.keep(step, self.keep, lambda draft: _save(full_state(state), draft)))
            return
        self.wait()
        parts = shards.tensors(state)
        if not self.in_background:
            self._save_shards(parts, shards.outline(state), step)
            return
        self.copies.begin(parts)
        self.is_copied.clear()
        self.pending = self.writer.submit(self._copy_and_save, shards.outline(state), step)

    def before_change(self) -> None:
        """To be called before what was to be saved is changed: it is copied while the next step computes gradients."""
        self.is_copied.wait()

    def _copy_and_save(self, outline: dict[str, Any], step: int) -> None:
        try:
            self.copies.end()
        finally:
            self.is_copied.set()
        self._save_shards(self.copies.parts, outline, step)

    def wait(self) -> None:
        """Until the last checkpoint is whole."""
        pending, self.pending = self.pending, None
        if pending is not None:
            pending.result()

    def _save_shards(self, parts: dict[str, Tensor], outline: dict[str, Any], step: int) -> None:
        def write(draft: Path) -> None:
            dist.barrier(self.group)  # the folder is there
            if self.world.is_first:
                _save(outline, draft)
            shards.write(parts, draft, self.group)

        if self.world.is_first:
            self.run.keep(step, self.keep, write)
        else:
            self.run.keep_part(step, write)


def _save(state: dict[str, Any], folder: Path) -> None:
    with (folder / STATE).open("wb") as stream:  # torch's own writer would hide why a disk refused
        torch.save(state, stream)


def _is_full(error: BaseException | None) -> bool:
    if error is None:
        return False
    codes = (errno.ENOSPC, errno.EDQUOT)
    named = (isinstance(error, OSError) and error.errno in codes) or any(
        os.strerror(code) in str(error) for code in codes
    )
    return named or _is_full(error.__context__)
