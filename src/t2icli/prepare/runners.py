"""Where chunks are worked on: in this process, or on a Ray cluster through Daft."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

from t2icli.prepare.chunks import Chunk
from t2icli.prepare.claims import Claims
from t2icli.prepare.fetch import Fetcher
from t2icli.prepare.settings import Plan
from t2icli.prepare.work import Told, Worker

AT_ONCE = 3
"""Chunks under way: the last slow hosts of one do not hold up the next."""


def run_here(
    chunks: Iterable[Chunk], output: Path, plan: Plan, claims: Claims, retry: frozenset[str] | None, told: Told
) -> None:
    asyncio.run(_run(chunks, output, plan, claims, retry, told))


async def _run(
    chunks: Iterable[Chunk], output: Path, plan: Plan, claims: Claims, retry: frozenset[str] | None, told: Told
) -> None:
    waiting = iter(chunks)
    under_way: set[asyncio.Task[None]] = set()
    async with Fetcher(plan.limits) as fetcher:
        worker = Worker(output, plan, claims, fetcher, told)
        try:
            while (chunk := await asyncio.to_thread(next, waiting, None)) is not None:
                under_way.add(asyncio.create_task(worker.chunk(chunk, retry)))
                await _leave(under_way, AT_ONCE - 1)
            await _leave(under_way, 0)
        finally:
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
