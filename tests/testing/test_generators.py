"""The checks of generators that take requests, and of declared sizes: each broken promise is caught."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from PIL import Image

from t2icli import testing
from t2icli.contract.entries import Entry
from t2icli.contract.requests import CONDITIONS, Abilities, Request, numbered
from t2icli.ground.watch import Watch, unwatched
from t2icli.templates import codec as template
from t2icli.testing import toys


def entry(thing: type) -> Entry[Any]:
    return Entry("sample", "for this test", toys.PainterSettings, thing, conditions=CONDITIONS)


class OfCompany(toys.Painter):
    """Every picture is that of the first request."""

    def draw(self, requests: Iterable[Request], watch: Watch = unwatched) -> Iterator[Image.Image]:
        first: list[Request] = []
        for request in requests:
            first.append(request)
            yield from super().draw([replace(request, prompt=first[0].prompt)], watch)


class OfEarlierCalls(toys.Painter):
    """A call that is cancelled leaves something behind."""

    calls = 0

    def draw(self, requests: Iterable[Request], watch: Watch = unwatched) -> Iterator[Image.Image]:
        self.calls += 1
        for image in super().draw(requests, watch):
            yield image if self.calls == 1 else image.convert("L")
        self.calls -= 1


class Unstoppable(toys.Painter):
    def draw(self, requests: Iterable[Request], watch: Watch = unwatched) -> Iterator[Image.Image]:
        for request in requests:
            try:
                yield from super().draw([request], watch)
            except Exception:
                yield self.paint(request)


class Unwatchable(toys.Painter):
    def draw(self, requests: Iterable[Request], watch: Watch = unwatched) -> Iterator[Image.Image]:
        return super().draw(requests)


class Watched(toys.Painter):
    """Draws another picture for whoever watches."""

    def draw(self, requests: Iterable[Request], watch: Watch = unwatched) -> Iterator[Image.Image]:
        for image in super().draw(requests, watch):
            yield image if watch is unwatched else image.transpose(Image.Transpose.ROTATE_90).convert("L")


class Greedy(toys.Painter):
    """Reads all requests before it draws."""

    def draw(self, requests: Iterable[Request], watch: Watch = unwatched) -> Iterator[Image.Image]:
        return super().draw(list(requests), watch)


class Stubborn(toys.Painter):
    """Ignores the settings of a request."""

    def paint(self, request: Request) -> Image.Image:
        return super().paint(replace(request, settings={}))


class Sticky(toys.Painter):
    """Goes on with the settings of the request before."""

    def paint(self, request: Request) -> Image.Image:
        self.blue = request.settings.get("blue", self.blue)
        return super().paint(request)


class Missized(toys.Painter):
    def __init__(self, settings: toys.PainterSettings) -> None:
        super().__init__(settings)
        self.abilities = Abilities(sizes=((self.size, self.size + 1),))


class Inventive(toys.Painter):
    def __init__(self, settings: toys.PainterSettings) -> None:
        super().__init__(settings)
        self.abilities = Abilities(frozenset({"mood"}))


class Fewer(toys.Painter):
    def generate(self, prompt: str, n: int, *, seed: int) -> Iterator[Image.Image]:
        return super().draw(numbered(Request(prompt, seed), n))

    def draw(self, requests: Iterable[Request], watch: Watch = unwatched) -> Iterator[Image.Image]:
        return (image for i, image in enumerate(super().draw(requests, watch)) if i != 1)


def test_conditions_are_declared_where_they_can_be_read_before_loading() -> None:
    with pytest.raises(AssertionError, match=r"Entry\.conditions must name embedding, like, mask, source"):
        testing.check_generator(replace(entry(toys.Painter), conditions=()))


def test_a_painter_that_takes_every_condition_passes() -> None:
    testing.check_generator(entry(toys.Painter))


@pytest.mark.parametrize(
    ("thing", "reason"),
    [
        (OfCompany, "must not depend on the requests it is drawn with"),
        (OfEarlierCalls, "as good as new"),
        (Unstoppable, "must end the call"),
        (Unwatchable, "must be called with the steps"),
        (Watched, "a watch must not change"),
        (Greedy, "must be read as they are needed"),
        (Stubborn, "the settings blue of one request must do"),
        (Sticky, "settings must not touch other requests"),
        (Missized, r"\(8, 8\) is not among abilities.sizes"),
        (Inventive, "conditions must be among like, source, mask"),
        (Fewer, "8 requests must give as many images, not"),
    ],
)
def test_a_broken_promise_is_caught(thing: type, reason: str) -> None:
    with pytest.raises(AssertionError, match=reason):
        testing.check_generator(entry(thing))


class Oversized(template.Mosaic):
    def __init__(self, settings: template.Settings) -> None:
        super().__init__(settings)
        self.size = (256, 256)


def test_a_codec_of_another_size_than_it_says_is_caught() -> None:
    with pytest.raises(AssertionError, match=r"size must be the height and width of its images, \(128, 128\)"):
        testing.check_codec(Entry("sample", "for this test", template.Settings, Oversized))


def test_codes_are_encoded_from_the_declared_size() -> None:
    codec = template.Mosaic(template.Settings())
    assert codec.encode(torch.zeros(1, 3, *codec.size)).shape == (1, 256)
