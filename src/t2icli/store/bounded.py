"""An unpickler that takes no more memory and time than the size of its file allows.

Some bytes of a pickle may ask for gigabytes: a length, a place in the memo, `bytearray(8_000_000_000)`; or for years:
the hash of a tuple of two tuples of two tuples ... So lengths are compared with what is left to read, the memo is a
dictionary, and copying and hashing spend from a budget. All this is possible with Python's own unpickler in the
form written in Python, which torch builds on too.
"""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Callable, Iterable
from typing import IO, Any, ClassVar

HEAVIEST = 1_000_000
"""Items of a tuple and of the tuples in it."""
PROGRAM = 16 << 20
"""Bytes of the pickle in a torch file, which names tensors and does not hold them: 100,000 of them take as much."""


CHOSEN = (int, float, complex, tuple, frozenset)
"""Kinds of keys whose hash a file can choose."""


class TooMuch(pickle.UnpicklingError):
    """A pickle asks for more than its file can hold."""

    def __init__(self, what: str) -> None:
        super().__init__(f"it asks for {what}, more than its file can hold")


class Budget:
    """The budget for copying and hashing: a few times the size of the file."""

    def __init__(self, size: int) -> None:
        self.left = 4 * size + (1 << 20)
        self._heavy: dict[int, tuple[int, tuple[Any, ...]]] = {}
        self._same: dict[int, list[Any]] = {}

    def spend(self, items: int) -> None:
        self.left -= items
        if self.left < 0:
            raise TooMuch("copies of its parts")

    def weigh(self, value: tuple[Any, ...]) -> int:
        """How many items hashing a tuple looks at."""
        return self._heavy[id(value)][0] if id(value) in self._heavy else len(value)

    def note(self, value: tuple[Any, ...]) -> None:
        """Remember the weight of a new tuple, if there are tuples in it."""
        inner = [self.weigh(item) for item in value if type(item) is tuple]
        if inner:
            weight = len(value) + sum(inner)
            if weight > HEAVIEST:
                raise TooMuch(f"a tuple of {weight} items")
            self._heavy[id(value)] = (weight, value)

    def hash(self, keys: Iterable[Any]) -> None:
        """Pay for hashing, and for comparing with earlier keys of the same hash.

        An attacker finds numbers, and tuples and sets of them, with equal hashes. The hashes of texts are salted,
        and small integers are their own.
        """
        for key in keys:
            if type(key) in CHOSEN:
                weight = len(key) if type(key) is frozenset else self.weigh(key) if type(key) is tuple else 1
                self.spend(weight if weight > 1 else 0)
                with contextlib.suppress(TypeError):  # a tuple with a list in it, which nothing can hash
                    self._compare(key, weight)

    def _compare(self, key: Any, weight: int) -> None:
        if hash(key) == key:
            return
        others = self._same.setdefault(hash(key), [])
        self.spend(weight * len(others))
        if key not in others:
            others.append(key)


class Within:
    """The rest of a stream; reads beyond its end are refused."""

    def __init__(self, stream: IO[bytes], most: int) -> None:
        self._stream = stream
        here = stream.tell()
        self._left = min(stream.seek(0, 2) - here, most)
        stream.seek(here)

    def read(self, size: int) -> bytes:
        self._take(size)
        return self._stream.read(size)

    def readline(self) -> bytes:
        line = self._stream.readline(self._left + 1)
        self._take(len(line))
        return line

    def _take(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise TooMuch(f"{size} bytes")


class Unpickler(pickle._Unpickler):
    """Python's, with `budget` and without ways around it."""

    read: Callable[[int], bytes]
    stack: list[Any]
    append: Callable[[Any], None]
    dispatch: ClassVar[dict[int, Callable[..., None]]] = dict(pickle._Unpickler.dispatch)

    def __init__(self, stream: IO[bytes], budget: Budget, most: int, **options: Any) -> None:
        super().__init__(Within(stream, most), **options)
        self.budget = budget

    def load_bytearray8(self) -> None:
        size = int.from_bytes(self.read(8), "little")
        self.append(bytearray(self.read(size)))

    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8


def _noting(load: Callable[[Unpickler], None]) -> Callable[[Unpickler], None]:
    def load_tuple(self: Unpickler) -> None:
        load(self)
        self.budget.note(self.stack[-1])

    return load_tuple


def _paying(load: Callable[[Unpickler], None], keys: slice) -> Callable[[Unpickler], None]:
    def load_hashed(self: Unpickler) -> None:
        self.budget.hash(self.stack[keys])
        load(self)

    return load_hashed


for _op in (pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3):
    Unpickler.dispatch[_op[0]] = _noting(Unpickler.dispatch[_op[0]])
for _op, _keys in (
    (pickle.SETITEM, slice(-2, -1)),
    (pickle.SETITEMS, slice(0, None, 2)),
    (pickle.DICT, slice(0, None, 2)),
    (pickle.ADDITEMS, slice(None)),
    (pickle.FROZENSET, slice(None)),
):
    Unpickler.dispatch[_op[0]] = _paying(Unpickler.dispatch[_op[0]], _keys)
