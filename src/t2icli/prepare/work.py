"""One chunk, from addresses to a shard and a report: what one machine does at a time, here or on a cluster."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from functools import partial
from threading import Event
from typing import Any, TypeVar

import msgspec

from t2icli.data.dataset import SourceRow, UnreadableImage
from t2icli.data.shards import ShardWriter
from t2icli.ground import machine
from t2icli.ground.errors import T2IError
from t2icli.pictures import images
from t2icli.prepare import report, scores
from t2icli.prepare.chunks import Chunk, PendingRow, address_of, first
from t2icli.prepare.claims import Claims
from t2icli.prepare.fetch import Fetcher
from t2icli.prepare.outcome import Refused, dropped
from t2icli.prepare.pictures import StoredPicture, finish
from t2icli.prepare.report import ReportRow, Reports
from t2icli.prepare.scores import Pair, Scorer, Scores, Scoring
from t2icli.prepare.settings import PreparePlan, Rules
from t2icli.sounds.clips import decode

MOST_UNSCORED = 256
"""Pictures that wait for their scores: reading them is faster than any ranker."""

Progress = Callable[[str, int, int], None]
"""Called with a reason (or `ok`), for how many rows, and the bytes that came in for them."""
T = TypeVar("T")


def unwatched(reason: str, rows: int, size: int) -> None:
    """Shows nothing."""


@dataclass(frozen=True)
class Work:
    """What a run does with each chunk, and where it keeps the results."""

    reports: Reports
    plan: PreparePlan
    claims: Claims
    retry: frozenset[str] | None = None
    """Reasons whose rows are tried again; None for all rows that failed."""
    progress: Progress = unwatched
    stop: Event = field(default_factory=Event)
    """Set when the run ends for any reason, so that the producer of chunks stops."""
    scorer: Scorer | None = None


@dataclass(frozen=True)
class RowResult:
    """A row's picture, or why there is none."""

    candidate: PendingRow
    name: str = ""
    """What becomes the row's key."""
    key: str | None = None
    """None where the name became known only when the image was read, and is still to be claimed."""
    picture: StoredPicture | None = None
    audio: bytes | None = None
    tries: int = 0
    refused: Refused | None = None
    scores: Scores | None = None


class ShardMaker:
    """Turns chunks into shards. Several may be under way at once, so that a slow host does not hold up others."""

    def __init__(self, work: Work, fetcher: Fetcher, threads: Executor) -> None:
        self.plan, self.claims, self.progress = work.plan, work.claims, work.progress
        self.reports, self.retry, self.output = work.reports, work.retry, work.reports.output
        self.fetcher = fetcher
        self._threads = threads
        self.scorer = work.scorer
        self._reading = asyncio.Semaphore(2 * machine.cores())
        self._unscored = asyncio.Semaphore(MOST_UNSCORED)

    async def chunk(self, chunk: Chunk) -> None:
        """Do what is left of a chunk; nothing at all if its report says it is done."""
        if self.reports.is_finished(chunk, self.retry):
            return
        stand = report.standing(chunk, self.reports.read(chunk.number), self.retry)
        done = set(stand.column("row").to_pylist()) if len(stand) else frozenset[int]()
        candidates = [candidate for candidate in chunk.candidates if candidate.row not in done]
        dropped = self._dropped(chunk, stand)
        try:
            made = await self._shard(report.shard_name(chunk.number, stand), candidates)
            self.reports.write(chunk.number, [stand, dropped, report.table_of(made)])
        except OSError as error:
            raise T2IError(
                f"cannot write to '{self.output}': {error.strerror or error}",
                "finished shards are kept: put it right and run the same command again",
                code=1,
            ) from error

    def _dropped(self, chunk: Chunk, stand: Any) -> Any:
        """The rows whose captions are not wanted and that no earlier report holds."""
        import pyarrow.compute as pc

        dropped = report.dropped_of(chunk)
        fresh = dropped.filter(pc.invert(pc.is_in(dropped.column("row"), stand.column("row").combine_chunks())))
        for counted in pc.value_counts(fresh.column("reason")).to_pylist():
            self.progress(counted["values"], counted["counts"], 0)
        return fresh

    async def _shard(self, name: str, candidates: list[PendingRow]) -> list[ReportRow]:
        rows = []
        with ShardWriter(self.output, name) as shard:
            results = self._pictures(candidates) if self.scorer is None else self._scored(candidates, self.scorer)
            async for done in results:
                row = self._decide(shard, done)
                rows.append(row)
                self.progress(row.reason or row.status, 1, row.bytes)
        return rows

    async def _pictures(self, candidates: list[PendingRow]) -> AsyncIterator[RowResult]:
        """Pictures as they come in; local ones in their order, so that duplicates fall out the same way each time."""
        remote = any(isinstance(candidate.source.image, str) for candidate in candidates)
        arrived: asyncio.Queue[asyncio.Task[RowResult]] = asyncio.Queue()
        waiting = deque(asyncio.create_task(self._picture(candidate)) for candidate in candidates)
        under_way = set(waiting)  # and nothing else holds them: a task that is done keeps its picture in memory
        for task in waiting:
            task.add_done_callback(under_way.discard)
            task.add_done_callback(noticed)
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

    async def _scored(self, candidates: list[PendingRow], scorer: Scorer) -> AsyncIterator[RowResult]:
        """The same with the scores of their captions, some at a time."""
        waiting: list[RowResult] = []
        async for done in self._pictures(candidates):
            waiting.append(done)
            if len(waiting) >= scores.AT_ONCE:
                for each in await self._in_thread(_with_scores, waiting, scorer):
                    self._unscored.release()
                    yield each
                waiting = []
        for each in await self._in_thread(_with_scores, waiting, scorer):
            self._unscored.release()
            yield each

    async def _picture(self, candidate: PendingRow) -> RowResult:
        if self.scorer is not None:
            await self._unscored.acquire()
        try:
            name, key = self._key(candidate)
            image = candidate.source.image
            if isinstance(image, str):
                picture, tries = await self.fetcher.get(image, self._decode)
                return RowResult(candidate, name, key, picture, await self._audio(candidate.source), tries)
            async with self._reading:
                content = await self._in_thread(_read, candidate.source)
                name = candidate.source.name(content) or ""
                return RowResult(candidate, name, key, await self._decode(content), await self._audio(candidate.source))
        except Refused as refused:
            return RowResult(candidate, refused=refused, tries=refused.tries)

    async def _audio(self, source: SourceRow) -> bytes | None:
        return None if source.audio is None else await self._in_thread(_sound, source)

    async def _decode(self, content: bytes) -> StoredPicture:
        return await self._in_thread(_finished, content, self.plan.rules)

    async def _in_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    def _key(self, candidate: PendingRow) -> tuple[str, str | None]:
        """The row's name and, where that is known before the image is read, its key."""
        source = candidate.source
        if problem := source.extra.get("problem"):
            raise Refused(str(problem))
        if reason := source.extra.get("skip"):
            raise dropped(str(reason))
        name = source.name()
        return ("", None) if name is None else (name, self._claimed(name, candidate.row))

    def _claimed(self, name: str, row: int) -> str:
        """The row's key; the second row of the same name is dropped, or given a number."""
        if self.claims.key(name, row):
            return name
        if self.plan.rules.duplicates != "keep":
            raise dropped("duplicate-key")
        return f"{name}-{row}"

    def _decide(self, shard: ShardWriter, done: RowResult) -> ReportRow:
        """Write a row's picture, unless it was seen before, and say so."""
        number, source = done.candidate.row, done.candidate.source
        row = ReportRow(number, address_of(source), first(source), key=done.key or source.key, tries=done.tries)
        row.scores = scores.best(done.scores) if done.scores else None
        try:
            row.key, picture = self._unseen(done)
        except Refused as refused:
            row.status, row.reason, row.bytes = refused.status, refused.reason, refused.size
            return row
        facts = {"width": picture.width, "height": picture.height, "format": picture.format, "sha256": picture.sha256}
        extra = {**source.extra, **({"url": source.image} if isinstance(source.image, str) else {})}
        extra.pop(scores.FIELD, None)
        if known := done.scores or scores.carried(source.extra, len(source.captions)):
            extra[scores.FIELD] = known
        shard.add(row.key, picture.content, source.captions, extra, facts, number, done.audio)
        row.bytes, row.look, row.shard = picture.fetched, picture.look, shard.name
        row.width, row.height, row.sha256 = picture.width, picture.height, picture.sha256
        return row

    def _unseen(self, done: RowResult) -> tuple[str, StoredPicture]:
        """Key and picture of a row that is the first with each."""
        if done.refused is not None or done.picture is None:
            raise done.refused or Refused("no-image")
        picture, rules, number = done.picture, self.plan.rules, done.candidate.row
        # Here, where local rows come in their order, so that the same one is the first in every run.
        key = self._claimed(done.name, number) if done.key is None else done.key
        if rules.duplicates != "keep" and not self.claims.image(picture.sha256, number):
            raise dropped("duplicate-image")
        if picture.look is not None and not self.claims.look(picture.look, number, rules.distance):
            raise dropped("similar-image")
        return key, picture


def noticed(task: asyncio.Task[Any]) -> None:
    """Of several that go wrong at once the first is raised; asyncio is not to complain of the others."""
    if not task.cancelled():
        task.exception()


def _with_scores(rows: Sequence[RowResult], scorer: Scorer) -> list[RowResult]:
    """The rows with their scores; those that these drop with the reason."""
    found = iter(scorer([_pair(row) for row in rows if _can_be_scored(row)]))
    return [_judged(row, next(found) if _can_be_scored(row) else {}, scorer.scoring) for row in rows]


def _can_be_scored(row: RowResult) -> bool:
    return row.picture is not None and bool(row.candidate.source.captions)


def _judged(row: RowResult, found: Scores, scoring: Scoring) -> RowResult:
    if row.picture is None or not scoring.conditions:
        return replace(row, scores=found)
    captions = row.candidate.source.captions
    stay, ranker = scoring.judge(found, len(captions))
    if not stay:
        reason = scores.REASON + ranker if captions else "no-caption"
        return replace(row, scores=found, refused=Refused(reason, "dropped", row.tries, row.picture.fetched))
    source = msgspec.structs.replace(row.candidate.source, captions=tuple(captions[place] for place in stay))
    kept = {name: [values[place] for place in stay] for name, values in found.items()}
    return replace(row, scores=kept, candidate=msgspec.structs.replace(row.candidate, source=source))


def _pair(row: RowResult) -> Pair:
    source, picture = row.candidate.source, row.picture
    assert picture is not None
    image, pixels = partial(images.stored, picture.content, repr(source.key)), picture.width * picture.height
    return Pair(image, pixels, source.captions, source.extra)


def _read(source: SourceRow) -> bytes:
    try:
        return source.read()
    except UnreadableImage as error:
        raise Refused(error.reason) from error


def _sound(source: SourceRow) -> bytes | None:
    """The row's sound, if it can be opened; it is kept as it is."""
    try:
        content = source.read_audio()
        if content is not None:
            decode(content, "it")
        return content
    except UnreadableImage as error:
        raise Refused(f"audio-{error.reason}") from error
    except T2IError as error:
        raise Refused("bad-audio") from error


def _finished(content: bytes, rules: Rules) -> StoredPicture:
    try:
        return finish(content, rules)
    except Refused as refused:
        refused.size = len(content)
        raise
