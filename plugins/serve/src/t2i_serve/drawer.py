"""One generator's thread: pictures of all who wait are drawn together, in waves."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from t2icli.contract.kinds import Generator
from t2icli.contract.requests import BatchGenerator, Request, drawing
from t2icli.ground.errors import T2IError
from t2icli.ground.watch import Watch

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

WAVE = 64
"""Pictures of a wave. The generator reads them a batch at a time, so who comes meanwhile still joins a later batch."""
WINDOW = 0.02
"""Seconds that the first request of an idle generator waits for others."""


@dataclass(frozen=True)
class JobProgress:
    """How far a job is, of 1."""

    share: float


@dataclass(frozen=True)
class Preview:
    """A picture that is still being drawn."""

    candidate: int
    index: int
    """Which of the job's previews of this picture."""
    image: Image


@dataclass(frozen=True)
class Drawn:
    """A picture that is complete."""

    candidate: int
    image: Image


@dataclass(frozen=True)
class Failed:
    """Why there will be no more."""

    error: BaseException


Event = JobProgress | Preview | Drawn | Failed


@dataclass(eq=False)
class DrawJob:
    """The pictures of one request: `first`, and those with the seeds after it."""

    first: Request
    n: int
    client: str
    """Who takes turns with other clients."""
    tell: Callable[[Event], object]
    """Called in the drawer's thread."""
    previews: int = 0
    """How many of each picture."""
    embedding: Callable[[], Tensor] | None = None
    """What to draw in place of the prompt; computed in the drawer's thread, once, when the job's turn comes."""
    is_gone: bool = False
    """Nobody waits for it any more."""
    begun: int = 0
    done: int = 0

    def request(self, candidate: int) -> Request:
        if self.embedding is not None:
            self.first, self.embedding = replace(self.first, embedding=self.embedding()), None
        return replace(self.first, seed=self.first.seed + candidate)

    @property
    def waits(self) -> bool:
        return not self.is_gone and self.begun < self.n


Row = tuple[DrawJob, int]
"""A picture to draw: the job and the number of its candidate."""


class Turns:
    """Jobs that wait, by client. Clients take turns, and so do the jobs of a client."""

    def __init__(self, whole_jobs: bool = False) -> None:
        self.whole_jobs = whole_jobs
        """Whether a job's pictures follow each other, for a generator that draws one prompt at a time."""
        self._clients: dict[str, deque[DrawJob]] = {}

    def add(self, job: DrawJob) -> None:
        self._clients.setdefault(job.client, deque()).append(job)

    def take(self) -> Row | None:
        """The next picture; its client and its job are last in turn from now on."""
        while self._clients:
            client = next(iter(self._clients))
            jobs = self._clients.pop(client)
            job = jobs.popleft()
            if job.waits:
                job.begun += 1
            else:
                self._put_back(client, jobs)
                continue
            row = (job, job.begun - 1)
            if job.waits and self.whole_jobs:
                self._clients = {client: deque([job, *jobs]), **self._clients}
            else:
                if job.waits:
                    jobs.append(job)
                self._put_back(client, jobs)
            return row
        return None

    def _put_back(self, client: str, jobs: deque[DrawJob]) -> None:
        if jobs:
            self._clients[client] = jobs

    def waiting(self) -> int:
        """Pictures not begun yet."""
        return sum(job.n - job.begun for jobs in self._clients.values() for job in jobs if job.waits)


class Drawer:
    """Draws the pictures of jobs, in the one thread of `executor`."""

    def __init__(self, generator: Generator, executor: Executor, *, waves: Callable[[int], object] = id) -> None:
        self.generator = drawing(generator)
        self._executor, self._waves = executor, waves
        self._turns = Turns(whole_jobs=not isinstance(generator, BatchGenerator))
        self._lock = threading.Lock()
        self._is_running = False

    def submit(self, job: DrawJob) -> None:
        with self._lock:
            self._turns.add(job)
            if not self._is_running:
                self._is_running = True
                self._executor.submit(self._run)

    def waiting(self) -> int:
        with self._lock:
            return self._turns.waiting()

    def _run(self) -> None:
        time.sleep(WINDOW)
        while True:
            with self._lock:
                row = self._turns.take()
                if row is None:
                    self._is_running = False
                    return
            self._draw(self._from(row))

    def _from(self, first: Row) -> Iterator[Row]:
        yield first
        for _ in range(WAVE - 1):
            with self._lock:
                row = self._turns.take()
            if row is None:
                return
            yield row

    def _draw(self, rows: Iterator[Row]) -> None:
        """A wave. Where it fails, each job in it is drawn by itself, so that one cannot spoil another."""
        wave = Wave(rows)
        try:
            for image in self.generator.draw(wave.requests(), wave):
                wave.deliver(image)
            wave.check_complete()
        except Gone:
            return
        except BaseException as error:  # whatever a plugin raises, the thread continues
            jobs = wave.jobs()
            for job in jobs:
                if len(jobs) == 1:
                    _fail(job, error)
                else:
                    self._draw(iter([row for row in wave.missing() if row[0] is job]))
        finally:
            self._waves(len(wave.rows))


def _fail(job: DrawJob, error: BaseException) -> None:
    if not job.is_gone:
        job.is_gone = True
        job.tell(Failed(error))


class Gone(Exception):
    """Nobody waits for any picture of the wave."""


@dataclass
class Wave(Watch):
    """What is drawn together, watched."""

    source: Iterator[Row]
    rows: list[Row] = field(default_factory=list)
    """Those begun."""
    delivered: int = 0
    share: float = 0.0
    shown: dict[int, int] = field(default_factory=dict)
    """How many previews of each row there were."""

    def requests(self) -> Iterator[Request]:
        for row in self.source:
            self.rows.append(row)
            yield row[0].request(row[1])

    def missing(self) -> list[Row]:
        return [row for row in self.rows[self.delivered :] if not row[0].is_gone]

    def jobs(self) -> list[DrawJob]:
        return list(dict.fromkeys(job for job, _ in self.missing()))

    def step(self, done: int, of: int) -> None:
        if self.rows and not self.missing():
            raise Gone
        self.share = done / of
        for job in self.jobs():
            job.tell(JobProgress((job.done + min(self.share, 1.0) * self._running(job)) / job.n))

    def _running(self, job: DrawJob) -> int:
        return sum(row[0] is job for row in self.missing())

    def preview(self, index: int, picture: Callable[[], Image]) -> None:
        job, candidate = self.rows[index]
        shown = self.shown.get(index, 0)
        if job.is_gone or shown >= job.previews or self.share < (shown + 1) / (job.previews + 1) or self.share >= 1:
            return
        self.shown[index] = shown + 1
        job.tell(Preview(candidate, shown, picture()))

    def is_wanted(self, index: int) -> bool:
        return not self.rows[index][0].is_gone

    def deliver(self, image: Image) -> None:
        if self.delivered == len(self.rows):
            raise T2IError(f"the generator gave more than {len(self.rows)} pictures", code=1)
        job, candidate = self.rows[self.delivered]
        self.delivered += 1
        job.done += 1
        if not job.is_gone:
            job.tell(Drawn(candidate, image))

    def check_complete(self) -> None:
        if self.missing():
            raise T2IError(f"the generator gave {self.delivered} pictures instead of {len(self.rows)}", code=1)
