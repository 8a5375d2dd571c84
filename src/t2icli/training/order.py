"""Which samples a step trains on, and with which random numbers: pure functions of seed and step, so that
resuming a run needs one integer and any number of processes sees the same samples in the same order."""

from __future__ import annotations

import functools
import hashlib
import random
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate, get_worker_info

from t2icli.contract.recipes import Samples
from t2icli.ground.errors import T2IError, Unreachable
from t2icli.training.similar import Similar

UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, T2IError, Image.DecompressionBombError)
"""What Pillow and the data formats raise for a broken sample."""
TRIES = 100


def mix(*parts: object) -> int:
    """One seed from several things."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def seed_all(*parts: object) -> None:
    """Set every global generator that a recipe may draw from."""
    seed = mix(*parts)
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)


RUNS = 16
"""Runs of neighbours in one window of the shuffle."""


@functools.lru_cache(maxsize=2)  # a step may reach from one epoch into the next
def shuffled(seed: int, epoch: int, n: int, window: int = 0) -> torch.Tensor:
    """The order of an epoch. Within a window it comes from a few runs of neighbours, so from few shards."""
    random = torch.Generator().manual_seed(mix(seed, "order", epoch))
    if not 0 < window < n:
        return torch.randperm(n, generator=random)
    runs = torch.arange(n).split(max(1, window // RUNS))
    rows = torch.cat([runs[i] for i in torch.randperm(len(runs), generator=random).tolist()])
    return torch.cat([part[torch.randperm(len(part), generator=random)] for part in rows.split(window)])


@functools.lru_cache(maxsize=2)
def grouped(seed: int, epoch: int, similar: Similar) -> torch.Tensor:
    """The order of an epoch in which samples with similar captions stand side by side."""
    return similar.order(torch.Generator().manual_seed(mix(seed, "order", epoch)))


@dataclass(frozen=True)
class SampleOrder:
    """Every epoch shuffles the n samples; steps take `batch` of them in turn, across epochs."""

    seed: int
    n: int
    batch: int
    window: int = 0
    similar: Similar | None = None

    def rows(self, step: int) -> list[tuple[int, int]]:
        """(row, epoch) of each sample of the whole batch of `step`."""
        return [self._at(place) for place in range(step * self.batch, (step + 1) * self.batch)]

    def _at(self, place: int) -> tuple[int, int]:
        epoch, within = divmod(place, self.n)
        return int(self.of_epoch(epoch)[within]), epoch

    def of_epoch(self, epoch: int) -> torch.Tensor:
        """Every row once."""
        if self.similar is not None:
            return grouped(self.seed, epoch, self.similar)
        return shuffled(self.seed, epoch, self.n, self.window)


@dataclass(frozen=True)
class Pieces(Sampler[list[tuple[int, int]]]):
    """What one process trains on from step `start` to `stop`: for each step, `accum` pieces of the batch."""

    order: SampleOrder
    start: int
    stop: int
    accum: int = 1
    rank: int = 0
    world: int = 1

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        size = self.order.batch // (self.accum * self.world)
        for step in range(self.start, self.stop):
            rows = self.order.rows(step)
            for piece in range(self.accum):
                first = (piece * self.world + self.rank) * size
                yield rows[first : first + size]


@dataclass(frozen=True)
class Read:
    """A batch as the loader hands it over."""

    batch: Any
    """None when a sample could not be read and nothing was to take its place."""
    rows: list[int]
    problems: list[tuple[int, str]]
    """(row, reason) of samples that could not be read."""
    lost: Unreachable | None = None
    """Why no sample can be read now."""


class Seeded(Dataset[Any]):
    """Samples read with random numbers that depend on (seed, row, epoch) alone."""

    def __init__(
        self, samples: Samples[Any], seed: int, *, skip: bool = False, unreadable: Mapping[int, str] | None = None
    ) -> None:
        self.samples, self.seed, self.skip = samples, seed, skip
        self.unreadable = unreadable or {}

    def __getitem__(self, place: tuple[int, int]) -> tuple[Any, int, list[tuple[int, str]]]:
        row, epoch = place
        problems: list[tuple[int, str]] = []
        for _ in range(TRIES if self.skip else 1):
            seed = mix(self.seed, "sample", row, epoch)
            torch.default_generator.manual_seed(seed)  # the CPU's alone: a reading process may not touch a GPU
            random.seed(seed)
            np.random.seed(seed % 2**32)
            try:
                if row in self.unreadable:
                    raise ValueError(self.unreadable[row])
                return self.samples[row], row, problems
            except Unreachable as error:
                if get_worker_info() is None:
                    raise
                return error, row, problems  # raised in the training process, as it is
            except UNREADABLE as error:
                problems.append((row, str(error) or type(error).__name__))
            row = (row + 1) % len(self.samples)
        return None, place[0], problems


def collate(items: Sequence[tuple[Any, int, list[tuple[int, str]]]]) -> Read:
    samples, rows, problems = zip(*items, strict=True)
    lost = next((sample for sample in samples if isinstance(sample, Unreachable)), None)
    if lost is not None:
        return Read(None, list(rows), [], lost)
    whole = all(sample is not None for sample in samples)
    return Read(default_collate(list(samples)) if whole else None, list(rows), [p for some in problems for p in some])


def loader(samples: Seeded, pieces: Any, workers: int, *, pin: bool = False) -> DataLoader[Read]:
    """Reads ahead in `workers` processes; what it yields does not depend on how many they are."""
    return DataLoader(
        samples,
        batch_sampler=pieces,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=pin,
        prefetch_factor=4 if workers else None,
    )
