"""Read untrusted pickles without running anything in them.

A pickle is a small program that may name and call any function of any module. Here a name means one of
the few harmless things listed below, or else an `Inert`: an object that takes whatever the program does
to it and does nothing. So tensors survive beside objects of classes we do not have, and
`os.system("...")` is an entry in a list of names.

The functions torch calls to put a tensor together are wrapped, because a program may also write
attributes on what it was given. How much a pickle may ask for is bounded: see `t2icli.store.bounded`.
"""

from __future__ import annotations

import io
import pickle
import sys
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from t2icli.store import bounded
from t2icli.store.bounded import PROGRAM, Budget, TooMuch

CLASSES = 10_000
"""Foreign classes that a file may name."""
WIDENED = 64 << 20
"""Bytes to which a smaller storage may be repeated."""


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
    """A callable a pickle may use; nothing can be written on it, and what it copies is paid for."""

    __slots__ = ("_budget", "_call")

    def __init__(self, call: Callable[..., Any], budget: Budget) -> None:
        self._call = call
        self._budget = budget

    def __call__(self, *args: Any) -> Any:
        for arg in args:
            if isinstance(arg, COPIED):
                self._budget.spend(len(arg))
                self._budget.hash(() if isinstance(arg, (str, bytes, bytearray)) else _keys(arg))
        result = self._call(*args)
        if type(result) is tuple:
            self._budget.note(result)
        return result

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("the file tries to change a function")


def _keys(container: Iterable[Any]) -> Iterator[Any]:
    """What a set or a dictionary made of this may hash: the items, and the first of each pair."""
    for item in container:
        yield item
        if isinstance(item, (tuple, list)) and len(item) == 2:
            yield item[0]


COPIED = (str, bytes, bytearray, list, tuple, dict, set, frozenset)


class Table(OrderedDict[Any, Any]):
    """A dictionary that keeps its entries and ignores attributes, such as a state dict's `_metadata`."""

    def __setstate__(self, state: Any) -> None:
        pass


def _tensor(storage: Any, offset: int, size: Any, stride: Any, *_hooks: Any) -> Tensor:
    tensor: Tensor = torch._utils._rebuild_tensor(storage, offset, size, stride)
    if tensor.numel() * tensor.itemsize > max(storage.nbytes(), WIDENED):  # a stride of 0 repeats what is there
        raise TooMuch(f"a tensor of {tensor.numel()} numbers")
    return tensor


def _first(value: Any, *_rest: Any) -> Any:
    return value


def _subclass(rebuild: Any, _type: Any, args: tuple[Any, ...], _state: Any) -> Any:
    if not isinstance(args, tuple):
        raise pickle.UnpicklingError("arguments that are not a tuple")
    return rebuild(*args)


def _latin1(text: str, _encoding: str = "latin1") -> bytes:
    return text.encode("latin1")  # how protocol 2 writes bytes


def _table(*args: Any) -> Table:
    return Table(*[arg for arg in args if isinstance(arg, (dict, list, tuple))])


def _builtin(kind: Callable[..., Any], *allowed: type) -> Callable[..., Any]:
    """A class of Python's, for arguments that cost no more than they are long: no `bytearray(8_000_000_000)`."""

    def make(*args: Any) -> Any:
        if not all(isinstance(arg, allowed) for arg in args):
            raise pickle.UnpicklingError(f"{kind} of an unexpected object")
        return kind(*args)

    return make


def _text(value: Any = "", encoding: str = "utf-8", errors: str = "strict") -> str:
    if isinstance(value, (bytes, bytearray)) and encoding.lower() in ("utf-8", "utf8", "latin1", "latin-1", "ascii"):
        return value.decode(encoding, errors)
    if isinstance(value, (str, int, float)):
        return str(value)
    raise pickle.UnpicklingError("text of an unexpected object")


CONTAINERS = (list, tuple, dict, set, frozenset, str, bytes)
NUMBERS = (int, float, complex, str, bytes)
BUILTINS: dict[str, Callable[..., Any]] = {
    **{kind.__name__: _builtin(kind, *CONTAINERS) for kind in (set, frozenset, dict, list, tuple)},
    **{kind.__name__: _builtin(kind, *NUMBERS) for kind in (int, float, bool, complex)},
    "bytearray": _builtin(bytearray, str, bytes, list, tuple),
    "str": _text,
}

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
    **{(module, name): kind for module in ("builtins", "__builtin__") for name, kind in BUILTINS.items()},
}


class Reader:
    """What `torch.load` wants as its `pickle_module`, and a reader of plain pickles.

    `size` is that of the whole file. `records` are the sizes of the files in a zip; without them, storages lie
    one behind the other in the file itself.
    """

    __name__ = "inert pickle"  # torch looks at it

    def __init__(self, size: int, most: int = sys.maxsize, records: Mapping[str, int] | None = None) -> None:
        self.stubbed: set[str] = set()
        self.size, self.most, self.records = size, most, records
        self.budget = Budget(size)
        self._storages: set[str] = set()
        self._held = 0
        self._stand_ins: dict[tuple[str, str], Any] = {}
        reader = self

        class Unpickler(bounded.Unpickler):
            def __init__(self, stream: IO[bytes], **options: Any) -> None:
                super().__init__(stream, reader.budget, reader.most, **options)

            def find_class(self, module: str, name: str) -> Any:
                return reader.find(module, name)

            def load(self) -> Any:
                if (load := vars(self).get("persistent_load")) is not None:  # torch puts it there

                    def checked(pid: Any) -> Any:
                        reader.check(pid)
                        return load(pid)

                    vars(self)["persistent_load"] = checked
                return super().load()

        self.Unpickler = Unpickler

    def load(self, stream: IO[bytes], **options: Any) -> Any:
        return self.Unpickler(stream, **options).load()

    def find(self, module: str, name: str) -> Any:
        if (module, name) == ("torch.storage", "_load_from_bytes"):
            return Harmless(self._storage, self.budget)
        if (module, name) in HARMLESS:
            return Harmless(HARMLESS[module, name], self.budget)
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        if (module, name) not in self._stand_ins:
            if len(self._stand_ins) == CLASSES:
                raise TooMuch(f"more than {CLASSES} classes")
            self._stand_ins[module, name] = type(name, (Inert,), {"__module__": module})
            self.stubbed.add(f"{module}.{name}")
        return self._stand_ins[module, name]

    def check(self, pid: Any) -> None:
        """Whether a storage that torch is to read is in the file, with the size stated."""
        kind = pid[0] if isinstance(pid, tuple) and len(pid) >= 4 else None
        if kind in ("module", b"module"):  # of very old files: a class and its source
            return
        if kind not in ("storage", b"storage") or len(pid) < 5 or type(pid[4]) is not int or pid[4] < 0:
            raise pickle.UnpicklingError("a storage that is described wrongly")
        key = pid[2].decode("ascii") if isinstance(pid[2], bytes) else pid[2]
        if type(key) is not str:
            raise pickle.UnpicklingError("a storage without a name")
        width = 1 if pid[1] is torch.UntypedStorage else pid[1].dtype.itemsize
        if self.records is None:
            self._held += pid[4] * width * (key not in self._storages)  # torch uses what is stated first
            self._storages.add(key)
        if max(pid[4] * width, self._held) > (
            self.size if self.records is None else self.records.get(f"data/{key}", 0)
        ):
            raise TooMuch(f"{pid[4] * width} bytes for storage {key!r}")

    def _storage(self, content: bytes) -> Any:
        """A tensor's storage inside a plain pickle is a torch file of its own."""
        reader = Reader(len(content), PROGRAM)
        reader.stubbed, reader.budget = self.stubbed, self.budget
        try:
            return _load(io.BytesIO(content), reader)
        except TooMuch:
            raise
        except (pickle.UnpicklingError, EOFError, ValueError, RuntimeError):
            return Inert()


def _load(file: Any, reader: Reader, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that sources of classes have changed, which we do not have
        return torch.load(file, map_location="cpu", weights_only=False, pickle_module=reader, **options)


def read_torch(path: Path) -> tuple[Any, set[str]]:
    """What `torch.save` wrote, and the names that had to be stubbed."""
    is_zip = _is_zip(path)
    reader = Reader(path.stat().st_size, PROGRAM, _records(path) if is_zip else None)
    return _load(path, reader, mmap=is_zip), reader.stubbed


def _records(path: Path) -> dict[str, int]:
    """The sizes of the files in a torch zip, by their names in its folder; none of them may be compressed."""
    with zipfile.ZipFile(path) as opened:
        entries = {entry.filename.partition("/")[2]: entry for entry in opened.infolist()}
        if len(entries) != len(opened.infolist()):
            raise pickle.UnpicklingError("two files of one name in it")
    for name, entry in entries.items():
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
            raise pickle.UnpicklingError(f"{name} in it is compressed, as torch never writes it")
    if "data.pkl" in entries and entries["data.pkl"].file_size > PROGRAM:
        raise TooMuch(f"{entries['data.pkl'].file_size} bytes of instructions")
    return {name: entry.file_size for name, entry in entries.items()}


def read_pickle(path: Path) -> tuple[Any, set[str]]:
    """What `pickle.dump` wrote, tensors included, and the names that had to be stubbed."""
    reader = Reader(path.stat().st_size)
    with path.open("rb") as stream:
        return reader.load(stream, encoding="latin1"), reader.stubbed


def is_torchscript(path: Path) -> bool:
    """Asked of torch's own zip reader, so that the answer holds for what torch would then do."""
    return _is_zip(path) and "constants.pkl" in torch._C.PyTorchFileReader(str(path)).get_all_records()


def _is_zip(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(4) == b"PK\x03\x04"
