"""How fast data is prepared: filtering beside a loop like text2img's, fetching beside img2dataset, and reading.

    python benchmarks/prepare.py                                    all three
    python benchmarks/prepare.py filter --rows 10000000             also shows that memory stays flat
    python benchmarks/prepare.py fetch --img2dataset venv/bin/python   with img2dataset of another environment beside it

Wall clock on a busy machine says little, so processor seconds are printed as well.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import io
import json
import multiprocessing
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from table import record

from t2icli.data import shards
from t2icli.data.dataset import SourceRow
from t2icli.pipelines.prepare import Preparation, prepare, try_out
from t2icli.prepare.settings import PRESETS, FetchLimits, PreparePlan, Rules

HAN = "".join(map(chr, range(0x4E00, 0x5600)))


COLUMNS = ("run", "a second, wall clock", "a second of processor time", "peak MiB so far")
Row = tuple[str, float, float | str, float | str]


def measured(about: str, n: int, work: Callable[[], Any]) -> Row:
    """What it was, how many a second by wall clock and by processor time, and the most memory so far."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{about:40} {n / wall:>12,.0f}/s wall {n / processor:>12,.0f}/s processor {peak:>6,.0f} MiB", flush=True)
    return about, n / wall, n / processor, peak


def captions(rows: int, words: Sequence[str]) -> Iterator[str]:
    chance = random.Random(0)
    for _ in range(rows):
        text = "".join(chance.choices(HAN, k=chance.randint(6, 34)))
        yield text[:5] + chance.choice(words) + text[5:] if chance.random() < 0.1 else text


def notebook_loop(path: Path, words: Sequence[str]) -> int:
    """text2img's way: rows of a data frame one by one, a regular expression, every substring looked up."""
    known, kept = set(words), 0
    forbidden, spaces = re.compile(r'[\d？【】《》:?<>"]'), re.compile(r"[;,\s]")
    for text in _rows_one_by_one(path):
        if len(text) > 32 or forbidden.search(text) or max(map(len, spaces.split(text))) > 18:
            continue
        kept += any(text[i : i + n] in known for i in range(len(text)) for n in range(1, 7))
    return kept


def _rows_one_by_one(path: Path) -> Iterator[str]:
    try:
        import pandas
    except ImportError:  # flatters the loop: the csv module is quicker than a data frame's rows
        with path.open(encoding="utf-8", newline="") as stream:
            yield from (row[1] for row in list(csv.reader(stream))[1:])
        return
    for _, row in pandas.read_csv(path).iterrows():
        yield row.iloc[1]


def bench_filter(folder: Path, rows: int) -> None:
    """Ours beside the notebook's loop, with a list of 9,045 words as text2img had."""
    chance = random.Random(1)
    words = sorted({"".join(chance.choices(HAN, k=chance.choice((2, 3, 4, 4, 5, 5, 6)))) for _ in range(9045)})
    (folder / "words.txt").write_text("\n".join(words), encoding="utf-8")
    few = min(rows, 100_000)
    lines = "".join(f"http://images.invalid/{i:09d}.jpg,{text}\n" for i, text in enumerate(captions(few, words)))
    for name, times in (("all.csv", rows // few), ("few.csv", 1)):
        with (folder / name).open("w", encoding="utf-8") as stream:
            stream.write("url,caption\n")
            stream.writelines(lines for _ in range(times))
    plan = PreparePlan(Rules(**{**PRESETS["wukong-food"], "words": str(folder / "words.txt")}))
    try_out(Preparation("wukong", folder / "few.csv", folder / "out", plan))
    ours = measured(
        f"t2i prepare --dry-run, {rows:,} rows",
        rows,
        lambda: try_out(Preparation("wukong", folder / "all.csv", folder / "out", plan)),
    )
    slow = measured(f"notebook's loop, {few:,} rows", few, lambda: notebook_loop(folder / "few.csv", words))
    about = (
        f"Captions through text2img's rules with 9,045 words: {ours[1] / slow[1]:.0f} times the notebook's loop "
        f"by wall clock, {float(ours[2]) / float(slow[2]):.0f} times by processor time."
    )
    record("Filtering captions", about, COLUMNS, [ours, slow])


def picture(seed: int, side: int = 256) -> bytes:
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def serve(port: Any, images: int) -> None:
    """Good images, 404s, servers that hang and that drip."""
    bodies = [picture(i) for i in range(images)]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                while (await reader.readline()).strip():
                    pass
                kind, _, number = line.split()[1].decode().strip("/").partition("/")
                if kind == "hang":
                    await asyncio.sleep(3600)
                elif kind == "drip":
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
                    for _ in range(100_000):
                        writer.write(b"x")
                        await writer.drain()
                        await asyncio.sleep(0.1)
                else:
                    body = bodies[int(number) % images] + number.encode() if kind == "good" else b""
                    status = "200 OK" if body else "404 Not Found"
                    writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
                    await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def run() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=1024)
        port.value = server.sockets[0].getsockname()[1]
        await server.serve_forever()

    asyncio.run(run())


def bench_fetch(folder: Path, images: int, other: str | None) -> None:
    """Ours beside img2dataset: one list of good and missing images, and one with servers that never end."""
    rows: list[Row] = []
    port = multiprocessing.Value("i", 0)
    server = multiprocessing.Process(target=serve, args=(port, 200), daemon=True)
    server.start()
    while not port.value:
        time.sleep(0.05)
    base = f"http://127.0.0.1:{port.value}"
    good = [f"{base}/good/{i}" for i in range(images)]
    bad = [f"{base}/404/{i}" for i in range(images // 20)]
    stuck = [f"{base}/hang/{i}" for i in range(6)] + [f"{base}/drip/{i}" for i in range(2)]
    for name, addresses in (("good and 404", good + bad), ("and 8 that never end", good + bad + stuck)):
        random.Random(2).shuffle(addresses)
        lines = "".join(f"{address},a caption\n" for address in addresses)
        (folder / "urls.csv").write_text("url,caption\n" + lines)
        out = Path(tempfile.mkdtemp(dir=folder))
        limits = FetchLimits(allow_private=True, per_host=128, timeout=5, tries=2)
        job = Preparation("wukong", folder / "urls.csv", out / "ours", PreparePlan(Rules(duplicates="keep"), limits))
        rows.append(measured(f"t2i prepare, {name}", images, lambda job=job: prepare(job)))
        if other is not None:
            rows.append(_img2dataset(other, folder / "urls.csv", out / "theirs", images, name))
    server.kill()
    about = (
        f"{images:,} good images of 256 x 256 pixels and {images // 20} that are missing, from a server on the "
        "same machine."
    )
    record("Fetching images", about, COLUMNS, rows)


PATIENCE = 120
IMG2DATASET = """
import sys
from img2dataset import download
download(url_list=sys.argv[1], output_folder=sys.argv[2], input_format="csv", url_col="url", caption_col="caption",
         output_format="webdataset", processes_count=2, thread_count=64, resize_mode="no", timeout=5, retries=1,
         number_sample_per_shard=5000, enable_wandb=False)
"""


def _img2dataset(python: str, source: Path, output: Path, images: int, name: str) -> Row:
    about = f"img2dataset, {name}"
    started = time.perf_counter()
    words = [python, "-c", IMG2DATASET, str(source), str(output)]
    try:
        subprocess.run(words, check=True, timeout=PATIENCE, capture_output=True)
    except subprocess.TimeoutExpired:
        return f"{about}: not finished after {PATIENCE} s", 0.0, "", ""
    except subprocess.CalledProcessError as error:
        return f"{about}: failed, {error.stderr.decode().strip().splitlines()[-1]}", 0.0, "", ""
    done = sum(json.loads(path.read_text())["successes"] for path in output.glob("*_stats.json"))
    return about, done / (time.perf_counter() - started), "", ""


def bench_read(folder: Path, images: int) -> None:
    """The rows of a prepared dataset in order and in any order."""
    found: list[Row] = []
    rows = (SourceRow(str(i), picture(i), (f"picture {i}",)) for i in range(images))
    data = shards.write(folder / "read", rows)
    order = np.random.default_rng(3).permutation(images).tolist()
    data.image(0)

    def read(numbers: Sequence[int], what: Callable[[int], Any]) -> None:
        for i in numbers:
            what(i)

    for name, what in (("bytes", data.image_bytes), ("images", data.image)):
        for way, numbers in (("in order", list(range(images))), ("at random", order)):
            found.append(measured(f"{name} {way}", images, lambda n=numbers, w=what: read(n, w)))
    shares = [at_random[2] / in_order[2] for in_order, at_random in (found[:2], found[2:])]
    about = (
        f"At random is {shares[0]:.0%} (bytes) and {shares[1]:.0%} (decoded) of the speed in order, by processor time."
    )
    record("Reading prepared data", about, COLUMNS, found)


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("what", nargs="*", default=["filter", "fetch", "read"])
    words.add_argument("--rows", type=int, default=1_000_000, help="captions to filter")
    words.add_argument("--images", type=int, default=3000, help="images to fetch, and to read")
    words.add_argument("--img2dataset", metavar="PYTHON", help="a Python that has img2dataset")
    chosen = words.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if "filter" in chosen.what:
            bench_filter(Path(folder), chosen.rows)
        if "fetch" in chosen.what:
            bench_fetch(Path(folder), chosen.images, chosen.img2dataset)
        if "read" in chosen.what:
            bench_read(Path(folder), chosen.images)


if __name__ == "__main__":
    sys.exit(main())
