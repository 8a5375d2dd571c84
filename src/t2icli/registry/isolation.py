"""Running the code of plugins so that it harms neither the results on stdout nor the program's own end."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType

PATIENCE, TICK = 5.0, 0.5
"""Seconds until a slow plugin is named, and between two checks."""
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))

ALONE = threading.RLock()
"""One thread at a time: file descriptor 1 and `sys.stdout` belong to the whole process."""


@dataclass(frozen=True)
class Call:
    """Foreign code that is running."""

    who: Callable[[], str]
    since: float


class Isolation:
    """Entered once for many calls, since its thread and its file descriptors take time; may be entered again inside.

    Within it file descriptor 1 leads to stderr, and a signal that ends the program is told apart from an exception of
    the code that it interrupts.
    """

    def __init__(self) -> None:
        self._depth, self._open = 0, contextlib.ExitStack()
        self._call: Call | None = None
        self._ended: BaseException | None = None

    def __enter__(self) -> Isolation:
        if self._depth == 0:
            self._open.enter_context(ALONE)
            self._open.enter_context(self._signals())
            self._open.enter_context(_stdout_to_stderr())
            self._open.enter_context(self._watch())
        self._depth += 1
        return self

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if self._depth == 0:
            self._open.close()

    def attempt(self, who: Callable[[], str], function: Callable[[], object]) -> BaseException | None:
        """Whatever `function` raises, `SystemExit` and others that are no `Exception` included.

        Where a signal asked the program to end, its exception is raised, even if `function` caught it.
        """
        raised: BaseException | None = None
        with self:
            self._call = Call(who, time.monotonic())
            try:
                function()
            except BaseException as error:
                raised = error
            finally:
                self._call = None
            if self._ended is not None:
                raise self._ended
        return raised

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Note what the program's own handlers raise, and put them back whatever foreign code installs."""
        if threading.current_thread() is not threading.main_thread():  # which alone gets signals and sets handlers
            yield
            return
        before = {number: signal.getsignal(number) for number in SIGNALS}
        for number, handler in before.items():
            if callable(handler):
                signal.signal(number, self._noting(handler))
        try:
            yield
        finally:
            for number, handler in before.items():
                if handler is not None:  # None was not installed from Python, so cannot be put back from it
                    signal.signal(number, handler)

    def _noting(self, handler: Callable[[int, FrameType | None], object]) -> Callable[[int, FrameType | None], None]:
        def handle(number: int, frame: FrameType | None) -> None:
            if self._ended is not None:  # foreign code caught the first one and continued
                os._exit(128 + number)
            try:
                handler(number, frame)
            except BaseException as error:
                self._ended = error
                raise

        return handle

    @contextlib.contextmanager
    def _watch(self) -> Iterator[None]:
        over = threading.Event()
        # The function of this moment: foreign code may silence warnings, in all threads, while it is imported.
        show = warnings.showwarning
        threading.Thread(target=self._name_the_slow, args=(over, show), daemon=True).start()
        try:
            yield
        finally:
            over.set()

    def _name_the_slow(self, over: threading.Event, show: Callable[..., object]) -> None:
        named: Call | None = None
        while not over.wait(TICK):
            call = self._call
            if call is not None and call is not named and time.monotonic() - call.since >= PATIENCE:
                named = call
                show(UserWarning(f"still waiting for {call.who()}"), UserWarning, __file__, 0)


@contextlib.contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """Send to stderr what is written to stdout by Python, by C, or straight to file descriptor 1."""
    with contextlib.ExitStack() as undo:
        undo.enter_context(contextlib.redirect_stdout(sys.stderr))
        with contextlib.suppress(OSError):  # one of the two is closed
            _flush()
            stdout = os.dup(1)
            undo.callback(os.close, stdout)
            os.dup2(2, 1)
            undo.callback(os.dup2, stdout, 1)
        undo.callback(_flush)
        yield


def _flush() -> None:
    """Write out what waits in the buffers of Python and C, before file descriptor 1 leads elsewhere."""
    for stream in (sys.stdout, sys.__stdout__):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, broken or None
            stream.flush()  # type: ignore[union-attr]
    if os.name == "posix":
        import ctypes

        ctypes.CDLL(None).fflush(None)
