"""Rows of `plates` drawn by several processes, handed over in order.

Drawing holds the interpreter, so threads would not help. Each process is a program of its own that writes every n-th
row to its pipe: it needs no guard in the caller's script as `multiprocessing` does, and ends when the pipe does.
"""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import IO

import msgspec

from t2i_starter import Settings
from t2icli import machine
from t2icli.dataset import SourceRow
from t2icli.errors import T2IError

MOST = 8
"""Each keeps the vessels that it has filled, up to 200 MB."""
WORTH_IT = 200
"""Rows from which starting processes pays."""
AHEAD = 1 << 20
"""Bytes that a process may be ahead, so that one slow row does not hold up the others."""


def painters(count: int) -> int:
    """How many processes are to draw so many rows; 1 is this one."""
    return min(machine.cores(), MOST) if count >= WORTH_IT else 1


def rows(settings: Settings, count: int, n: int) -> Iterator[SourceRow]:
    """Rows 0 to `count`, drawn by n processes."""
    with ExitStack() as stack:
        pipes = [stack.enter_context(_painter(settings, range(first, count, n))) for first in range(n)]
        for at in range(count):
            try:
                yield pickle.load(pipes[at % n])
            except (EOFError, pickle.UnpicklingError):
                raise T2IError(f"the process that was to draw row {at} has ended", "see above for why") from None


@contextmanager
def _painter(settings: Settings, places: range) -> Iterator[IO[bytes]]:
    """The pipe of a process that draws the rows at `places`."""
    told = [msgspec.json.encode(settings).decode(), *map(str, (places.start, places.stop, places.step))]
    # In a session of its own, for Ctrl-C is the caller's to deal with.
    words = [sys.executable, "-m", __name__, *told]
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    with suppress(ImportError, AttributeError, OSError):  # Linux has it
        import fcntl

        fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, AHEAD)
    try:
        yield process.stdout
    finally:
        process.kill()
        process.stdout.close()
        process.wait()


def main(settings: str, *places: str) -> None:
    from t2i_starter.source import Plates

    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # who asked has gone
    source = Plates(msgspec.json.decode(settings, type=Settings))
    for at in range(*map(int, places)):
        pickle.dump(source.invented(at), sys.stdout.buffer)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
