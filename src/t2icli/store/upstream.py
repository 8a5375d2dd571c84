"""Open files of other projects safely: .pt, .pth, .ckpt, .bin, .safetensors and .pkl of any age.

Nothing in such a file is ever run: see `t2icli.store.unpickle`.
"""

from __future__ import annotations

import re
import tarfile
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t2icli.ground.errors import T2IError, did_you_mean

if TYPE_CHECKING:
    from torch import Tensor

TORCH_LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19"
"""How `torch.save` began its files before it wrote zips."""


@dataclass(frozen=True)
class Contents:
    """What was in a file, and what had to be left out."""

    path: Path
    data: Any
    """Dictionaries, lists, numbers and tensors; `Inert` objects where a class was foreign."""
    stubbed: tuple[str, ...] = ()
    """Names of the foreign classes and functions, none of which was run."""

    def get(self, key: str) -> Any:
        """One entry of a file that is a dictionary."""
        if not isinstance(self.data, Mapping):
            raise T2IError(f"'{self.path}' is not a dictionary, so it has no {key!r}", _what_it_is(self.data))
        if key not in self.data:
            raise T2IError(f"'{self.path}' has no {key!r}", did_you_mean(key, map(str, self.data)))
        return self.data[key]

    def tensors(self, *keys: str) -> dict[str, Tensor]:
        """The state dict under the first of `keys` that is there, else the file itself where it is one."""
        import torch

        if not isinstance(self.data, Mapping):
            raise T2IError(f"'{self.path}' holds no weights", _what_it_is(self.data))
        table = next((self.data[key] for key in keys if key in self.data), self.data)
        tensors = {k: v for k, v in table.items() if isinstance(v, torch.Tensor)} if isinstance(table, Mapping) else {}
        if not tensors:
            raise T2IError(f"'{self.path}' holds no weights", _what_it_is(table))
        return tensors


def read(path: Path) -> Contents:
    """Everything in a file of weights, or an error that says what is wrong with it."""
    reader = _reader(path, _head(path))
    try:
        data, stubbed = reader(path)
    except T2IError:
        raise
    except Exception as error:
        raise _damaged(path, error) from error
    names = tuple(sorted(stubbed))
    if names:
        warnings.warn(
            f"'{path.name}' refers to foreign classes, which were not executed: {_few(names)}", UserWarning, 2
        )
    return Contents(path, data, names)


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            head = stream.read(512)
    except OSError as error:
        raise T2IError(f"cannot read '{path}': {error.strerror}") from error
    if not head:
        raise T2IError(f"'{path}' is empty", "download the file again", code=1)
    return head


def _reader(path: Path, head: bytes) -> Callable[[Path], tuple[Any, set[str]]]:
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise T2IError(
            f"'{path}' is a web page, not weights", "the download asked for a login or failed: get it again", 1
        )
    if text.startswith(b"version https://git-lfs"):
        raise T2IError(f"'{path}' is a Git LFS pointer, not weights", "run: git lfs pull", code=1)
    if head[8:9] == b"{":
        return _read_safetensors
    if head.startswith(b"PK\x03\x04"):
        return _read_torch
    if head.startswith(TORCH_LEGACY) and not tarfile.is_tarfile(path):  # torch would unpack it
        return _read_torch
    if head.startswith(b"\x80") or path.suffix in (".pkl", ".pickle"):
        return _read_pickle
    if tarfile.is_tarfile(path):
        raise T2IError(f"'{path}' is a tar archive", "unpack it, or save the weights again with a newer torch", code=1)
    raise T2IError(f"'{path}' is not a weights file", "expected what torch.save, pickle or safetensors wrote", code=1)


def _read_torch(path: Path) -> tuple[Any, set[str]]:
    from t2icli.store import unpickle

    if unpickle.is_torchscript(path):
        raise T2IError(
            f"'{path}' is a TorchScript program, not weights", "save its state_dict() with torch.save", code=1
        )
    content: tuple[Any, set[str]] = unpickle.read_torch(path)
    return content


def count(names: Iterable[str], pattern: str) -> int:
    """How many layers there are: one more than the largest number that `pattern` finds at the start of a name."""
    return 1 + max((int(match[1]) for name in names if (match := re.match(pattern, name))), default=-1)


def _read_pickle(path: Path) -> tuple[Any, set[str]]:
    from t2icli.store import unpickle

    content: tuple[Any, set[str]] = unpickle.read_pickle(path)
    return content


def _read_safetensors(path: Path) -> tuple[Any, set[str]]:
    from safetensors.torch import load_file

    return load_file(path), set()


def _damaged(path: Path, error: Exception) -> T2IError:
    reason = str(error).strip().splitlines() or [type(error).__name__]
    return T2IError(
        f"'{path}' is damaged or truncated: {reason[0]}", "download the file again and compare its size", code=1
    )


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def _what_it_is(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"it is a dictionary of {', '.join(map(str, list(value)[:8]))}"
    return f"it is a {type(value).__name__}"
