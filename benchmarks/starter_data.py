"""What the starter is judged with: dishes it was never trained on, and pictures that teach a judge of its own.

The judge sees what a picture shows, not what the dish is called: several forms are served in one vessel, and several
look the same in it. What a picture shows has `aspects`, of each of which one is true, and ingredients that lie there.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from t2i_starter import photos, plates, servings, words
from t2i_starter.servings import Serving
from t2i_starter.words import Dish

Pixels = NDArray[np.uint8]

OF_PIECES = ("dumplings", "buns", "tangyuan", *plates.THINGS)
"""Forms that are known by the pieces that lie there, whatever is under them."""
ALIKE = 0.3
"""Share of the lessons in a vessel that is not the usual one."""


class Request(NamedTuple):
    """A name to be drawn, and what it means."""

    prompt: str
    serving: Serving

    @property
    def dish(self) -> Dish:
        return self.serving.dish


def vessel(serving: Serving) -> str:
    """What it is asked for in, the usual one where the name leaves it open; a drink brings its own glass."""
    fitting = servings.vessels_of(serving.dish)
    return serving.vessel or (fitting[0] if fitting else serving.dish.form)


def look(serving: Serving) -> str:
    """What else can be told apart: what it is made of, or what fills the vessel under the ingredients."""
    form = serving.dish.form
    return form if form in OF_PIECES else photos.contents(replace(serving, vessel=vessel(serving)))


def drawn(dish: Dish) -> tuple[str, ...]:
    """Every ingredient that lies there, asked for or not."""
    return plates.served(dish).ingredients


@functools.cache
def aspects() -> dict[str, tuple[str, ...]]:
    """All values of each."""
    forms = [word.key for word in words.english() if word.kind == "form"]
    ways = [word.key for word in words.english() if word.kind == "cooking"]
    every = [
        Serving(dish, vessel=one)
        for form in forms
        for dish in (Dish(form, way) for way in ways)
        for one in servings.vessels_of(dish) or ("",)
    ]
    colours = (colour for choices in servings.COLOURS.values() for colour in choices)
    return {
        "vessel": tuple(dict.fromkeys(map(vessel, every))),
        "colour": tuple(dict.fromkeys(["", *colours])),
        "count": ("1", "2", "3"),
        "look": tuple(dict.fromkeys(map(look, every))),
    }


@functools.cache
def ingredients() -> tuple[str, ...]:
    return tuple(key for key in words.pictures() if key not in servings.MISSING)


class Labels(NamedTuple):
    aspects: dict[str, int]
    """Places in `aspects()`."""
    present: NDArray[np.bool_]
    """(all ingredients,): whether each lies there."""


def labels(serving: Serving) -> Labels:
    """Of a serving that leaves nothing open."""
    found = {
        "vessel": vessel(serving),
        "colour": serving.colour,
        "count": str(serving.count),
        "look": look(serving),
    }
    present = drawn(serving.dish)
    places = {name: aspects()[name].index(value) for name, value in found.items()}
    return Labels(places, np.asarray([key in present for key in ingredients()]))


def prompts() -> list[Request]:
    """Names of held-out compositions that every figure is for: real dishes, invented ones, by colour, by count."""
    lines = Path(__file__).with_suffix(".txt").read_text(encoding="utf-8").splitlines()
    return [Request(line, meant(line)) for line in lines]


def meant(name: str) -> Serving:
    serving = servings.read(name)
    assert serving is not None and not servings.problem(serving), f"{name!r} is no dish that can be composed"
    return serving


def invented(count: int, seed: str, *, held_out: bool) -> list[Request]:
    """Names of different compositions with an ingredient, each read as the dish it was made from."""
    random, found = Random(seed), {}
    while len(found) < count:
        dish = words.invent(random)
        name, _ = words.say(dish, random)
        kept = dish.ingredients and dish.held_out() == held_out and not servings.problem(Serving(dish))
        if kept and servings.read(name) == Serving(dish):
            found.setdefault((dish.form, *sorted(dish.ingredients)), Request(name, Serving(dish)))
    return list(found.values())


def bare() -> list[Request]:
    """Every form by its name alone, such as noodles, milk tea, cake."""
    forms = [Dish(word.key) for word in words.english() if word.kind == "form"]
    found = [Request(words.say(dish, Random(dish.form))[0], Serving(dish)) for dish in forms]
    return [each for each in found if servings.read(each.prompt) == each.serving and not servings.problem(each.serving)]


def gallery(count: int) -> tuple[list[Request], Pixels]:
    """Held-out compositions with a true picture of each; the requests leave nothing open."""
    random = Random("gallery")
    requests = [
        Request(each.prompt, servings.served(each.serving, random))
        for each in invented(count, "gallery", held_out=True)
    ]
    return requests, true(requests)


def true(requests: list[Request], seed: int = 1000, size: int = photos.SIZE) -> Pixels:
    """(n, h, w, 3): what the composer makes of every request."""
    return np.stack([np.asarray(photos.draw(each.serving, seed, size)) for each in requests])


def validation(count: int) -> list[Request]:
    """Names to choose settings with: none a composition that a figure is for."""
    return invented(count, "validation", held_out=False)


def lesson(at: int) -> tuple[Serving, int]:
    """Picture `at` of the judge's lessons, with its seed; none of a composition that it will be asked about."""
    random = Random(f"the judge's lesson {at}")
    forms = [word.key for word in words.english() if word.kind == "form"]
    while True:
        dish = words.invent(random)
        if random.random() < 0.5:
            dish = replace(dish, form=random.choice(forms))
        things = tuple(random.sample(ingredients(), random.choice((0, 1, 1, 2, 2, 3, 3))))
        serving = _anyhow(replace(dish, ingredients=things), random)
        if not dish.held_out() and not serving.dish.held_out() and not servings.problem(serving):
            return serving, random.getrandbits(32)


def _anyhow(dish: Dish, random: Random) -> Serving:
    """In any vessel it can be served in, of any colour, once or several times."""
    fitting = servings.vessels_of(dish)
    count = random.choice((1,) * 8 + (2, 3))
    if not fitting:
        return Serving(dish, count)
    chosen = random.choice(fitting) if random.random() < ALIKE else fitting[0]
    return Serving(dish, count, chosen, random.choice(servings.COLOURS[chosen]))


def images(pixels: Pixels) -> list[Image.Image]:
    return [Image.fromarray(each) for each in pixels]


def chunks(rows: int, size: int) -> Iterator[slice]:
    return (slice(start, start + size) for start in range(0, rows, size))
