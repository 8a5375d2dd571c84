"""One hostile case: a command line of `t2i` in a process and a folder of its own, and what must be so when it ends."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

EXECUTED = "executed"
"""Every payload makes a file of this name in the case's folder, if it runs."""
PAYLOAD = f"touch {EXECUTED}"
ADDRESS_SPACE = 12 << 30
"""Bytes that a case may map at most, so that the machine survives whatever it finds."""
CODES = frozenset({0, 1, 2, 3, 130, 143})
LEFT_OVERS = ("*.part", ".t2i-run-*", ".judged-*")
OBEYED = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\xaa-\xae]")
"""What a terminal obeys in place of showing it."""

T2I = (sys.executable, "-m", "t2icli")
Check = Callable[["Ended"], str]


@dataclass
class Ended:
    """What a command left."""

    folder: Path
    code: int
    out: bytes
    err: bytes
    seconds: float
    megabytes: int

    @property
    def text(self) -> str:
        return (self.out + self.err).decode("utf-8", "replace")


@dataclass(frozen=True)
class Case:
    """`name` says what is hostile; `files` puts it into the folder."""

    name: str
    words: Sequence[str | bytes]
    files: Callable[[Path], object] | None = None
    codes: Iterable[int] = CODES
    check: Check | None = None
    """Says what else does not hold; an empty text if all does."""
    stdin: bytes = b""
    environment: Mapping[str, str] = field(default_factory=dict)
    program: Sequence[str] = T2I
    seconds: float = 60
    megabytes: int = 1000
    closed: Sequence[int] = ()
    """File descriptors that the command finds closed."""

    def run(self, folder: Path) -> list[str]:
        """What does not hold."""
        if self.files is not None:
            self.files(folder)
        ended = self.end(folder)
        found = faults(ended, self)
        if self.check is not None and not found and (said := self.check(ended)):
            found.append(said)
        return [*found, f"(it said: {ended.text.strip()[-300:]!r})"] if found else []

    def end(self, folder: Path) -> Ended:
        process = start(self.words, folder, self)
        begun, kilobytes = time.monotonic(), 0
        while process.poll() is None and time.monotonic() < begun + self.seconds:
            kilobytes = max(kilobytes, peak(process.pid))
            time.sleep(0.02)
        seconds = time.monotonic() - begun
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        out, err = ((folder / name).read_bytes()[:5_000_000] for name in ("stdout", "stderr"))
        return Ended(folder, process.wait(), out, err, seconds, kilobytes >> 10)


def peak(process: int) -> int:
    """The most memory in kB that a process has had so far. What `wait4` says counts its parent's, from the fork."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    found = re.search(r"VmHWM:\s*(\d+) kB", status)
    return int(found[1]) if found else 0


def start(words: Sequence[str | bytes], folder: Path, how: Case | None = None) -> subprocess.Popen[bytes]:
    """The command as a process that leads a group of its own; what it says goes to the files `stdout` and `stderr`."""
    how = how or Case("", words)
    (folder / "stdin").write_bytes(how.stdin)

    def limit() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a campaign in the background ignores it
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        for number in how.closed:
            os.close(number)

    with (
        (folder / "stdin").open("rb") as stdin,
        (folder / "stdout").open("wb") as out,
        (folder / "stderr").open("wb") as err,
    ):
        command = [*map(os.fsencode, how.program), *(each if isinstance(each, bytes) else _raw(each) for each in words)]
        return subprocess.Popen(
            command,
            cwd=folder,
            env={**environment(folder), **how.environment},
            stdin=stdin,
            stdout=out,
            stderr=err,
            start_new_session=True,
            preexec_fn=limit,
        )


def _raw(word: str) -> bytes:
    return word.encode("utf-8", "surrogateescape")


def environment(folder: Path) -> dict[str, str]:
    """Ours without settings of t2i, and a store of models that is empty."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("T2I_", "COLUMNS"))}
    return {**kept, "T2I_HOME": str(folder / "home"), "OMP_NUM_THREADS": "1", "COLUMNS": "200", "T2I_OFFLINE": ""}


def faults(ended: Ended, case: Case) -> list[str]:
    """What every command owes, whatever it was given."""
    said = ended.text
    found = []
    if ended.seconds >= case.seconds:
        found.append(f"not done after {case.seconds:.0f} s")
    elif ended.code not in case.codes:
        found.append(f"exit code {ended.code}, not one of {sorted(case.codes)}")
    if "Traceback (most recent call last)" in said:
        found.append("a traceback")
    if "this is a bug;" in said:
        found.append("'this is a bug'")
    if ended.code in (1, 2) and not ended.err.strip() and not ended.out.strip() and 2 not in case.closed:
        found.append("no message")
    if OBEYED.search(ended.out + ended.err):
        found.append("control characters reach the terminal")
    if ended.megabytes > case.megabytes:
        found.append(f"{ended.megabytes} MB, more than {case.megabytes}")
    return found + traces(ended.folder)


def traces(folder: Path) -> list[str]:
    """Payloads that ran, and half files."""
    found = ["executed"] if any(folder.rglob(EXECUTED)) else []
    left = [path for pattern in LEFT_OVERS for path in folder.rglob(pattern)]
    return found + [f"left over: {path.relative_to(folder)}" for path in left]


def says(*words: str) -> Check:
    """One of these must be in what the command says."""
    return lambda ended: "" if any(word in ended.text for word in words) else f"does not say {' or '.join(words)!r}"


def installed(folder: Path, name: str, code: str) -> Mapping[str, str]:
    """Variables under which `code` is a plugin called `name`, found as every installed plugin is."""
    site = folder / "site"
    metadata = site / f"t2icli_{name}-1.0.dist-info"
    metadata.mkdir(parents=True, exist_ok=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: t2icli-{name}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[t2icli]\n{name} = {name}\n")
    (site / f"{name}.py").write_text(code)
    return {"PYTHONPATH": str(site)}
