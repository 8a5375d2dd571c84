"""A server in a thread, on a socket of this machine, and generators whose steps a test controls."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import httpx
import msgspec
import openai
import pytest
from msgspec import Meta
from PIL import Image

from t2i_serve import running, start
from t2i_serve.limits import USUAL, ServerLimits
from t2i_serve.studio import Studio
from t2icli.contract.entries import Entry
from t2icli.contract.fields import FILE_PER_PICTURE, PER_PICTURE
from t2icli.contract.hookspecs import hookimpl
from t2icli.contract.requests import Abilities, Request, numbered
from t2icli.ground.watch import Watch, unwatched
from t2icli.store import models
from t2icli.store.models import Model
from t2icli.testing import Runner, toys


class SteppedSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    size: Annotated[str, Meta(description="width x height", pattern=r"^\d+x\d+$", extra=PER_PICTURE)] = "8x8"
    negative: Annotated[str, Meta(description="what to leave out", extra=PER_PICTURE)] = ""
    overlay: Annotated[tuple[str, ...], Meta(description="files to draw upon", extra=FILE_PER_PICTURE)] = ()
    blue: Annotated[int, Meta(description="how blue, of 255", ge=0, le=255, extra=PER_PICTURE)] = 0


class HeavySettings(SteppedSettings, frozen=True):
    model: Annotated[Model | None, Meta(description="which of those that were made")] = None


class ScalesSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    model: Annotated[Model | None, Meta(description="which of those that were made")] = None


class Stepped:
    """Plain pictures in batches of 8, with four steps each; the test opens the gate before every step."""

    def __init__(self, owner: Studied, blue: int) -> None:
        self.owner, self.blue = owner, blue
        self.abilities = Abilities(sizes=((8, 8),))

    def generate(self, prompt: str, n: int, *, seed: int) -> Iterator[Image.Image]:
        return self.draw(numbered(Request(prompt, seed), n))

    def draw(self, requests: Iterable[Request], watch: Watch = unwatched) -> Iterator[Image.Image]:
        index = 0
        waiting = iter(requests)
        while batch := [request for _, request in zip(range(8), waiting, strict=False)]:
            self.owner.batches.append([(request.prompt, request.seed) for request in batch])
            for step in range(1, 5):
                assert self.owner.gate.wait(100)
                self.owner.steps += 1
                if self.owner.steps == self.owner.pause_at:
                    self.owner.gate.clear()
                watch.step(step, 4)
                for offset, request in enumerate(batch):
                    watch.preview(index + offset, lambda request=request: self.paint(request))  # type: ignore[misc]
            for request in batch:
                if request.prompt == "broken":
                    raise ValueError("a generator's own mistake")
            yield from map(self.paint, batch)
            index += len(batch)

    def paint(self, request: Request) -> Image.Image:
        green = len(request.prompt) % 256
        width, height = map(int, request.settings.get("size", "8x8").split("x"))
        return Image.new("RGB", (width, height), (request.seed % 256, green, request.settings.get("blue", self.blue)))


class Studied:
    """A plugin with the generator `stepped`, and what it did."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.batches: list[list[tuple[str, int]]] = []
        self.steps = 0
        self.pause_at: int | None = None
        """After so many steps the gate closes."""

    @hookimpl
    def t2i_generators(self) -> list[Entry[Any]]:
        return [
            Entry(
                "stepped",
                "plain pictures in four steps",
                SteppedSettings,
                lambda settings: Stepped(self, settings.blue),
            )
        ]


class Weighty:
    """A plugin with `heavy`, which is `stepped` with weights, and a ranker with weights."""

    def __init__(self, owner: Studied) -> None:
        self.owner = owner

    @hookimpl
    def t2i_generators(self) -> list[Entry[Any]]:
        load = lambda settings: Stepped(self.owner, settings.blue)  # noqa: E731
        return [Entry("heavy", "plain pictures in four steps", HeavySettings, load)]

    @hookimpl
    def t2i_rankers(self) -> list[Entry[Any]]:
        return [Entry("scales", "prefers red pictures", ScalesSettings, toys.Ranker)]


@dataclass
class Running:
    """A server that runs, and how to speak to it."""

    url: str
    studio: Studio
    folder: Path
    closing: ExitStack

    def client(self, **options: Any) -> openai.OpenAI:
        made: dict[str, Any] = {"base_url": f"{self.url}/v1", "api_key": "none", "max_retries": 0, "timeout": 100}
        return self.closing.enter_context(openai.OpenAI(**{**made, **options}))

    def post(self, path: str, **options: Any) -> httpx.Response:
        return httpx.post(f"{self.url}{path}", **{"timeout": 30, **options})

    def get(self, path: str, **options: Any) -> httpx.Response:
        return httpx.get(f"{self.url}{path}", **{"timeout": 30, **options})

    @staticmethod
    def wait(what: Callable[[], object], seconds: float = 100) -> None:
        """Until something is so."""
        end = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < end, "it did not happen in time"
            time.sleep(0.01)


Serve = Callable[..., Running]


@pytest.fixture
def stepped() -> Iterator[Studied]:
    plugin = Studied()
    yield plugin
    plugin.gate.set()


@pytest.fixture
def serve(t2i: Runner, stepped: Studied, tmp_path: Path) -> Iterator[Serve]:
    """Start a server with the toys and `stepped`; `limits` and the flags of `t2i serve` may be given."""
    t2i.use(stepped, toys)
    with ExitStack() as stack:

        def begin(
            *models: str, limits: ServerLimits = USUAL, output: Path = tmp_path / "pictures", **flags: Any
        ) -> Running:
            prepared = start.prepared(models or ("stepped", "toy-painter", "toy"), output, limits, **flags)
            server = running.server(prepared.app, prepared.studio)
            listening = socket.create_server(("127.0.0.1", 0))
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
            thread.start()
            stack.callback(_end, server, thread, stepped)
            Running.wait(lambda: server.started)
            return Running(f"http://127.0.0.1:{listening.getsockname()[1]}", prepared.studio, output, stack)

        yield begin


@pytest.fixture
def weigh(t2i: Runner, stepped: Studied, serve: Serve) -> Callable[[str, int], str]:
    """`weigh("heavy/a", 9000)` makes a model of that backend and name whose files have so many bytes."""

    t2i.use(stepped, Weighty(stepped), toys)

    def make(name: str, size: int) -> str:
        folder = t2i.home / "models" / name
        folder.mkdir(parents=True)
        backend = name.partition("/")[0]
        kind = {"heavy": "generator", "scales": "ranker"}[backend]
        (folder / models.WEIGHTS).touch()
        models.seal(folder, models.Card(kind=kind, backend=backend))
        (folder / "more").write_bytes(bytes(size - models.open_model(folder).size))
        return name

    return make


def _end(server: running.Server, thread: threading.Thread, stepped: Studied) -> None:
    stepped.gate.set()
    server.stop()
    thread.join(20)
    assert not thread.is_alive()
