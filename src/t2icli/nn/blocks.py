"""Results that do not depend on the rest of the batch: everything is computed in blocks of one shape.

Libraries choose a kernel by the shape of what they multiply, and kernels round differently. So sequences are drawn in
blocks of `ROWS` rows, filled up by repeating the last, and pictures and texts go through their networks one by one
on a CPU, in full batches elsewhere. That a kernel treats all rows of a block alike cannot be seen from its shape: it
is tried, once for each kind of layer and process.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from t2icli.ground.batches import batched
from t2icli.nn.devices import halved

S = TypeVar("S")
T = TypeVar("T")
ROWS = 16
"""Rows of a block on a CPU."""


def fill(values: Sequence[T], count: int) -> list[T]:
    """`count` values, the last one repeated as often as it takes."""
    return [*values, *[values[-1]] * (count - len(values))]


def filled(rows: int) -> int:
    """`rows` rounded up to whole blocks."""
    return -(-rows // ROWS) * ROWS


def in_blocks(compute: Callable[..., Tensor], *tensors: Tensor, size: int = ROWS) -> Tensor:
    """`compute` of `size` rows of the tensors at a time; of all at once where they are not on a CPU."""
    if len(tensors[0]) <= size or tensors[0].device.type != "cpu":
        return compute(*tensors)
    return torch.cat([compute(*parts) for parts in zip(*(tensor.split(size) for tensor in tensors), strict=True)])


@torch.inference_mode()
def safe_size(multiplier: Callable[[int], Callable[[Tensor], Tensor]], sample: Tensor, rows: int) -> int:
    """How many of `rows` rows may be computed at once without a row's result depending on the others or its place.

    `multiplier(n)` is what computes n rows; `sample` holds `ROWS` different ones. All rows at once if that gives what
    blocks of `ROWS` give, else `ROWS`; 1 where even in one block a row's place changes it.
    """
    compute = multiplier(ROWS)
    expected = compute(sample)
    repeated = compute(sample[:1].expand_as(sample).contiguous())
    alike = repeated.eq(repeated[:1]).all() and compute(sample.roll(5, 0)).equal(expected.roll(5, 0))
    if not alike:
        return 1
    if rows <= ROWS:
        return ROWS
    turns = range(rows // ROWS)
    whole = multiplier(rows)(torch.cat([sample.roll(turn, 0) for turn in turns]))
    return rows if whole.equal(torch.cat([expected.roll(turn, 0) for turn in turns])) else ROWS


def by_themselves(compute: Callable[..., Tensor], columns: Sequence[Tensor], device: torch.device, most: int) -> Tensor:
    """`compute` of items that are the rows of `columns` (at least one), each independent of the others.

    On a CPU each is a batch of its own and has one thread, as many at a time as there are threads: how many they are
    changes nothing. Elsewhere batches of `most` are filled up, and halved when memory runs out. `compute` is called in
    other threads, so it has to disable gradients itself.
    """
    if device.type == "cpu":
        items = zip(*(column.split(1) for column in columns), strict=True)
        return torch.cat(list(_in_threads(lambda item: compute(*item), list(items))))
    parts: list[Tensor] = []
    done, n = 0, len(columns[0])
    while done < n:
        rows = torch.tensor(fill(range(done, min(done + most, n)), most))
        try:
            part = compute(*(column[rows.to(column.device)] for column in columns))
        except torch.OutOfMemoryError as error:
            most = halved(most, error)
            continue
        parts.append(part[: n - done])
        done += most
    return torch.cat(parts)


def in_groups(
    items: Iterable[S],
    kind: Callable[[S], Hashable],
    compute: Callable[[Mapping[int, S], int], Iterable[T]],
    batch: int,
) -> Iterator[T]:
    """The results of `compute` in the items' order. Items are read in blocks of `batch`, and computed together where
    they are of one kind.

    `compute` gets items by their index among all, and how many a batch has, which is halved when memory runs out.
    """
    for block in batched(enumerate(items), batch):
        groups: dict[Hashable, list[tuple[int, S]]] = {}
        for index, item in block:
            groups.setdefault(kind(item), []).append((index, item))
        done: dict[int, T] = {}
        for group in groups.values():
            while group:
                now = dict(group[:batch])
                try:
                    done |= zip(now, compute(now, batch), strict=True)
                except torch.OutOfMemoryError as error:
                    batch = halved(batch, error)
                    continue
                group = group[batch:]
        yield from (done[index] for index, _ in block)


def _in_threads(compute: Callable[[T], Tensor], items: Sequence[T]) -> Iterator[Tensor]:
    threads = torch.get_num_threads()
    with one_thread():  # the number also is the default of threads that begin meanwhile
        if min(threads, len(items)) == 1:
            yield from map(compute, items)
            return
        with ThreadPoolExecutor(min(threads, len(items)), initializer=partial(torch.set_num_threads, 1)) as pool:
            yield from pool.map(compute, items)


@contextmanager
def one_thread() -> Iterator[None]:
    """Within, this thread computes alone: what is shared between threads may be rounded by their number."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
