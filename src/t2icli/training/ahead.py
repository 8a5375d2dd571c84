"""Shards of data at an address, downloaded before the samples in them have their turn."""

from __future__ import annotations

import contextlib
import threading
import time
import warnings
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from t2icli.data import room
from t2icli.data.dataset import PreparedDataset
from t2icli.data.places import Mirror
from t2icli.ground.errors import T2IError, Unreachable
from t2icli.training.order import SampleOrder

PART = 2
"""Of the cache, one in so many parts is for what comes next."""
LOOK = 200_000
"""Samples that are looked ahead at a time."""
PAUSE = 1.0
"""Seconds between two looks."""


class Ahead:
    """Follows a training through its order of samples; `step` is where it is."""

    def __init__(self, data: PreparedDataset, order: SampleOrder, step: int) -> None:
        self.data, self.order, self.step = data, order, step
        self.over = threading.Event()
        self.begun = time.time_ns()
        self.most = 0

    @contextlib.contextmanager
    def following(self) -> Iterator[Ahead]:
        """While the block runs, shards come before they are needed; nothing is done for data on this machine."""
        if not isinstance(self.data.place, Mirror) or not len(self.data):
            yield self
            return
        self.most = room.bound()
        threading.Thread(target=self._follow, daemon=True).start()
        try:
            yield self
        finally:
            self.over.set()

    def check_size(self) -> None:
        """Say what it means that the cache is smaller than the data."""
        size = sum(map(self.data.size_of, range(len(self.data.card.shards))))
        if size > self.most and not self.order.window:
            warnings.warn(
                f"the data has {size / 1e9:.1f} GB and the cache {self.most / 1e9:.1f} GB: shuffled samples download "
                "shards again and again; set --cache-size, or shuffle less with -o loop.shuffle_window=SAMPLES",
                UserWarning,
                stacklevel=2,
            )

    def _follow(self) -> None:
        # Samples that come from what a frozen part made of the pictures need no shards.
        while room.last_use(self.data.folder) < self.begun:
            if self.over.wait(PAUSE):
                return
        with contextlib.suppress(T2IError, Unreachable):  # whoever reads the samples reports it
            self.check_size()
            while not self.over.wait(PAUSE):
                for shard in self.coming():
                    if not self.over.is_set():
                        self.data.bring(shard)

    def coming(self) -> list[int]:
        """The shards of the next samples, those first that are needed first, as far as there is room for them."""
        epoch, start = divmod(self.step * self.order.batch, self.order.n)
        shards = self._shards(epoch, start)
        if len(shards) < LOOK:
            shards = np.concatenate([shards, self._shards(epoch + 1, 0)])
        left, found = self.most // PART, list[int]()
        for shard in _distinct(shards):
            left -= self.data.size_of(shard)
            if left < 0 and found:
                break
            found.append(shard)
        return found

    def _shards(self, epoch: int, start: int) -> NDArray[np.int64]:
        """Of the samples of an epoch, in their order. A caption's number says about where its picture is."""
        rows = self.order.of_epoch(epoch)[start : start + LOOK].numpy()
        return self.data.shards_of(rows * len(self.data) // self.order.n)


def _distinct(values: NDArray[np.int64]) -> list[int]:
    _, first = np.unique(values, return_index=True)
    return [int(each) for each in values[np.sort(first)]]
