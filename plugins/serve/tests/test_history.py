"""Albums: what is served is what `t2i generate` would have filed, and it outlives the server."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from t2i_serve.shelf import Shelf
from t2icli.pictures.album import Album
from t2icli.testing import Runner


def test_an_answer_is_an_ordinary_album(serve: Any, t2i: Runner) -> None:
    server = serve()
    extra = {"seed": 7, "blue": 3, "rerank": "toy", "top": 2}
    answer = server.client().images.generate(prompt="红烧牛肉面", n=4, extra_body=extra)
    folder = server.folder / answer.album
    assert {path.name for path in folder.iterdir()} >= {"000.png", "001.png", "grid.png", "index.html", "results.jsonl"}
    t2i.ok("generate", "--config", folder / "settings.toml", "--output", "again")
    assert _facts(folder) == _facts(Path("again"))
    assert Image.open(folder / "001.png").tobytes() == Image.open("again/001.png").tobytes()


def _facts(folder: Path) -> list[Any]:
    rows = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    return [(row["file"], row["rank"], row["seed"], row["score"], row["pixels"]) for row in rows]


def test_the_history_lists_pages_of_albums_and_survives_a_restart(serve: Any, t2i: Runner) -> None:
    server = serve()
    for prompt in ("one", "two", "<script>alert(1)</script>"):
        server.client().images.generate(prompt=prompt, n=2)
    t2i.ok("generate", "drawn in a terminal", "-n", "1", "-m", "toy", "--output", server.folder / "own")
    again = serve(output=server.folder)
    page = again.get("/v1/history?limit=3").json()
    assert [album["prompt"] for album in page["data"]] == ["drawn in a terminal", "<script>alert(1)</script>", "two"]
    assert page["has_more"]
    rest = again.get(f"/v1/history?limit=3&after={page['data'][-1]['id']}").json()
    assert [album["prompt"] for album in rest["data"]] == ["one"] and not rest["has_more"]
    (row, _) = rest["data"][0]["rows"]
    assert Image.open(io.BytesIO(again.get(row["url"]).content)).size == (8, 8)
    assert again.get(f"/v1/history/{page['data'][1]['id']}").json()["candidates"] == 2
    assert again.get("/v1/history/nothing").status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/pictures/own/results.jsonl",
        "/pictures/own/.lock",
        "/pictures/../own/000.png",
        "/pictures/own/%2e%2e%2fsecret.png",
        "/pictures/%2e%2e/secret.png",
        "/pictures/.t2i/000.png",
        "/pictures//etc/passwd",
    ],
)
def test_only_pictures_of_albums_are_given_out(serve: Any, t2i: Runner, path: str) -> None:
    server = serve()
    t2i.ok("generate", "a", "-n", "1", "-m", "toy", "--output", server.folder / "own")
    Image.new("RGB", (1, 1)).save(server.folder / "secret.png")
    assert server.get("/pictures/own/000.png").status_code == 200
    assert server.get(path).status_code == 404


def test_a_damaged_album_does_not_hide_the_others(serve: Any) -> None:
    server = serve()
    server.client().images.generate(prompt="whole")
    (server.folder / "damaged").mkdir()
    (server.folder / "damaged/results.jsonl").write_text("no json\n")
    row = {"file": None, "prompt": "b", "rank": 1, "seed": 1, "score": None, "scores": {}, "model": "m", "sha256": None}
    (server.folder / "earlier").mkdir()
    (server.folder / "earlier/results.jsonl").write_text(f"{json.dumps(row)}\n" * 100)
    earlier, whole = server.get("/v1/history").json()["data"]
    assert (whole["prompt"], earlier["prompt"]) == ("whole", "b")
    assert (earlier["candidates"], len(earlier["rows"])) == (100, 64)
    assert server.get("/v1/history/earlier").json()["settings"] == {}


START = """
import sys
from t2icli import cli
from t2icli.registry import discovery
from t2icli.testing import toys
import t2i_serve
here = discovery.collect([("toys", "test", lambda: toys), ("serve", "test", lambda: t2i_serve)])
discovery.installed.cache_clear()
discovery.installed = __import__("functools").cache(lambda: here)
from t2icli.__main__ import main
main()
"""


@pytest.fixture
def process(tmp_path: Path) -> Any:
    """`t2i serve` as a program of its own; gives it and its address."""
    started = []

    def begin(*flags: str) -> tuple[subprocess.Popen[str], str]:
        words = [sys.executable, "-c", START, "serve", "-m", "toy", "--port", "0", "--output", str(tmp_path / "out")]
        running = subprocess.Popen(
            [*words, *flags],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "T2I_HOME": str(tmp_path), "T2I_LANG": "en"},
        )
        started.append(running)
        assert running.stderr is not None
        line = running.stderr.readline()
        assert line.startswith("serving on http://"), line + running.stderr.read()
        return running, line.split()[2].rstrip("/")

    yield begin
    for running in started:
        running.kill()
        running.wait()
        assert running.stderr is not None
        running.stderr.close()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_it_with_their_code(process: Any, number: int, code: int) -> None:
    running, url = process()
    assert httpx.post(f"{url}/v1/images/generations", json={"prompt": "a"}, timeout=60).status_code == 200
    running.send_signal(number)
    assert running.wait(30) == code
    assert "Traceback" not in running.stderr.read()


def test_kill_9_leaves_no_half_files(process: Any, tmp_path: Path) -> None:
    running, url = process()
    import threading

    done: list[str] = []

    def ask() -> None:
        try:
            while True:
                answer = httpx.post(f"{url}/v1/images/generations", json={"prompt": "a", "n": 8}, timeout=60)
                done.append(answer.json()["album"])
        except httpx.TransportError:
            return

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    while len(done) < 8:
        threads[0].join(0.02)
    running.kill()
    for thread in threads:
        thread.join(30)
    _, url = process()
    listed = {album["id"]: album for album in httpx.get(f"{url}/v1/history?limit=100", timeout=60).json()["data"]}
    assert set(done) <= set(listed)
    folders = {path.name for path in (tmp_path / "out").iterdir()}
    assert folders == set(listed)  # whatever had nothing filed is gone
    for name, album in listed.items():
        folder = tmp_path / "out" / name
        assert not list(folder.glob(".t2i-run-*")) and not list(folder.glob("*.part"))
        assert (folder / "index.html").exists()
        for row in album["rows"]:
            Image.open(folder / row["file"]).load()


def test_a_server_beside_another_leaves_its_work_alone(tmp_path: Path) -> None:
    folder = tmp_path / "20260101-000000-a-0123abcd"
    album = Album(folder)
    with album.opened():
        Shelf(tmp_path).prepare()
        assert album.space.is_dir()
    Shelf(tmp_path).prepare()
    assert not folder.exists()
