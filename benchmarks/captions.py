"""What a caption costs as a job grows: `t2i caption DATASET --engine here` with a captioner of one small layer.

    OMP_NUM_THREADS=1 python benchmarks/captions.py [FEW MANY]

A prepared dataset of pictures of 8 pixels, ten captions of each, and each run in a process of its own. Processor time
of a caption and the most memory show whether a job is linear and flat.
"""

from __future__ import annotations

import io
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from filing import PROGRAM
from PIL import Image

from t2i_clipcap.caption import Config
from t2i_clipcap.convert import card
from t2i_clipcap.model import ClipCap, ClipCapShape, MapperShape
from t2i_clipcap.words import FILE, SPECIAL, open_words
from t2icli.data import shards
from t2icli.data.dataset import SourceRow
from t2icli.nn import weights
from t2icli.store import models
from t2icli.testing import toys

N = 10
"""Captions of a picture."""
WIDTH = toys.EmbedderSettings().width


def rows(n: int) -> Iterator[SourceRow]:
    for number in range(n):
        stream = io.BytesIO()
        Image.new("RGB", (8, 8), (number % 256, number // 256 % 256, number // 65536)).save(stream, "PNG")
        yield SourceRow(f"{number:08d}", stream.getvalue())


def model(folder: Path) -> Path:
    """Random weights and few words."""
    torch.manual_seed(0)
    (folder / "vocab.txt").write_text("\n".join([*SPECIAL, *"红绿蓝色圆方形一个的"]), encoding="utf-8")
    words = open_words(folder / "vocab.txt")
    mapper = MapperShape(condition=WIDTH, prefix=2)
    shape = ClipCapShape(mapper=mapper, words=words.size, positions=32, width=32, layers=1, heads=2)
    weights.save(ClipCap(shape), folder / "model")
    words.tokenizer.save(str(folder / "model" / FILE))
    models.seal(folder / "model", card(Config(shape), about="for a benchmark"))
    return folder / "model"


def run(folder: Path, n: int) -> tuple[float, float]:
    """Seconds of processor time, and the most memory in MB."""
    shards.write(folder / "data", rows(n // N))
    settings = [
        "-o",
        f"model={model(folder)}",
        "-o",
        "embedder=toy-vectors",
        "-o",
        "max_tokens=8",
        "--batch-size",
        "32",
    ]
    words = ["caption", folder / "data", "-m", "clipcap", *settings, "--seed", "1", "-n", N, "--output", folder / "out"]
    environment = {**os.environ, "T2I_HOME": str(folder / "home")}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = subprocess.run(
        [sys.executable, "-c", WITH_CLIPCAP, *map(str, words), "--engine", "here"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    with (folder / "out/captions.jsonl").open("rb") as lines:
        assert sum(1 for _ in lines) == n // N
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used, int(ended.stderr.splitlines()[-1]) / 1024


WITH_CLIPCAP = PROGRAM.replace("import functools", "import t2i_clipcap, functools").replace(
    "lambda: toys)", 'lambda: toys), ("clipcap", "benchmark", lambda: t2i_clipcap)'
)


def main(*sizes: str) -> None:
    print(f"{'captions':>9} {'CPU s':>8} {'ms each':>8} {'MB':>6}")
    for n in map(int, sizes or ("25000", "100000")):
        with tempfile.TemporaryDirectory() as folder:
            seconds, memory = run(Path(folder), n)
        print(f"{n:9} {seconds:8.1f} {1e3 * seconds / n:8.2f} {memory:6.0f}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
