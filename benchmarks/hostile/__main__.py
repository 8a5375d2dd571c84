"""A hostile campaign against `t2i`, from outside: its command line in fresh processes.

    python benchmarks/hostile [FAMILY ...] [--seed N] [--only WORD] [--keep FOLDER]

Prints how many cases of each family were tried and how many held, and what of the others did not. A case holds when
the command ends in bounded time and memory with an exit code of the documentation and, where it fails, a message: no
traceback, no "this is a bug", nothing of the strangers' executed, no private address reached, no half file left, no
control character on the terminal. The exit code is 1 if one did not. Needs Linux. docs/reliability.md has the figures.
"""

from __future__ import annotations

import argparse
import importlib
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Protocol

FAMILIES = {
    "train-kills": "kills:train_kills",
    "prepare-kills": "kills:prepare_kills",
    "generate-kills": "kills:generate_kills",
    "signals": "kills:signals",
    "pickles": "pickles:pickles",
    "checkpoints": "checkpoints:checkpoints",
    "addresses": "addresses:addresses",
    "servers": "servers:servers",
    "plugins": "strangers:plugins",
    "tables": "tables:tables",
    "images": "pictures:pictures",
    "records": "records:records",
    "commands": "lines:lines",
    "names": "names:names",
    "disks": "disks:disks",
}
"""Each family with the module and the function that makes its cases."""


class Trial(Protocol):
    """A case, or a longer story."""

    @property
    def name(self) -> str: ...

    def run(self, folder: Path) -> list[str]:
        """What does not hold."""
        ...


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("family", nargs="*", choices=[*FAMILIES, []], help="all unless given")
    parser.add_argument("--seed", type=int, default=0, help="decides moments, lengths and damaged bytes")
    parser.add_argument("--only", default="", help="cases whose name has this word")
    parser.add_argument("--keep", type=Path, help="an empty folder for what the cases leave")
    asked = parser.parse_args()
    folder = asked.keep or Path(tempfile.mkdtemp(prefix="t2i-hostile-"))
    rows = [_family(name, asked.seed, asked.only, folder / name) for name in asked.family or FAMILIES]
    if asked.keep is None:
        shutil.rmtree(folder, ignore_errors=True)
    print("\n| family | tried | held | minutes |\n| --- | --- | --- | --- |")
    for name, tried, held, minutes in rows:
        print(f"| {name} | {tried} | {held} | {minutes:.1f} |")
    sys.exit(any(tried != held for _, tried, held, _ in rows))


def _family(name: str, seed: int, only: str, folder: Path) -> tuple[str, int, int, float]:
    begun, tried, held = time.monotonic(), 0, 0
    for number, trial in enumerate(_trials(name, seed, folder)):
        if only not in trial.name:
            continue
        own = folder / f"{number:03d}"
        own.mkdir(parents=True)
        faults = trial.run(own)
        tried, held = tried + 1, held + (not faults)
        for fault in faults[:4]:
            print(f"{name}: {trial.name}: {fault}", flush=True)
        if not faults:
            shutil.rmtree(own, ignore_errors=True)
    print(f"{name}: {held} of {tried} held", flush=True)
    return name, tried, held, (time.monotonic() - begun) / 60


def _trials(name: str, seed: int, folder: Path) -> Iterator[Trial]:
    module, function = FAMILIES[name].split(":")
    (folder / "shared").mkdir(parents=True)
    found: Iterator[Trial] = getattr(importlib.import_module(module), function)(
        Random(f"{name} {seed}"), folder / "shared"
    )
    return found


if __name__ == "__main__":
    main()
