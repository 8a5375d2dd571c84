"""Checkpoints of a sharded model: every process writes its own part, and reads what it needs of all parts.

The files are those of torch.distributed.checkpoint. Beside them stands the state itself, with tensors that have a shape
and no values.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.utils._pytree as trees
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.metadata import Metadata
from torch.distributed.checkpoint.staging import BlockingAsyncStager
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.tensor import DTensor

LIST = ".metadata"
"""Where torch lists the parts, in a pickle."""


def outline(state: Any) -> Any:
    """A state without the values of its tensors."""
    return trees.tree_map_only(Tensor, lambda t: torch.empty(t.shape, dtype=t.dtype, device="meta"), state)


def tensors(state: Any) -> dict[str, Tensor]:
    """Every tensor of a state by its place in it."""
    leaves, _ = trees.tree_flatten_with_path(state)
    return {trees.keystr(path): leaf for path, leaf in leaves if isinstance(leaf, Tensor)}


class Copies:
    """This process's parts in the host's memory, which is taken once: what is copied must not change meanwhile."""

    def __init__(self) -> None:
        self.parts: dict[str, Tensor] = {}
        self.rest: dict[str, Tensor] = {}
        """What is still to be copied."""
        self.stream: torch.cuda.Stream | None = None
        """A GPU's, so that what it was told before is done when it copies, and not what it is told then."""

    def begin(self, parts: dict[str, Tensor]) -> None:
        """Copy what every forward may change, such as the buffers of a model: all that is not cut into shards."""
        if not self.parts.keys() <= parts.keys():
            self.parts = {}
        self.rest = {name: part for name, part in parts.items() if isinstance(part, DTensor)}
        self._copy({name: part for name, part in parts.items() if name not in self.rest})
        if torch.cuda.is_available() and any(part.is_cuda for part in parts.values()):
            self.stream = self.stream or torch.cuda.Stream()
            self.stream.wait_stream(torch.cuda.current_stream())

    def end(self) -> None:
        """Copy the rest, in any thread, before the optimizer changes it."""
        with torch.cuda.stream(self.stream):
            self._copy(self.rest)
        self.rest = {}
        if self.stream is not None:
            self.stream.synchronize()

    @torch.no_grad()
    def _copy(self, parts: dict[str, Tensor]) -> None:
        known = [name for name in parts if name in self.parts]
        self.parts |= BlockingAsyncStager().stage({name: part for name, part in parts.items() if name not in known})
        for name, part in ((name, parts[name]) for name in known):
            _local(self.parts[name]).copy_(_local(part), non_blocking=self.stream is not None)


def _local(tensor: Tensor) -> Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def write(parts: dict[str, Tensor], folder: Path, group: dist.ProcessGroup | None) -> None:
    """Add every process's parts to a folder; to be called by all processes."""
    # What all have, such as the buffers of a model, is the first process's.
    planner = DefaultSavePlanner(dedup_save_to_lowest_rank=True)
    with _unwrapped():
        save(parts, storage_writer=FileSystemWriter(folder), planner=planner, process_group=group)


def read(state: Any, folder: Path) -> None:
    """Give the tensors of a state their values; to be called by all processes."""
    with (folder / LIST).open("rb") as stream:
        metadata: Metadata = _Plain(stream).load()
    with _unwrapped(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch remarks that there is one process, where there is
        load(tensors(state), storage_reader=_Reader(folder, metadata))


@contextmanager
def _unwrapped() -> Iterator[None]:
    """The error itself in place of torch's list of one."""
    try:
        yield
    except CheckpointException as failed:
        raise next(iter(failed.failures.values()))[0] from failed


class _Reader(FileSystemReader):
    """Goes by a list of parts that has been read already, for torch would run what it holds."""

    def __init__(self, folder: Path, metadata: Metadata) -> None:
        super().__init__(folder)
        self.metadata = metadata

    def read_metadata(self) -> Metadata:
        return self.metadata


PLAIN = {
    "torch.distributed.checkpoint.metadata": {
        *("Metadata", "TensorStorageMetadata", "TensorProperties", "ChunkStorageMetadata", "MetadataIndex"),
        *("BytesStorageMetadata", "StorageMeta", "_MEM_FORMAT_ENCODING"),
    },
    "torch.distributed.checkpoint.filesystem": {"_StorageInfo"},
    "torch.serialization": {"_get_layout"},
    "torch": {"Size", *(name for name, value in vars(torch).items() if isinstance(value, torch.dtype))},
    "pathlib": {"PosixPath", "WindowsPath"},
}
PLAIN["pathlib._local"] = PLAIN["pathlib"]
"""What a list of parts consists of, by module."""


class _Plain(pickle.Unpickler):
    """Reads a list of parts, and runs nothing."""

    def find_class(self, module: str, name: str) -> Any:
        if name not in PLAIN.get(module, ()):
            raise pickle.UnpicklingError(f"{module}.{name} does not belong in a checkpoint")
        return super().find_class(module, name)
