"""Requests of 100 clients to `t2i serve`, drawn together, compared with the same server drawing one at a time.

    make bench-serve

`toy-painter` paints plain pictures in next to no time, so it shows what the server itself takes.
Server and clients share the machine, over loopback. Beside the clients there are 1,000 connections that send nothing
and 50 that send the head of a request one letter at a time. No request may be lost, and no picture differ from that of
`t2i generate` with its seed.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import httpx
from PIL import Image
from table import record

from t2icli import load
from t2icli.testing import toys

CLIENTS = 100
RUNS = (("toy-painter", 1000), ("dalle/starter", 200))
"""A generator and how many pictures are asked of it."""
ALONE = {"toy-painter": 200, "dalle/starter": 5}
"""How many are asked of the server that draws one at a time."""
DISHES = ("红烧牛肉面", "番茄炒蛋", "braised beef noodles", "宫保鸡丁")
CHECKED = 4
"""Pictures that are drawn again here."""
IDLE, SLOW = 1000, 50
ONE_AT_A_TIME = "import t2i_serve.drawer as drawer; drawer.WAVE = 1; drawer.WINDOW = 0.0; "
PROGRAM = """
import functools, sys, t2i_serve, t2i_starter
from t2icli.registry import discovery
from t2icli.testing import toys
here = discovery.collect([(each.__name__, "bench", lambda each=each: each) for each in (toys, t2i_serve, t2i_starter)])
discovery.installed = functools.cache(lambda: here)
from t2icli.__main__ import main
sys.argv[0] = "t2i"
main()
"""
COLUMNS = [
    "generator",
    "drawn",
    "requests",
    "lost",
    "p50 s",
    "p95 s",
    "pictures/s",
    "MiB after a fifth",
    "MiB at the end",
]


TOGETHER, AT_ONCE = "dalle/starter", 64
"""A generator, and how many pictures are asked of it in one request and in as many."""


def main() -> None:
    one, many = asyncio.run(costs())
    record(
        "Requests drawn together",
        f"CPU seconds of the server for {AT_ONCE} pictures of {TOGETHER}, without those of its clients.",
        ["one request", f"{AT_ONCE} requests", "ratio"],
        [[one, many, many / one]],
    )
    rows = []
    for name, count in RUNS:
        prompts = [DISHES[i % len(DISHES)] for i in range(count)]
        rows.append([name, "together", *asyncio.run(measured(name, prompts, together=True))])
        rows.append([name, "one at a time", *asyncio.run(measured(name, prompts[: ALONE[name]], together=False))])
        print(*rows[-2:], sep="\n", flush=True)
    record("Serving", __doc__.split("\n\n")[0], COLUMNS, rows)


async def costs() -> tuple[float, float]:
    """CPU seconds of the server for one request of many pictures, and for as many requests of one."""
    with server(TOGETHER, together=True) as (url, process):
        async with httpx.AsyncClient(timeout=600, limits=httpx.Limits(max_connections=AT_ONCE)) as client:
            await ask(client, url, DISHES[0], 0, n=AT_ONCE)  # everything is loaded and packed
            marks = [spent(process)]
            await ask(client, url, DISHES[0], 0, n=AT_ONCE)
            marks.append(spent(process))
            await asyncio.gather(*(ask(client, url, DISHES[0], seed) for seed in range(AT_ONCE)))
            marks.append(spent(process))
    return marks[1] - marks[0], marks[2] - marks[1]


def spent(process: subprocess.Popen[str]) -> float:
    """CPU seconds that a process has taken."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measured(name: str, prompts: list[str], *, together: bool) -> list[Any]:
    """Requests, those lost, seconds at the 50th and 95th percentile, pictures a second, and the server's memory."""
    with server(name, together=together) as (url, process):
        limits = httpx.Limits(max_connections=CLIENTS, max_keepalive_connections=CLIENTS)
        async with httpx.AsyncClient(timeout=600, limits=limits) as client, nuisances(url):
            await ask(client, url, "warm up", 0)
            waiting = iter(enumerate(prompts))
            seconds: list[float] = []
            answers: dict[int, bytes] = {}
            memory: list[int] = []

            async def one() -> None:
                for seed, prompt in waiting:
                    begun = time.perf_counter()
                    try:
                        answers[seed] = await ask(client, url, prompt, seed)
                    except httpx.HTTPError as error:
                        print(f"lost: {error!r}", file=sys.stderr)
                    seconds.append(time.perf_counter() - begun)
                    if len(seconds) == len(prompts) // 5:
                        memory.append(resident(process))

            begun = time.perf_counter()
            await asyncio.gather(*(one() for _ in range(CLIENTS)))
            took = time.perf_counter() - begun
            memory.append(resident(process))
    check(name, prompts, answers)
    p95 = quantiles(seconds, n=20)[-1]
    return [len(prompts), len(prompts) - len(answers), median(seconds), p95, len(prompts) / took, *memory]


async def ask(client: httpx.AsyncClient, url: str, prompt: str, seed: int, n: int = 1) -> bytes:
    body = {"prompt": prompt, "seed": seed, "n": n}
    answer = await client.post(f"{url}/v1/images/generations", json=body)
    answer.raise_for_status()
    return base64.b64decode(answer.json()["data"][0]["b64_json"])


def check(name: str, prompts: list[str], answers: dict[int, bytes]) -> None:
    generator = toys.Painter(toys.PainterSettings()) if name == "toy-painter" else load("generator", name)
    for seed in sorted(answers)[:: max(1, len(answers) // CHECKED)]:
        (alone,) = generator.generate(prompts[seed], 1, seed=seed)
        served = Image.open(io.BytesIO(answers[seed]))
        assert served.tobytes() == alone.tobytes(), f"{name}: the picture of seed {seed} is another"


@contextlib.contextmanager
def server(name: str, *, together: bool) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    with tempfile.TemporaryDirectory() as folder:
        words = ["serve", "-m", name, "--port", "0", "--output", str(Path(folder) / "pictures")]
        program = PROGRAM if together else ONE_AT_A_TIME + PROGRAM
        environment = {**os.environ, "T2I_LANG": "en"}
        process = subprocess.Popen(
            [sys.executable, "-c", program, *words], stderr=subprocess.PIPE, text=True, env=environment
        )
        assert process.stderr is not None
        try:
            line = next(line for line in process.stderr if line.startswith("serving on"))
            yield line.split()[2].rstrip("/"), process
        finally:
            process.terminate()
            process.wait(60)
            process.stderr.close()


@contextlib.asynccontextmanager
async def nuisances(url: str) -> AsyncIterator[None]:
    """Connections that send nothing, or next to nothing."""
    host, port = url.removeprefix("http://").split(":")
    held = [await asyncio.open_connection(host, int(port)) for _ in range(IDLE + SLOW)]

    async def drip(writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            for letter in b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: " + b"x" * 10_000:
                writer.write(bytes([letter]))
                await writer.drain()
                await asyncio.sleep(0.5)

    tasks = [asyncio.ensure_future(drip(writer)) for _, writer in held[:SLOW]]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for _, writer in held:
            writer.close()


def resident(process: subprocess.Popen[str]) -> int:
    """MiB that a process occupies."""
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") >> 20


if __name__ == "__main__":
    main()
