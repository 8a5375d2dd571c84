"""Ctrl-C and SIGTERM: the first asks to stop after this step, the second stops at once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Asked:
    """Whether someone asked to stop."""

    def __init__(self) -> None:
        self.to_stop = False

    def hear(self, number: int, frame: FrameType | None) -> None:
        if self.to_stop:
            os._exit(130)
        self.to_stop = True


@contextlib.contextmanager
def listening() -> Iterator[Asked]:
    """Catch the signals for a while; only the main thread can."""
    asked = Asked()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = {number: signal.signal(number, asked.hear) for number in SIGNALS}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
