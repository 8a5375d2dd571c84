"""From an order to pictures on the shelf: admit, draw, judge, file."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from t2i_serve.drawer import DrawJob, Drawn, Event, Failed, JobProgress, Preview
from t2i_serve.errors import NO_RETRY, ApiError, about
from t2i_serve.limits import ServerLimits
from t2i_serve.metrics import Metrics
from t2i_serve.pool import Pool, Resident
from t2i_serve.shelf import Filed, Shelf
from t2i_serve.sounds import AudioInput, embedded, mixed
from t2icli.contract.requests import Request
from t2icli.pipelines import doubts, generate, scoring
from t2icli.pipelines.mixture import EmbeddedAudio, Mixture, space_of
from t2icli.registry import settings
from t2icli.registry.open import Opened

if TYPE_CHECKING:
    from PIL.Image import Image

NAMES = {"like": "a picture to be similar to", "source": "a picture to start from", "mask": "a mask"}
FIELDS = {"like": "image", "source": "image", "mask": "mask"}


@dataclass(frozen=True)
class Order:
    """One request, checked."""

    prompt: str
    n: int
    seed: int
    client: str
    model: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of these pictures, as they were sent."""
    size: tuple[int, int] | None = None
    examples: Mapping[str, Image] = field(default_factory=dict)
    """Example pictures, by the name of the condition."""
    sound: AudioInput | None = None
    has_prompt: bool = True
    """False where `prompt` only names what the pictures were drawn from."""
    rerank: Mapping[str, float] = field(default_factory=dict)
    """Rankers with their weights."""
    top: int | None = None
    previews: int = 0


@dataclass(frozen=True)
class Begun:
    """The model is loaded and the order waits for its turn; `order` with its settings as the model reads them."""

    opened: Opened[Any]


@dataclass(frozen=True)
class Done:
    """Everything is drawn, judged and filed."""

    filed: Filed
    doubts: Sequence[str]


class Studio:
    """What all requests share."""

    def __init__(self, pool: Pool, shelf: Shelf, limits: ServerLimits, metrics: Metrics) -> None:
        self.pool, self.shelf, self.limits, self.metrics = pool, shelf, limits, metrics
        self.stopping = asyncio.Event()
        self._pictures = 0
        self._pace = 1.0
        """Seconds that a picture took of late, with all that were drawn beside it."""

    @contextmanager
    def admitted(self, n: int) -> Iterator[None]:
        """Room for n pictures, or an answer when to come back."""
        if self.stopping.is_set():
            raise ApiError(503, "the server is stopping", "stopping")
        if self._pictures + n > self.limits.queue:
            wait = str(max(1, min(60, round(self._pace * self._pictures))))
            raise ApiError(
                429, f"{self._pictures} pictures are already waiting", "queue_full", headers={"Retry-After": wait}
            )
        self._pictures += n
        self.metrics.pictures_in_flight.set(self._pictures)
        begun = time.monotonic()
        try:
            yield
        finally:
            self._pace = 0.8 * self._pace + 0.2 * (time.monotonic() - begun) / max(1, self._pictures)
            self._pictures -= n
            self.metrics.pictures_in_flight.set(self._pictures)

    async def draw(self, order: Order) -> AsyncGenerator[Begun | Event | Done, None]:
        """The order's events. Closing the iterator cancels it."""
        clock = Clock(self.limits.seconds, self.stopping)
        with self.admitted(order.n):
            images: dict[int, Image] = {}
            sound = await clock.within(self._embedded(order.sound, order)) if order.sound is not None else None
            async with self.pool.using("generator", order.model) as resident:
                request = _request(order, resident)
                mixture = _mixture(order, sound, resident)
                yield Begun(resident.opened)
                async for event in self._drawn(order, request, resident, clock, mixture):
                    if isinstance(event, Drawn):
                        images[event.candidate] = event.image
                    yield event
                opened, record = resident.opened, resident.record
            drawn = (images[index] for index in range(order.n))
            candidates = list(generate.candidates(drawn, order.n, seed=order.seed))
            judges = await clock.within(self._judge(order, candidates, sound))
            plan_settings = {**record["settings"], **_plain(request.settings)}
            filed = await asyncio.to_thread(
                self.shelf.file, order, opened, {**record, "settings": plan_settings}, candidates, judges, mixture
            )
            self.metrics.pictures.labels(opened.name).inc(order.n)
            is_of_words = "like" not in order.examples and order.sound is None
            yield Done(filed, doubts.lines(opened.model, judges, filed.rows) if is_of_words else [])

    async def _embedded(self, audio: AudioInput, order: Order) -> EmbeddedAudio:
        """The sound as a vector. Rankers that cannot compare pictures with it are refused before any is drawn.

        All that is loaded for this is free again before the generator is in use: there may not be room for both.
        """
        async with self.pool.using("embedder", audio.listener) as resident:
            sound = await embedded(audio, resident)
        for name in () if order.has_prompt else order.rerank:
            async with self.pool.using("ranker", name) as resident:
                _judge_of(resident, name, 1.0, sound)
        return sound

    async def _drawn(
        self, order: Order, request: Request, resident: Resident, clock: Clock, mixture: Mixture | None
    ) -> AsyncIterator[JobProgress | Preview | Drawn]:
        events: asyncio.Queue[Event] = asyncio.Queue()
        embedding = partial(mixture.embedding, order.prompt) if mixture is not None else None
        job = DrawJob(request, order.n, order.client, _from_thread(events), order.previews, embedding)
        assert resident.drawer is not None
        resident.drawer.submit(job)
        done = 0
        try:
            while done < order.n:
                event = await clock.within(events.get())
                if isinstance(event, Failed):
                    raise event.error
                done += isinstance(event, Drawn)
                yield event
        finally:
            job.is_gone = True

    async def _judge(
        self, order: Order, candidates: Sequence[generate.Candidate], sound: EmbeddedAudio | None
    ) -> list[scoring.Judge]:
        """Score all candidates that differ with each ranker in turn."""
        judges = []
        distinct = [each for each in candidates if each.same_as is None]
        for name, weight in order.rerank.items():
            async with self.pool.using("ranker", name) as resident:
                judge = _judge_of(resident, name, weight, None if order.has_prompt else sound)
                for start in range(0, len(distinct), scoring.AT_ONCE):
                    some = distinct[start : start + scoring.AT_ONCE]
                    scores = await resident.run(judge.score, order.prompt, [each.image for each in some])
                    for each, score in zip(some, scores, strict=True):
                        each.scores[name] = score
            judges.append(judge)
        return judges


@dataclass
class Clock:
    """When an order is given up."""

    seconds: float
    stopping: asyncio.Event
    begun: float = field(default_factory=time.monotonic)

    async def within(self, wanted: Any) -> Any:
        """The result of a coroutine, unless time is up or the server stops before."""
        task = asyncio.ensure_future(wanted)
        stop = asyncio.ensure_future(self.stopping.wait())
        left = max(0.0, self.begun + self.seconds - time.monotonic())
        try:
            await asyncio.wait({task, stop}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            if self.stopping.is_set():
                raise ApiError(503, "the server is stopping", "stopping")
            raise ApiError(504, f"not done within {self.seconds:g} seconds", "timeout", headers=NO_RETRY)
        finally:
            stop.cancel()
            task.cancel()


def _mixture(order: Order, sound: EmbeddedAudio | None, resident: Resident) -> Mixture | None:
    if sound is None or order.sound is None:
        return None
    return mixed(order.sound, sound, order.examples.get("like"), resident.opened)


def _judge_of(resident: Resident, name: str, weight: float, sound: EmbeddedAudio | None) -> scoring.Judge:
    """A ranker that compares pictures with the prompt, or with a sound in place of it."""
    opened = resident.opened
    judge = scoring.Judge(name, opened.thing, weight, opened.tables, opened.model, space_of(opened))
    if sound is None:
        return judge
    with about("rerank"):
        return scoring.by_sound([judge], sound)[0]


def _from_thread(events: asyncio.Queue[Event]) -> Callable[[Event], object]:
    loop = asyncio.get_running_loop()
    return lambda event: loop.call_soon_threadsafe(events.put_nowait, event)


def _request(order: Order, resident: Resident) -> Request:
    """The order as the generator reads it, refused where it cannot draw that."""
    opened = resident.opened
    owner = f"model {opened.name!r}"
    assert resident.drawer is not None
    abilities = resident.drawer.generator.abilities
    chosen = settings.for_one_picture(type(opened.settings), order.settings, owner)
    if order.size is not None and order.size not in abilities.sizes:
        known = ", ".join(f"{width}x{height}" for width, height in abilities.sizes) or "auto"
        width, height = order.size
        raise ApiError(400, f"{owner} cannot draw {width}x{height}; known sizes: {known}", "invalid_value", "size")
    images: dict[str, Any] = dict(order.examples)
    if order.sound is not None:
        images.pop("like", None)  # which is mixed with it
    for name in images:
        if name not in abilities.conditions:
            raise ApiError(400, f"{owner} cannot draw with {NAMES[name]}", "invalid_value", FIELDS[name])
    return Request(order.prompt, order.seed, chosen, **images)


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
