"""Where chunks are worked on: in this process, or on a Ray cluster through Daft."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from t2icli.ground import machine
from t2icli.prepare.chunks import Chunk
from t2icli.prepare.fetch import Fetcher
from t2icli.prepare.work import ShardMaker, Work, noticed

LOOK_UPS = 64
AT_ONCE = 3
"""Chunks under way: the last slow hosts of one do not hold up the next."""


class _Unawaited(ThreadPoolExecutor):
    """Daemon threads: looking up a name may take half a minute, and cannot be stopped."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        super().shutdown(wait=False, cancel_futures=True)


def run_here(chunks: Iterable[Chunk], work: Work) -> None:
    """Work on all chunks; also where an event loop runs already, as in a notebook."""
    running = _run(chunks, work)
    if not _in_event_loop():
        asyncio.run(running)
        return
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, running).result()


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def _run(chunks: Iterable[Chunk], work: Work) -> None:
    # Looking up names happens in the loop's own threads, and some never answer: decoding has others.
    asyncio.get_running_loop().set_default_executor(_Unawaited(LOOK_UPS, "look-up"))
    waiting = iter(chunks)
    under_way: set[asyncio.Task[None]] = set()
    with ThreadPoolExecutor(machine.cores(), "decode") as threads:
        async with Fetcher(work.plan.limits) as fetcher:
            worker = ShardMaker(work, fetcher, threads)
            try:
                while (chunk := await asyncio.to_thread(next, waiting, None)) is not None:
                    # Local chunks one after another: of equal images the first is kept, in every run.
                    await _leave(under_way, AT_ONCE - 1 if chunk.is_remote else 0)
                    task = asyncio.create_task(worker.chunk(chunk))
                    task.add_done_callback(noticed)
                    under_way.add(task)
                await _leave(under_way, 0)
            finally:
                work.stop.set()
                for task in under_way:
                    task.cancel()
                await asyncio.gather(*under_way, return_exceptions=True)


async def _leave(under_way: set[asyncio.Task[None]], most: int) -> None:
    """Wait until at most so many are under way; the first to fail fails all."""
    while len(under_way) > most:
        done, _ = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
        under_way -= done
        for task in done:
            task.result()
