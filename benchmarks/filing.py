"""What a picture costs as a run grows: `t2i generate --prompts FILE -n 1` with a generator that costs nothing.

    python benchmarks/filing.py [MOST]

Runs of 1,000 prompts and twice as many up to MOST, each in a process of its own. The processor time of a picture and
the memory beyond that of the shortest run show whether filing is linear and flat.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

PROGRAM = """
import functools, resource, sys
from t2icli import cli
from t2icli.registry import discovery
from t2icli.testing import toys
here = discovery.collect([("toys", "benchmark", lambda: toys)])
discovery.installed = functools.cache(lambda: here)
code = cli.run(sys.argv[1:])
sys.stderr.write(f"\\n{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}")
sys.exit(code)
"""
FIRST = 1_000


def main(most: int = 8_000) -> None:
    print(f"{'prompts':>9} {'CPU s':>8} {'ms/picture':>11} {'MB more':>8} {'results.jsonl':>14} {'largest page':>13}")
    least = None
    for n in sizes(most):
        with tempfile.TemporaryDirectory() as folder:
            seconds, memory = run(Path(folder), n)
            least = memory if least is None else least
            results = (Path(folder) / "out/results.jsonl").stat().st_size / 1e6
            page = max(path.stat().st_size for path in (Path(folder) / "out").glob("index*.html")) / 1e6
        more = (memory - least) / 1024
        print(
            f"{n:9} {seconds:8.1f} {1e3 * seconds / n:11.2f} {more:8.1f} {results:11.1f} MB {page:10.2f} MB", flush=True
        )


def sizes(most: int) -> Iterator[int]:
    n = FIRST
    while n < most:
        yield n
        n *= 2
    yield most


def run(folder: Path, n: int) -> tuple[float, int]:
    """Seconds of processor time, and the most memory in kilobytes."""
    prompts = folder / "prompts.txt"
    prompts.write_text("".join(f"picture number {i}\n" for i in range(n)), encoding="utf-8")
    words = ["generate", "--prompts", prompts, "-n", 1, "--seed", 1, "-m", "toy", "--output", folder / "out"]
    environment = {**os.environ, "T2I_HOME": str(folder / "home"), "OMP_NUM_THREADS": "1"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, words)], env=environment, capture_output=True, text=True, check=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used, int(ended.stderr.splitlines()[-1])


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
