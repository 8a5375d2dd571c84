"""Read pickles of strangers without running anything in them.

A pickle is a small program that may name and call any function of any module. Here a name means one of
the few harmless things listed below, or else an `Inert`: an object that takes whatever the program does
to it and does nothing. So tensors survive beside objects of classes we do not have, and
`os.system("...")` is a remark in a list of names.

The functions torch calls to put a tensor together are wrapped, because a program may also write
attributes on what it was given.
"""

from __future__ import annotations

import io
import pickle
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor


class Inert:
    """Stands in for an object of a class we do not have, or for what calling an unknown function gave."""

    dump_patches = False  # torch asks the classes of very old files

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.args = args
        self.state: Any = kwargs
        self.items: list[Any] = []

    def __call__(self, *args: Any, **kwargs: Any) -> Inert:
        return Inert(*args, **kwargs)

    def __setstate__(self, state: Any) -> None:
        self.__dict__.update(args=(), items=[], state=state)  # may come before, or without, __init__

    def __setitem__(self, key: Any, value: Any) -> None:
        self.append((key, value))

    def append(self, item: Any) -> None:
        self.__dict__.setdefault("items", []).append(item)

    add = append

    def extend(self, items: Iterable[Any]) -> None:
        for item in items:
            self.append(item)

    update = extend


class Harmless:
    """A callable a pickle may use; nothing can be written on it."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def __call__(self, *args: Any) -> Any:
        return self._call(*args)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("the file tries to change a function")


class Table(OrderedDict[Any, Any]):
    """A dictionary that keeps its entries and ignores attributes, such as a state dict's `_metadata`."""

    def __setstate__(self, state: Any) -> None:
        pass


def _tensor(storage: Any, offset: int, size: Any, stride: Any, *_hooks: Any) -> Tensor:
    return torch._utils._rebuild_tensor(storage, offset, size, stride)


def _first(value: Any, *_rest: Any) -> Any:
    return value


def _subclass(rebuild: Any, _type: Any, args: Any, _state: Any) -> Any:
    return rebuild(*args)


def _latin1(text: str, _encoding: str = "latin1") -> bytes:
    return text.encode("latin1")  # how protocol 2 writes bytes


def _table(*args: Any) -> Table:
    return Table(*[arg for arg in args if isinstance(arg, (dict, list, tuple))])


BUILTINS = (set, frozenset, dict, list, tuple, bytearray, complex, slice, int, float, bool, str)

HARMLESS: dict[tuple[str, str], Callable[..., Any]] = {
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _first,
    ("torch._utils", "_rebuild_parameter_with_state"): _first,
    ("torch._tensor", "_rebuild_from_type_v2"): _subclass,
    ("torch", "Size"): torch.Size,
    ("torch", "device"): torch.device,
    ("collections", "OrderedDict"): _table,
    ("collections", "defaultdict"): _table,
    ("collections", "Counter"): _table,
    ("_codecs", "encode"): _latin1,
    **{(module, kind.__name__): kind for module in ("builtins", "__builtin__") for kind in BUILTINS},
}


class Reader:
    """What `torch.load` wants as its `pickle_module`, and a reader of plain pickles."""

    __name__ = "inert pickle"  # torch looks at it

    def __init__(self) -> None:
        self.stubbed: set[str] = set()
        reader = self

        class Unpickler(pickle.Unpickler):
            def find_class(self, module: str, name: str) -> Any:
                return reader.find(module, name)

        self.Unpickler = Unpickler

    def load(self, stream: IO[bytes], **options: Any) -> Any:
        return self.Unpickler(stream, **options).load()

    def find(self, module: str, name: str) -> Any:
        if (module, name) == ("torch.storage", "_load_from_bytes"):
            return Harmless(self._storage)
        if (module, name) in HARMLESS:
            return Harmless(HARMLESS[module, name])
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        self.stubbed.add(f"{module}.{name}")
        return type(name, (Inert,), {"__module__": module})

    def _storage(self, content: bytes) -> Any:
        """A tensor's storage inside a plain pickle is a torch file of its own."""
        try:
            return _weights_only(io.BytesIO(content))
        except pickle.UnpicklingError:
            return Inert()


def _weights_only(file: Any, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Detected pickle protocol")  # it reads them, or refuses
        return torch.load(file, map_location="cpu", weights_only=True, **options)


def read_torch(path: Path) -> tuple[Any, set[str]]:
    """What `torch.save` wrote, and the names that had to be stubbed."""
    try:
        return _weights_only(path, mmap=_is_zip(path)), set()
    except pickle.UnpicklingError:
        reader = Reader()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that sources of classes have changed, which we do not have
            data = torch.load(path, map_location="cpu", weights_only=False, pickle_module=reader)
        return data, reader.stubbed


def read_pickle(path: Path) -> tuple[Any, set[str]]:
    """What `pickle.dump` wrote, tensors included, and the names that had to be stubbed."""
    reader = Reader()
    with path.open("rb") as stream:
        return reader.load(stream, encoding="latin1"), reader.stubbed


def is_torchscript(path: Path) -> bool:
    """Asked of torch's own zip reader, so that the answer holds for what torch would then do."""
    return _is_zip(path) and "constants.pkl" in torch._C.PyTorchFileReader(str(path)).get_all_records()


def _is_zip(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(4) == b"PK\x03\x04"
