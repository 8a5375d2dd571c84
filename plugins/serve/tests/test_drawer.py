"""Waves and turns, without a server."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from PIL import Image

from t2i_serve.drawer import WAVE, Drawer, DrawJob, Drawn, Event, Failed, Gone, JobProgress, Preview, Turns, Wave
from t2icli.contract.requests import Request
from t2icli.ground.errors import T2IError
from t2icli.testing import toys


def job(client: str, n: int, tell: Any = id, prompt: str = "a", previews: int = 0) -> DrawJob:
    return DrawJob(Request(prompt, 0), n, client, tell, previews)


def taken(turns: Turns) -> Iterator[tuple[str, int]]:
    while (row := turns.take()) is not None:
        yield row[0].client, row[1]


def test_clients_take_turns_whatever_each_asks_for() -> None:
    turns = Turns()
    for _ in range(40):
        turns.add(job("greedy", 10))
    turns.add(job("modest", 2))
    first = [client for client, _ in list(taken(turns))[:4]]
    assert first == ["greedy", "modest", "greedy", "modest"]


def test_the_jobs_of_one_client_take_turns_too() -> None:
    turns = Turns()
    jobs = [job("same", 10) for _ in range(40)] + [job("same", 1)]
    for each in jobs:
        turns.add(each)
    wave = [turns.take() for _ in range(WAVE)]
    assert any(row is not None and row[0] is jobs[-1] for row in wave)
    assert turns.waiting() == 401 - WAVE


def test_a_generator_of_one_prompt_at_a_time_gets_whole_jobs() -> None:
    turns = Turns(whole_jobs=True)
    for client in "ab":
        turns.add(job(client, 3))
    assert list(taken(turns)) == [("a", 0), ("a", 1), ("a", 2), ("b", 0), ("b", 1), ("b", 2)]


def test_jobs_that_are_gone_lose_their_turn() -> None:
    turns = Turns()
    gone, here = job("a", 3), job("b", 1)
    turns.add(gone)
    turns.add(here)
    gone.is_gone = True
    assert list(taken(turns)) == [("b", 0)]


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


class Asked:
    """A job whose events are kept."""

    def __init__(self, client: str, n: int, prompt: str = "a", previews: int = 0) -> None:
        self.events: list[Event] = []
        self.ended = threading.Event()
        self.job = job(client, n, self.take, prompt, previews)

    def take(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, Failed) or sum(isinstance(each, Drawn) for each in self.events) == self.job.n:
            self.ended.set()

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


def draw(generator: Any, pool: ThreadPoolExecutor, *asked: Asked) -> list[int]:
    waves: list[int] = []
    drawer = Drawer(generator, pool, waves=waves.append)
    for each in asked:
        drawer.submit(each.job)
    for each in asked:
        assert each.ended.wait(20)
    pool.submit(int).result()
    return waves


def test_requests_that_wait_are_one_wave(pool: ThreadPoolExecutor) -> None:
    asked = [Asked(str(i), 1, prompt=f"prompt {i}") for i in range(WAVE)]
    generator = toys.Painter(toys.PainterSettings())
    assert draw(generator, pool, *asked) == [WAVE]
    for each in asked:
        (alone,) = generator.generate(each.job.first.prompt, 1, seed=0)
        assert each.of(Drawn)[0].image.tobytes() == alone.tobytes()


def test_a_simple_generator_draws_job_by_job(pool: ThreadPoolExecutor) -> None:
    generator = toys.Generator(toys.GeneratorSettings())
    asked = [Asked("a", 5), Asked("b", 3)]
    draw(generator, pool, *asked)
    assert [len(each.of(Drawn)) for each in asked] == [5, 3]


def test_previews_and_steps_come_before_the_picture(pool: ThreadPoolExecutor, stepped: Any) -> None:
    (entry,) = stepped.t2i_generators()
    asked = [Asked("a", 2, previews=3), Asked("b", 1)]
    draw(entry.load(entry.settings()), pool, *asked)
    assert Counter(event.candidate for event in asked[0].of(Preview)) == {0: 3, 1: 3}
    assert [event.index for event in asked[0].of(Preview) if event.candidate == 1] == [0, 1, 2]
    assert asked[0].of(JobProgress)[-1].share == 1 and not asked[1].of(Preview)


def test_what_a_client_left_behind_is_not_wanted_while_others_are_drawn() -> None:
    here, gone = job("a", 1), job("b", 1)
    wave = Wave(iter([(here, 0), (gone, 0)]))
    assert len(list(wave.requests())) == 2
    gone.is_gone = True
    wave.step(1, 2)
    assert [wave.is_wanted(index) for index in (0, 1)] == [True, False]
    here.is_gone = True
    with pytest.raises(Gone):
        wave.step(2, 2)


def test_one_that_fails_does_not_spoil_the_others_of_its_wave(pool: ThreadPoolExecutor, stepped: Any) -> None:
    (entry,) = stepped.t2i_generators()
    asked = [Asked("a", 2), Asked("b", 1, prompt="broken"), Asked("c", 3)]
    draw(entry.load(entry.settings()), pool, *asked)
    assert isinstance(asked[1].of(Failed)[0].error, ValueError)
    assert [len(each.of(Drawn)) for each in asked] == [2, 0, 3]


class Short:
    """Gives one picture too few."""

    def generate(self, prompt: str, n: int, *, seed: int) -> Iterator[Image.Image]:
        return iter([Image.new("RGB", (1, 1))] * (n - 1))


def test_a_generator_that_gives_too_few_is_an_error(pool: ThreadPoolExecutor) -> None:
    asked = Asked("a", 3)
    draw(Short(), pool, asked)
    error = asked.of(Failed)[0].error
    assert isinstance(error, T2IError) and "2 pictures instead of 3" in error.message
