"""What happens between requests: waves, cancelling, turns, bounds, models that come and go."""

from __future__ import annotations

import io
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest
from PIL import Image

from t2i_serve.limits import ServerLimits
from t2icli.contract.entries import Entry
from t2icli.contract.hookspecs import hookimpl
from t2icli.testing import Runner, toys


def test_parallel_requests_are_drawn_together_and_as_alone(serve: Any, stepped: Any) -> None:
    server = serve()
    client = server.client()
    stepped.gate.clear()
    with ThreadPoolExecutor(24) as pool:
        ask = lambda i: client.images.generate(prompt=f"prompt {i}", extra_body={"seed": i}, response_format="url")  # noqa: E731
        first = pool.submit(ask, 0)
        server.wait(lambda: stepped.batches)
        others = [pool.submit(ask, i) for i in range(1, 24)]
        server.wait(lambda: server.studio.pool.waiting() == 23)
        stepped.gate.set()
        answers = [job.result() for job in (first, *others)]
    assert [len(batch) for batch in stepped.batches] == [1, 8, 8, 7]
    for seed, answer in enumerate(answers):
        assert answer.data[0].seed == seed
        content = server.get(answer.data[0].url.removeprefix(server.url)).content
        assert Image.open(io.BytesIO(content)).getpixel((0, 0)) == (seed, len(f"prompt {seed}"), 0)


def test_a_client_that_goes_away_stops_its_drawing_within_a_step(serve: Any, stepped: Any) -> None:
    server = serve()
    stepped.gate.clear()
    with pytest.raises(httpx.ReadTimeout):
        server.post("/v1/images/generations", json={"prompt": "a", "n": 16}, timeout=0.5)
    server.wait(lambda: server.studio.metrics.pictures_in_flight._value.get() == 0)
    stepped.gate.set()
    server.client().images.generate(prompt="after")
    assert stepped.batches == [
        [("a", seed) for seed in range(stepped.batches[0][0][1], stepped.batches[0][0][1] + 8)],
        stepped.batches[1],
    ]
    assert stepped.steps == 1 + 4  # the step that was running, and those of the next request
    assert len(list(server.folder.iterdir())) == 1


def test_a_stream_that_is_closed_is_cancelled(serve: Any, stepped: Any) -> None:
    server = serve()
    stepped.pause_at = 3
    stream = server.client().images.generate(prompt="a", n=64, stream=True, partial_images=1)
    next(iter(stream))
    stream.close()
    server.wait(lambda: server.studio.metrics.pictures_in_flight._value.get() == 0)
    stepped.gate.set()
    server.client().images.generate(prompt="after")
    assert [len(batch) for batch in stepped.batches] == [8, 1] and stepped.steps == 4 + 4


def test_a_stream_that_waits_sends_signs_of_life(serve: Any, stepped: Any) -> None:
    server = serve(limits=ServerLimits(beat=0.05))
    stepped.gate.clear()
    body = {"prompt": "a", "stream": True}
    with httpx.stream("POST", f"{server.url}/v1/images/generations", json=body, timeout=20) as answer:
        lines = answer.iter_lines()
        assert [next(lines) for _ in range(4)] == [": waiting", ""] * 2
        stepped.gate.set()
        rest = list(lines)
    assert "event: image_generation.completed" in rest


def test_one_who_asks_for_much_does_not_starve_another(serve: Any, stepped: Any) -> None:
    server = serve()
    client = server.client()
    stepped.gate.clear()
    with ThreadPoolExecutor(14) as pool:
        greedy = [
            pool.submit(client.images.generate, prompt="greedy", n=10, user="greedy", response_format="url")
            for _ in range(12)
        ]
        server.wait(lambda: stepped.batches and server.studio.pool.waiting() == 120 - 8)
        modest = pool.submit(client.images.generate, prompt="modest", user="modest", response_format="url")
        server.wait(lambda: server.studio.pool.waiting() == 121 - 8)
        stepped.gate.set()
        modest.result()
        for job in greedy:
            job.result()
    prompts = [prompt for batch in stepped.batches for prompt, _ in batch]
    assert prompts.index("modest") < 16


def test_a_full_queue_says_when_to_come_back(serve: Any, stepped: Any) -> None:
    server = serve(limits=ServerLimits(queue=10))
    stepped.gate.clear()
    client = server.client()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.images.generate, prompt="a", n=8)
        server.wait(lambda: stepped.batches)
        with pytest.raises(openai.RateLimitError) as raised:
            client.images.generate(prompt="a", n=3)
        assert raised.value.code == "queue_full" and int(raised.value.response.headers["retry-after"]) >= 1
        stepped.gate.set()
        assert len(first.result().data) == 8
    assert len(client.images.generate(prompt="a", n=3).data) == 3


def test_what_takes_too_long_is_given_up(serve: Any, stepped: Any) -> None:
    server = serve(limits=ServerLimits(seconds=0.5))
    stepped.gate.clear()
    with pytest.raises(openai.InternalServerError) as raised:
        server.client(max_retries=2).images.generate(prompt="a")
    assert raised.value.status_code == 504 and raised.value.code == "timeout"
    assert len(stepped.batches) == 1  # the client was asked not to try again


def test_models_are_dropped_least_recently_used(serve: Any, weigh: Any) -> None:
    one, two, three = (weigh(f"heavy/{name}", 4000) for name in ("one", "two", "three"))
    weigh("scales/four", 4000)
    server = serve(one, two, three, memory=10_000)
    client = server.client()
    for model in (one, two, one, three):
        client.images.generate(prompt="a", model=model)
    assert set(server.studio.pool.loaded) == {("generator", one), ("generator", three)}
    client.images.generate(prompt="a", model=two, extra_body={"rerank": "scales/four"})
    assert set(server.studio.pool.loaded) == {("generator", two), ("ranker", "scales/four")}


def test_a_model_larger_than_the_memory_is_refused(serve: Any, weigh: Any) -> None:
    with pytest.raises(openai.InternalServerError) as raised:
        serve(weigh("heavy/one", 4000), memory=3999).client().images.generate(prompt="a")
    assert raised.value.status_code == 503 and raised.value.code == "out_of_memory"


def test_a_model_in_use_is_waited_for(serve: Any, stepped: Any, weigh: Any) -> None:
    one, two = (weigh(f"heavy/{name}", 6000) for name in ("one", "two"))
    server = serve(one, two, memory=10_000)
    client = server.client()
    stepped.gate.clear()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(client.images.generate, prompt="a", model=one)
        server.wait(lambda: stepped.batches)
        second = pool.submit(client.images.generate, prompt="a", model=two)
        time.sleep(0.1)
        assert not second.done()
        stepped.gate.set()
        assert first.result().model == one and second.result().model == two


class Loading:
    """A plugin with the generator `loaded`, which `load` loads."""

    def __init__(self, load: Callable[[toys.PainterSettings], toys.Painter]) -> None:
        self.load = load

    @hookimpl
    def t2i_generators(self) -> list[Entry[Any]]:
        return [Entry("loaded", "plain pictures", toys.PainterSettings, self.load)]


def test_loading_does_not_block_other_requests(t2i: Runner, serve: Any, stepped: Any) -> None:
    loads = threading.Event()

    def load(settings: toys.PainterSettings) -> toys.Painter:
        assert loads.wait(20)
        return toys.Painter(settings)

    t2i.use(stepped, Loading(load))
    server = serve("stepped", "loaded")
    client = server.client()
    client.images.generate(prompt="a")
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(client.images.generate, prompt="a", model="loaded")
        server.wait(lambda: ("generator", "loaded") in server.studio.pool._loads)
        client.images.generate(prompt="b")
        assert not slow.done()
        loads.set()
        slow.result()


def test_a_model_that_fails_to_load_is_tried_again(t2i: Runner, serve: Any, stepped: Any) -> None:
    tries: list[object] = []

    def load(settings: toys.PainterSettings) -> toys.Painter:
        tries.append(settings)
        if len(tries) == 1:
            raise RuntimeError("no luck")
        return toys.Painter(settings)

    t2i.use(stepped, Loading(load))
    client = serve("stepped", "loaded").client()
    with pytest.raises(openai.InternalServerError):
        client.images.generate(prompt="a", model="loaded")
    assert client.images.generate(prompt="a", model="loaded").data
    assert len(tries) == 2


def test_bodies_are_bounded(serve: Any) -> None:
    server = serve(limits=ServerLimits(json=1000, upload=4000))
    assert server.post("/v1/images/generations", json={"prompt": "x" * 1000}).status_code == 200
    answer = server.post("/v1/images/generations", json={"prompt": "x" * 4000})
    assert answer.status_code == 413 and answer.json()["error"]["code"] == "body_too_large"
    chunks = (b"x" * 500 for _ in range(20))  # without a length that could be looked at
    assert server.post("/v1/rankings", content=chunks).status_code == 413


def test_a_client_that_sends_all_before_it_reads_learns_why_it_is_refused(serve: Any) -> None:
    """Closing the connection while it sends would take the answer from it."""
    server = serve(limits=ServerLimits(json=1000, upload=16 << 20))
    size = 24 << 20  # more than the buffers of both ends hold
    with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2]))) as connection:
        head = f"POST /v1/images/generations HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n"
        connection.sendall(head.encode())
        for _ in range(24):
            connection.sendall(b"x" * (1 << 20))
            time.sleep(0.01)
        assert b" 413 " in connection.recv(1000)


def test_a_body_that_drips_is_given_up(serve: Any) -> None:
    server = serve(limits=ServerLimits(slow=0.3))
    with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2]))) as connection:
        connection.sendall(b"POST /v1/images/generations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
        assert b" 408 " in connection.recv(1000)


def test_silent_connections_are_closed_and_stop_nobody(serve: Any) -> None:
    server = serve(limits=ServerLimits(slow=1.5))
    port = int(server.url.rpartition(":")[2])
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(200)]
    for connection in silent[::2]:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: loc")
    assert server.client().images.generate(prompt="a").data
    for connection in silent:
        connection.settimeout(20)
        assert connection.recv(1000) == b""
        connection.close()


def test_the_event_loop_is_never_busy_with_drawing(serve: Any, stepped: Any) -> None:
    server = serve()
    stepped.gate.clear()
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(server.client().images.generate, prompt="a")
        server.wait(lambda: stepped.batches)
        assert server.get("/healthz", timeout=5).status_code == 200
        stepped.gate.set()
        job.result()
