"""Ctrl-C, SIGTERM and SIGUSR1: the first asks to stop after this step, or within a long one.

A second Ctrl-C stops at once. SIGUSR1 is what Slurm sends ahead of a job's end.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))
PATIENCE = 3.0
"""Seconds that a step has to end by itself; saving takes some more."""


class Abandoned(BaseException):
    """Raised in the middle of work that takes too long after a signal; not for a recipe to catch."""


class StopRequest:
    """Whether someone asked to stop."""

    def __init__(self, *, patient: bool) -> None:
        self.to_stop = False
        self.is_late = False
        self.patient = patient
        """Whether a step is waited for, however long it takes."""
        self._may_abandon = self._is_own = self._is_over = False
        self._lock = threading.Lock()

    def receive(self, number: int, frame: FrameType | None) -> None:
        if self._is_own:
            self._is_own = False
            if self._may_abandon:
                raise Abandoned
            return
        if self.to_stop:
            if number == signal.SIGINT:  # schedulers repeat the others, and saving may take a while
                os._exit(130)
            return
        self.to_stop = True
        if not self.patient:
            timer = threading.Timer(PATIENCE, self._late)
            timer.daemon = True
            timer.start()

    def _late(self) -> None:
        """A signal of our own wakes the main thread, be it asleep, and its handler raises there."""
        with self._lock:
            if self._is_over:
                return
            self.is_late = self._is_own = True
            if hasattr(signal, "pthread_kill"):
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
            else:
                _thread.interrupt_main(signal.SIGTERM)

    @contextlib.contextmanager
    def abandonable(self) -> Iterator[None]:
        """Work that changes nothing until it is done."""
        if self.is_late:
            raise Abandoned
        self._may_abandon = True
        try:
            yield
        finally:
            self._may_abandon = False

    def close(self) -> None:
        with self._lock:
            self._is_over = True


@contextlib.contextmanager
def listening(*, patient: bool = False) -> Iterator[StopRequest]:
    """Catch the signals for a while; only the main thread can."""
    request = StopRequest(patient=patient)
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, request.receive) for number in SIGNALS}
    try:
        yield request
    finally:
        request.close()
        for number, handler in before.items():
            signal.signal(number, handler)
