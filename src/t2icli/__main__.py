"""The program `t2i`, also as `python -m t2icli`. Imports nothing before it can answer Ctrl-C."""

from __future__ import annotations

import os
import sys

INTERRUPTED = 130
TOLD_TO_END = {129, INTERRUPTED, 138, 143}
"""The exit codes after SIGHUP, SIGINT, SIGUSR1 and SIGTERM, as shells have them."""


def main() -> None:
    """Run the command line. When it is terminated it shows no traceback and does not wait for running work."""
    try:
        import gc

        gc.disable()  # until a command runs: importing makes many objects that stay, and no garbage
        _open_closed_streams()
        _wait_briefly()
        from t2icli import cli

        cli.main()
    except KeyboardInterrupt:  # during the imports, or once more on the way out
        sys.stderr.write("interrupted\n")
        _end(INTERRUPTED)
    except SystemExit as ended:
        if ended.code in TOLD_TO_END:
            _end(int(ended.code or 0))
        if "torch" in sys.modules and isinstance(ended.code, int) and not (sys.getprofile() or sys.gettrace()):
            _leave(ended.code)
        raise


def _wait_briefly() -> None:
    """Let idle threads of OpenMP sleep soon, unless the environment says otherwise.

    On two cores that other programs use, threads that spin took ten times as long as the work itself; on quiet ones a
    short spin costs a few percent. Read when torch is imported.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def _open_closed_streams() -> None:
    """Let the streams that were closed before the program began, as by `>&-`, lead nowhere.

    Otherwise they are None, and the next file that is opened takes their place: messages would be written into it.
    """
    while (lowest := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(lowest, True)
    os.close(lowest)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))


def _leave(code: int) -> None:
    """End as Python does, but for freeing every object, which takes half a second once torch is imported.

    Not where threads are at work: Python waits for them in ways of its own.
    """
    import atexit

    if not _threads_work():
        atexit._run_exitfuncs()
        _end_at_once(code)


def _end(code: int) -> None:
    """End at once where a thread is still at work, such as a ranker's on its last batch: Python would wait for it."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if _threads_work():
        _end_at_once(code)
    sys.exit(code)


def _threads_work() -> bool:
    import threading

    return any(not each.daemon and each is not threading.main_thread() for each in threading.enumerate())


def _end_at_once(code: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # the reader has gone
            pass
    os._exit(code)


if __name__ == "__main__":
    main()
