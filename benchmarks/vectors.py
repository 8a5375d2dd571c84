"""What a search through vectors costs as they grow: `t2i search "red" FOLDER` over shards that `t2i embed` would make.

    python benchmarks/vectors.py [MOST]

Random unit vectors of 512 numbers, 1,000 in a shard, from a quarter of MOST on; each search in a process of its own.
What a process holds is counted apart from what it maps: the system can drop mapped pages whenever it wants the memory.
"""

from __future__ import annotations

import functools
import resource
import subprocess
import sys
import tempfile
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
from t2icli.pipelines import embed
from t2icli.pipelines.evaluate import pairs

WIDTH = 512
SHARD = 1000
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
    """The vector of a text is drawn from a seed that the text gives."""

    width = WIDTH

    def embed_texts(self, texts: Sequence[str]) -> torch.Tensor:
        drawn = [np.random.default_rng(zlib.crc32(text.encode())).standard_normal(WIDTH) for text in texts]
        return torch.nn.functional.normalize(torch.tensor(np.array(drawn), dtype=torch.float32), dim=1)

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


def made(folder: Path, n: int) -> Path:
    """A folder of n vectors of the lines of a text file."""
    source, output = folder / f"{n}.txt", folder / f"vectors-{n}"
    source.write_text("".join(f"text number {i}\n" for i in range(n)), encoding="utf-8")
    how = embed.Embedding.by("texts", "random", {})
    rows: list[pairs.CaptionedPicture] = embed.read(source, "texts")
    run(embed.job(rows, source, output, how, SHARD))
    return output


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
