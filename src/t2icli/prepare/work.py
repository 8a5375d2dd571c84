"""One chunk, from addresses to a shard and a report: what one machine does at a time, here or on a cluster."""

from __future__ import annotations

import asyncio
import stat
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from t2icli.data.dataset import SourceRow, key_of
from t2icli.data.shards import ShardWriter
from t2icli.ground import machine
from t2icli.ground.errors import T2IError
from t2icli.pictures.images import MAX_BYTES
from t2icli.prepare import report
from t2icli.prepare.chunks import Candidate, Chunk, address_of, first
from t2icli.prepare.claims import Claims
from t2icli.prepare.fetch import Fetcher
from t2icli.prepare.outcome import Refused, dropped
from t2icli.prepare.pictures import Picture, finish
from t2icli.prepare.report import ReportRow
from t2icli.prepare.settings import Plan, Rules

Told = Callable[[str, int, int], None]
"""Progress: called with a reason (or `ok`), for how many rows, and the bytes that came in for them."""
Local = bytes | Path | Callable[[], bytes] | None
"""An image that nothing has to be fetched for."""


@dataclass(frozen=True)
class Done:
    """A row's picture, or why there is none."""

    candidate: Candidate
    key: str = ""
    picture: Picture | None = None
    tries: int = 0
    refused: Refused | None = None


class Worker:
    """Turns chunks into shards. Several may be under way at once, so that a slow host holds up nobody."""

    def __init__(
        self, output: Path, plan: Plan, claims: Claims, fetcher: Fetcher, threads: Executor, told: Told
    ) -> None:
        self.output = output
        self.plan = plan
        self.claims = claims
        self.fetcher = fetcher
        self.told = told
        self._threads = threads
        self._reading = asyncio.Semaphore(2 * machine.cores())

    async def chunk(self, chunk: Chunk, retry: frozenset[str] | None = None) -> None:
        """Do what is left of a chunk; nothing at all if its report says it is done."""
        stand = report.standing(chunk, report.read(self.output, chunk.number), retry)
        done = set(stand.column("row").to_pylist()) if len(stand) else frozenset[int]()
        candidates = [candidate for candidate in chunk.candidates if candidate.row not in done]
        dropped = self._dropped(chunk, stand)
        if not candidates and not len(dropped):
            return
        try:
            made = await self._shard(report.shard_name(chunk.number, stand), candidates)
            report.write(self.output, chunk.number, [stand, dropped, report.table_of(made)])
        except OSError as error:
            raise T2IError(
                f"cannot write to '{self.output}': {error.strerror or error}",
                "finished shards are kept: put it right and run the same command again",
                code=1,
            ) from error

    def _dropped(self, chunk: Chunk, stand: Any) -> Any:
        """The rows whose captions are not wanted and that no earlier report holds."""
        import pyarrow.compute as pc

        found = report.dropped_of(chunk)
        fresh = found.filter(pc.invert(pc.is_in(found.column("row"), stand.column("row").combine_chunks())))
        for counted in pc.value_counts(fresh.column("reason")).to_pylist():
            self.told(counted["values"], counted["counts"], 0)
        return fresh

    async def _shard(self, name: str, candidates: list[Candidate]) -> list[ReportRow]:
        rows = []
        with ShardWriter(self.output, name) as shard:
            async for done in self._pictures(candidates):
                row = self._settle(shard, done)
                rows.append(row)
                self.told(row.reason or row.status, 1, row.bytes)
        return rows

    async def _pictures(self, candidates: list[Candidate]) -> AsyncIterator[Done]:
        """Pictures as they come in; local ones in their order, so that duplicates fall out the same way each time."""
        remote = any(isinstance(candidate.source.image, str) for candidate in candidates)
        arrived: asyncio.Queue[asyncio.Task[Done]] = asyncio.Queue()
        waiting = deque(asyncio.create_task(self._picture(candidate)) for candidate in candidates)
        under_way = set(waiting)  # and nothing else holds them: a task that is done keeps its picture in memory
        for task in waiting:
            task.add_done_callback(under_way.discard)
            task.add_done_callback(_noticed)
            if remote:
                task.add_done_callback(arrived.put_nowait)
        if remote:
            waiting.clear()
        try:
            for _ in candidates:
                yield await (await arrived.get() if remote else waiting.popleft())
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    async def _picture(self, candidate: Candidate) -> Done:
        try:
            key = self._key(candidate)
            image = candidate.source.image
            if isinstance(image, str):
                picture, tries = await self.fetcher.get(image, self._decode)
            else:
                async with self._reading:
                    picture, tries = await self._decode(image), 0
            return Done(candidate, key, picture, tries)
        except Refused as refused:
            return Done(candidate, refused=refused, tries=refused.tries)

    async def _decode(self, image: Local) -> Picture:
        return await asyncio.get_running_loop().run_in_executor(self._threads, _finished, image, self.plan.rules)

    def _key(self, candidate: Candidate) -> str:
        """The row's key; the second row of the same key is dropped, or told apart by its number."""
        source = candidate.source
        if problem := source.extra.get("problem"):
            raise Refused(str(problem))
        if reason := source.extra.get("skip"):
            raise dropped(str(reason))
        key = source.key or key_of(_address(source), source.captions)
        if self.claims.key(key, candidate.row):
            return key
        if self.plan.rules.duplicates != "keep":
            raise dropped("duplicate-key")
        return f"{key}-{candidate.row}"

    def _settle(self, shard: ShardWriter, done: Done) -> ReportRow:
        """Write a row's picture, unless it was seen before, and say so."""
        number, source = done.candidate.row, done.candidate.source
        row = ReportRow(number, address_of(source), first(source), key=done.key or source.key, tries=done.tries)
        try:
            picture = self._unseen(done)
        except Refused as refused:
            row.status, row.reason, row.bytes = refused.status, refused.reason, refused.size
            return row
        found = {"width": picture.width, "height": picture.height, "format": picture.format, "sha256": picture.sha256}
        address = {"url": source.image} if isinstance(source.image, str) else {}
        shard.add(done.key, picture.content, source.captions, {**source.extra, **address}, found, number)
        row.bytes, row.look, row.shard = picture.fetched, picture.look, shard.name
        row.width, row.height, row.sha256 = picture.width, picture.height, picture.sha256
        return row

    def _unseen(self, done: Done) -> Picture:
        if done.refused is not None or done.picture is None:
            raise done.refused or Refused("no-image")
        picture, rules, number = done.picture, self.plan.rules, done.candidate.row
        if rules.duplicates != "keep" and not self.claims.image(picture.sha256, number):
            raise dropped("duplicate-image")
        if picture.look is not None and not self.claims.look(picture.look, number, rules.distance):
            raise dropped("similar-image")
        return picture


def _noticed(task: asyncio.Task[Done]) -> None:
    """Of several that go wrong at once the first is raised; asyncio is not to complain of the others."""
    if not task.cancelled():
        task.exception()


def _address(source: SourceRow) -> str | bytes:
    """What tells rows without a key apart."""
    if callable(source.image):
        return source.image()
    return source.image if isinstance(source.image, bytes) else str(source.image)


def _finished(image: Local, rules: Rules) -> Picture:
    content = _read(image)
    try:
        return finish(content, rules)
    except Refused as refused:
        refused.size = len(content)
        raise


def _read(image: Local) -> bytes:
    if image is None:
        raise Refused("no-image")
    if isinstance(image, bytes):
        return image
    if callable(image):
        return image()
    try:
        if not stat.S_ISREG((found := image.stat()).st_mode):
            raise Refused("not-a-file")  # a pipe or a device may never end
        if found.st_size > MAX_BYTES:
            raise Refused("too-many-bytes")
        return image.read_bytes()
    except FileNotFoundError as error:
        raise Refused("no-such-file") from error
    except OSError as error:
        raise Refused("unreadable-file") from error
    except ValueError as error:  # a NUL in it
        raise Refused("bad-path") from error
