"""Requests to any generator: drawn in order, refused where a generator cannot, cancelled by whoever watches."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from PIL.Image import Image, new

from t2icli.contract.requests import RUN, Abilities, Request, check, drawing, numbered
from t2icli.ground.errors import T2IError
from t2icli.ground.watch import Watch


class Simple:
    """A plugin of one method, which notes how it is called."""

    def __init__(self, extra: int = 0) -> None:
        self.calls: list[tuple[str, int, int]] = []
        self.extra = extra

    def generate(self, prompt: str, n: int, *, seed: int) -> Iterator[Image]:
        self.calls.append((prompt, n, seed))
        for i in range(n + self.extra):
            yield new("RGB", (1, 1), (seed + i, len(prompt), 0))


class Steps(Watch):
    def __init__(self, stop_after: int | None = None) -> None:
        self.seen: list[tuple[int, int]] = []
        self.stop_after = stop_after

    def step(self, done: int, of: int) -> None:
        self.seen.append((done, of))
        if done == self.stop_after:
            raise KeyboardInterrupt


def test_a_run_of_one_prompt_is_one_call_and_pictures_come_in_order() -> None:
    simple, requests = Simple(), [*numbered(Request("a", 5), 3), Request("bb", 5), Request("bb", 9)]
    images = list(drawing(simple).draw(requests))
    assert [image.getpixel((0, 0)) for image in images] == [(5, 1, 0), (6, 1, 0), (7, 1, 0), (5, 2, 0), (9, 2, 0)]
    assert simple.calls == [("a", 3, 5), ("bb", 1, 5), ("bb", 1, 9)]


def test_requests_are_read_as_they_are_needed() -> None:
    images = drawing(Simple()).draw(numbered(Request("a", 0), 10 * RUN))
    assert [next(images).getpixel((0, 0))[0] for _ in range(RUN + 1)] == list(range(RUN + 1))


@pytest.mark.parametrize("extra", [-1, 1])
def test_a_generator_that_miscounts_is_refused(extra: int) -> None:
    with pytest.raises(T2IError, match="pictures"):
        list(drawing(Simple(extra)).draw(numbered(Request("a", 0), 3)))


def test_a_watch_follows_each_picture_and_can_cancel() -> None:
    watch = Steps()
    list(drawing(Simple()).draw(numbered(Request("a", 0), 2), watch))
    assert watch.seen == [(0, 1), (1, 1), (1, 1)]
    with pytest.raises(KeyboardInterrupt):
        list(drawing(Simple()).draw(numbered(Request("a", 0), 2), Steps(stop_after=1)))


def test_a_condition_that_the_generator_does_not_take_is_refused() -> None:
    picture = new("RGB", (1, 1))
    with pytest.raises(T2IError, match="cannot draw with --like"):
        check(Request("a", 0, like=picture), Abilities(), "generator 'noise'")
    check(Request("a", 0, like=picture), Abilities(frozenset({"like"})), "generator 'clipgen'")
    with pytest.raises(T2IError, match="--mask needs a picture"):
        check(Request("a", 0, mask=picture), Abilities(frozenset({"mask", "source"})), "generator 'x'")
