"""What pictures and captions cost here and in workers of a Ray cluster, with the starter's models.

    OMP_NUM_THREADS=1 python benchmarks/workers.py [ADDRESS] [ROUNDS]

Without an address two nodes of one core each are started on this machine, beside a head that computes nothing.
Counted is the processor time in which chunks are worked on, without each process's first one: loading is not in it, and
other programs on the machine matter little. The best of the rounds counts.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from t2icli.engine.jobs import Chunk, Job, Make
from t2icli.engine.run import Ray, run
from t2icli.pipelines import caption, drawing, image_files
from t2icli.registry.open import Choice, choose

PROMPTS, N = 64, 4
PHOTOS = 32
CHUNK = 8
"""Pictures in one."""


@dataclass(frozen=True)
class Timed:
    """A job's work; each chunk's process, rows and processor time go into `log`."""

    load: Callable[[], Make]
    log: Path

    def __call__(self) -> Make:
        return partial(_timed, self.load(), self.log)


def _timed(make: Make, log: Path, chunk: Chunk, draft: Path) -> None:
    before = time.process_time()
    make(chunk, draft)
    with log.open("a") as stream:
        stream.write(f"{os.getpid()} {len(chunk)} {time.process_time() - before}\n")


def seconds_a_row(job: Job, log: Path, on: Ray | None) -> float:
    import workers  # by its name, which the workers import it by

    run(replace(job, load=workers.Timed(job.load, log)), on)
    chunks: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for process, rows, seconds in map(str.split, log.read_text().splitlines()):
        chunks[process].append((int(rows), float(seconds)))
    rows, seconds = zip(*(chunk for own in chunks.values() for chunk in own[1:]), strict=True)
    return sum(seconds) / sum(rows)


def generating(folder: Path) -> Job:
    from t2i_starter import Settings
    from t2i_starter.source import Plates

    plates = Plates(Settings(seed=1, look="photo"))
    prompts = [plates.invented(at).captions[at % 2] for at in range(PROMPTS)]
    how = drawing.Drawing(Choice.of("generator", *choose("generator", "dalle/starter")), N, seed=1)
    return drawing.job(lambda: prompts, folder / "out", how, CHUNK)


def captioning(folder: Path) -> Job:
    photos = folder / "photos"
    photos.mkdir()
    for number in range(PHOTOS):
        Image.effect_noise((240, 240), number).convert("RGB").save(photos / f"{number:03d}.png")
    how = caption.Captioning(Choice.of("captioner", *choose("captioner", "clipcap/starter")), 1, seed=1)
    return caption.job(image_files.pictures([photos]), (photos,), folder / "out", how, CHUNK)


def rows(address: str, rounds: int) -> Iterator[list[Any]]:
    for name, made, each in (("generate, dalle/starter", generating, N), ("caption, clipcap/starter", captioning, 1)):
        here = 0.0
        for engine, on in (("here", None), ("ray, 1 worker", Ray(address, 1)), ("ray, 2 workers", Ray(address, 2))):
            found = []
            for _ in range(rounds):
                with tempfile.TemporaryDirectory() as folder:
                    found.append(seconds_a_row(made(Path(folder)), Path(folder) / "log", on) / each)
            here = here or min(found)
            print(name, engine, found, file=sys.stderr, flush=True)
            yield [name, engine, 1000 * min(found), (on.workers if on else 1) / min(found), 100 * here / min(found)]


def main(address: str = "", rounds: str = "2") -> None:
    import engine
    import table

    with contextlib.ExitStack() as stack:
        if not address:
            address, stop = engine.cluster()
            stack.callback(stop)
        measured = list(rows(address, int(rounds)))
    about = (
        f"`t2i generate --prompts` with {PROMPTS} lines and `-n {N}`, and `t2i caption` of {PHOTOS} pictures of 240\n"
        f"pixels, in chunks of {CHUNK} pictures and with one thread in each process (`make bench-workers`). Processor\n"
        "time of the work alone, without loading models and each process's first chunk; best of "
        f"{rounds}.\nThe rate is what the workers do where each has a core to itself."
    )
    columns = ["job", "engine", "CPU ms a picture", "pictures a second", "efficiency, %"]
    table.record("Models in workers", about, columns, measured)


if __name__ == "__main__":
    main(*sys.argv[1:])
