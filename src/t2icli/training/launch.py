"""Several processes on this machine, as `torchrun` would start them. Light: no torch.

Not torchrun itself, for its agent answers a child's message and exit code with a traceback of its own.
For several machines run `torchrun ... -m t2icli train ...`; the processes find each other in the same way.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from types import FrameType

from t2icli.ground import machine
from t2icli.ground.errors import T2IError
from t2icli.training import interrupt

STARTED = "T2I_STARTED_BY"
PATIENCE = 60.0
"""Seconds the others have to end by themselves after one has been interrupted."""
Process = subprocess.Popen[bytes]


def launch(words: Sequence[str], n: int) -> None:
    """Run `python WORDS` n times, one for each device, and wait; one that fails ends all."""
    port = _free_port()
    processes = [_start(words, rank, n, port) for rank in range(n)]
    try:
        with _signals_passed_on(processes):
            codes = _wait(processes)
    finally:
        for process in processes:
            process.kill()
            process.communicate()  # closes the pipe to it
    if 130 in codes:
        raise KeyboardInterrupt
    failed = sorted((code for code in codes if code), reverse=True)  # those we stopped ourselves are negative
    if failed:
        raise T2IError(
            f"one of {n} processes ended with code {failed[0]}", "its output is above", code=max(1, failed[0])
        )


def is_first() -> bool:
    """Whether this process is alone, or the first of several."""
    return int(os.environ.get("RANK", "0")) == 0


def speaks() -> bool:
    """Whether this process tells the user how it went: not when another one, the first or the starter, does."""
    return STARTED not in os.environ and is_first()


def follow_starter() -> bool:
    """Whether `launch` started this process; if so it ends when its starter is gone, however that died."""
    if STARTED not in os.environ:
        return False

    def wait() -> None:
        os.read(0, 1)  # nothing is ever written; it ends when the other side is closed
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
    return True


def _start(words: Sequence[str], rank: int, n: int, port: int) -> Process:
    added = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": n,
        "LOCAL_WORLD_SIZE": n,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", max(1, machine.cores() // n)),
        "TORCH_CPP_LOG_LEVEL": os.environ.get("TORCH_CPP_LOG_LEVEL", "ERROR"),  # DDP's advice is not for users
        STARTED: os.getpid(),
    }
    environment = {**os.environ, **{key: str(value) for key, value in added.items()}}
    # A session of its own, so that Ctrl-C comes once, from us, and not from the terminal as well.
    return subprocess.Popen([sys.executable, *words], env=environment, stdin=subprocess.PIPE, start_new_session=True)


@contextlib.contextmanager
def _signals_passed_on(processes: Sequence[Process]) -> Iterator[None]:
    def pass_on(number: int, frame: FrameType | None) -> None:
        for process in processes:
            process.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in interrupt.SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(processes: Sequence[Process]) -> list[int]:
    """Every exit code. One that fails ends the others at once; one that was interrupted, after some time."""
    deadline = float("inf")
    while None in [process.poll() for process in processes]:
        codes = [process.returncode for process in processes if process.returncode]
        if codes and deadline == float("inf"):
            deadline = time.monotonic() + (PATIENCE if codes[0] == 130 else 1)
        if time.monotonic() > deadline:
            for process in processes:
                process.kill()
        time.sleep(0.05)
    return [process.returncode for process in processes]
