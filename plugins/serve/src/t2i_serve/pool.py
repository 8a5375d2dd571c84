"""The models that are loaded: on demand, each with a thread of its own, the least recently used dropped first."""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
import sys
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from t2i_serve.drawer import Drawer
from t2i_serve.errors import ApiError
from t2i_serve.offers import Offers, ServedModel
from t2icli.pipelines import provenance
from t2icli.registry.open import Opened, open_one

log = logging.getLogger("t2i.serve")
T = TypeVar("T")
Key = tuple[str, str]
"""Kind and name."""


@dataclass(eq=False)
class Resident:
    """A model that is loaded."""

    opened: Opened[Any]
    record: dict[str, Any]
    """What a PNG says about it."""
    thread: ThreadPoolExecutor
    size: int
    drawer: Drawer | None = None
    """Of a generator."""
    users: int = 0
    last: int = 0
    """When it was last asked for, by a counter."""
    idle: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.thread, work, *arguments)


class Pool:
    """What is loaded, and how it comes and goes."""

    def __init__(
        self,
        offers: Offers,
        *,
        memory: int | None = None,
        device: str | None = None,
        waves: Callable[[int], object] = id,
    ) -> None:
        self.offers, self._memory, self._device, self._waves = offers, memory, device, waves
        self._loads: dict[Key, asyncio.Task[Resident]] = {}
        self.loaded: dict[Key, Resident] = {}
        self._clock = itertools.count(1)
        self._loading = asyncio.Lock()
        self._threads: int | None = None
        """How many torch computes with, as of the first model: other threads may see another default for a while."""

    def waiting(self) -> int:
        """Pictures that no generator has begun."""
        return sum(each.drawer.waiting() for each in self.loaded.values() if each.drawer is not None)

    @asynccontextmanager
    async def using(self, kind: str, word: str | None) -> AsyncIterator[Resident]:
        """A model, loaded; it stays so while it is used."""
        offer = self.offers.find(kind, word)
        resident = await self._resident((kind, offer.name), offer)
        resident.users += 1
        resident.last = next(self._clock)
        resident.idle.clear()
        try:
            yield resident
        finally:
            resident.users -= 1
            if not resident.users:
                resident.idle.set()

    async def _resident(self, key: Key, offer: ServedModel) -> Resident:
        while True:
            task = self._loads.get(key)
            if task is None:
                task = self._loads[key] = asyncio.create_task(self._load(key, offer))
            try:
                resident = await asyncio.shield(task)  # others may wait for it when this one has gone
            except BaseException:
                if task.done() and self._loads.get(key) is task:
                    del self._loads[key]
                raise
            if self._loads.get(key) is task:
                return resident

    async def _load(self, key: Key, offer: ServedModel) -> Resident:
        async with self._loading:
            await self._make_room(offer)
            thread = ThreadPoolExecutor(1, thread_name_prefix=f"{offer.kind} {offer.name}")
            log.info("loading %s", offer.name)
            try:
                opened, record = await asyncio.get_running_loop().run_in_executor(thread, partial(self._open, offer))
            except BaseException:
                thread.shutdown(wait=False)
                raise
        resident = Resident(opened, record, thread, offer.size)
        resident.idle.set()
        if offer.kind == "generator":
            resident.drawer = Drawer(opened.thing, thread, waves=self._waves)
        self.loaded[key] = resident
        return resident

    def _open(self, offer: ServedModel) -> tuple[Opened[Any], dict[str, Any]]:
        """In the model's thread, whose number of threads is fixed here: it decides the last bits of a picture."""
        device = self._device if offer.has_device else None
        opened = open_one(offer.kind, offer.word, device=device)
        if "torch" in sys.modules:
            import torch

            self._threads = self._threads or torch.get_num_threads()
            torch.set_num_threads(self._threads)
        return opened, provenance.record(opened)

    async def _make_room(self, offer: ServedModel) -> None:
        """Drop what was used least recently until the model fits. What is in use is waited for, without new users."""
        if self._memory is None:
            return
        if offer.size > self._memory:
            raise ApiError(503, f"model {offer.name!r} is larger than --memory: {offer.size:,} bytes", "out_of_memory")
        while self.loaded and sum(each.size for each in self.loaded.values()) + offer.size > self._memory:
            key = min(self.loaded, key=lambda key: (self.loaded[key].users > 0, self.loaded[key].last))
            self._loads.pop(key, None)
            await self.loaded[key].idle.wait()
            self._drop(key)

    def _drop(self, key: Key) -> None:
        log.info("dropped %s", key[1])
        resident = self.loaded.pop(key)
        resident.thread.shutdown(wait=False)
        del resident
        gc.collect()
        if "torch" in sys.modules and sys.modules["torch"].cuda.is_available():
            sys.modules["torch"].cuda.empty_cache()

    def close(self) -> None:
        for task in self._loads.values():
            task.cancel()
        for resident in self.loaded.values():
            resident.thread.shutdown(wait=False, cancel_futures=True)
