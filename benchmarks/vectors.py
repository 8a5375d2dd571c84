"""What a search through vectors costs as they grow: `t2i search "red" FOLDER` over shards that `t2i embed` would make.

    python benchmarks/vectors.py [MOST]

Unit vectors of 512 numbers in 2,000 families, 1,000 in a shard, from a quarter of MOST on; each search in a process of
its own. Then the same with an index of the last ones, and the near-duplicates among the first ones. What a process
holds is counted apart from what it maps: the system can drop mapped pages whenever it wants the memory.
"""

from __future__ import annotations

import functools
import resource
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from t2icli.contract.entries import Entry
from t2icli.contract.hookspecs import hookimpl
from t2icli.engine.run import run
from t2icli.pipelines import embed, vector_index
from t2icli.pipelines.evaluate import pairs
from t2icli.pipelines.vectors import Vectors
from t2icli.prepare import duplicates

WIDTH = 512
SHARD = 1000
FAMILIES = 2000
PROGRAM = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import vectors
from t2icli import cli
vectors.install()
code = cli.run(sys.argv[1:])
held = [line.split()[1] for line in open("/proc/self/status") if line.startswith(("RssAnon", "VmHWM"))]
sys.stderr.write("\\n" + " ".join(held))
sys.exit(code)
"""


class Settings(msgspec.Struct, frozen=True): ...


class Random:
    """The vector of a text is drawn from a seed that the text gives: its family's, and as much of its own."""

    width = WIDTH

    def embed_texts(self, texts: Sequence[str]) -> torch.Tensor:
        seeds = [zlib.crc32(text.encode()) for text in texts]
        drawn = [self._middles[seed % FAMILIES] + np.random.default_rng(seed).standard_normal(WIDTH) for seed in seeds]
        return torch.nn.functional.normalize(torch.tensor(np.array(drawn), dtype=torch.float32), dim=1)

    @functools.cached_property
    def _middles(self) -> Any:
        return np.random.default_rng(0).standard_normal((FAMILIES, WIDTH))

    def embed_images(self, images: Sequence[Any]) -> torch.Tensor:
        raise NotImplementedError


class Plugin:
    @hookimpl
    def t2i_embedders(self) -> list[Entry[Any]]:
        return [Entry("random", "random vectors", Settings, lambda settings: Random())]


def install() -> None:
    """Offer the random embedder, and nothing else, in this process."""
    from t2icli.registry import discovery

    here = discovery.collect([("random", "benchmark", Plugin)])
    discovery.installed = functools.cache(lambda: here)


def main(most: int = 200_000) -> None:
    install()
    print(f"{'vectors':>8} {'MB on disk':>10} {'CPU s':>6} {'MB held':>8} {'MB with mapped pages':>21}")
    with tempfile.TemporaryDirectory() as folder:
        for n in (most // 4, most // 2, most):
            output = made(Path(folder), n)
            size = sum(path.stat().st_size for path in output.glob("shards/*")) / 1e6
            seconds, peak, held = searched(output)
            print(f"{n:8} {size:10.0f} {seconds:6.2f} {held / 1e3:8.0f} {peak / 1e3:21.0f}", flush=True)
        indexed(output)
        seconds, peak, held = searched(output)
        print(f"{'indexed':>8} {'':10} {seconds:6.2f} {held / 1e3:8.0f} {peak / 1e3:21.0f}", flush=True)
        repeated(Path(folder) / f"vectors-{most // 4}")


def made(folder: Path, n: int) -> Path:
    """A folder of n vectors of the lines of a text file."""
    source, output = folder / f"{n}.txt", folder / f"vectors-{n}"
    source.write_text("".join(f"text number {i}\n" for i in range(n)), encoding="utf-8")
    how = embed.Embedding.by("texts", "random", {})
    rows: list[pairs.CaptionedPicture] = embed.read(source, "texts")
    run(embed.job(rows, source, output, how, SHARD))
    return output


def indexed(output: Path) -> None:
    """Make an index, and say what that costs and what it is worth."""
    stored = Vectors.at(output)
    assert stored is not None
    began = time.process_time()
    recall = vector_index.build(stored)
    spent, size = time.process_time() - began, (output / vector_index.FILE).stat().st_size / 1e6
    print(
        f"index: {spent:.1f} CPU s, {size:.0f} MB, {recall.share:.1%} of the 10 nearest of {recall.queries} {recall.of}"
    )
    index = vector_index.open_index(stored)
    rows = stored.between(0, 100)
    for name, search in (("exact", None), ("indexed", index)):
        began = time.process_time()
        for query in rows:
            stored.nearest(query, 10, None if search is None else search.candidates(query, 10))
        print(f"{name}: {10 * (time.process_time() - began):.1f} CPU ms a query in one process", flush=True)


def repeated(output: Path) -> None:
    """The near-duplicates among all vectors of a folder, by comparing each with each."""
    stored = Vectors.at(output)
    assert stored is not None
    began = time.process_time()
    found = duplicates.find(stored.rows, stored.between, 0.6)
    spent = time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(
        f"near-duplicates among {stored.rows}: {len(found)} in {spent:.0f} CPU s; {peak:.0f} MB at most in all of this"
    )


def searched(output: Path) -> tuple[float, int, int]:
    """Seconds of processor time; kilobytes at most, with mapped pages, and at the end without."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    words = [sys.executable, "-c", PROGRAM, "search", "text number 7", str(output), "--top", "3"]
    ended = subprocess.run(words, capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[0] == "text number 7", ended.stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    peak, held = map(int, ended.stderr.splitlines()[-1].split())
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, peak, held


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
