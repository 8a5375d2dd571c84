"""What the starter is judged with: dishes it was never trained on, and pictures that teach a judge of its own.

The judge sees what a picture shows, not what the dish is called: several forms are served in one vessel, and several
look the same in it. `look` says which pictures can be told apart, `drawn` which ingredients lie there.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from t2i_starter import plates, words
from t2i_starter.words import Dish

PIXELS = 64
"""What the judge looks at."""
CHUNK = 200
"""Pictures in one file, the least that a stopped rendering loses."""
SIZES = (64, 64, 80, 96)
"""Pixels it is drawn with before it is brought to the judge's size: strokes and edges differ from the data's."""
DRAWN = 160
"""Pixels of a side that the starter draws."""
POTS = ("hotpot", "claypot")
PLATING: plates.Plating = "neat"
"""As the models were trained."""


def look(dish: Dish) -> str:
    """What can be told apart by its vessel and by what fills it; dishes of one look share a vessel."""
    if dish.form in plates.THINGS:
        return dish.form
    vessel = plates.vessel_of(dish)
    if dish.form in POTS:
        return "pot"
    return "glass" if vessel == "glass" else vessel if dish.form == "plate" else dish.form


def vessel(dish: Dish) -> str:
    """What it is served in; a drink brings its own cup."""
    return dish.form if dish.form in plates.DRINKS else plates.vessel_of(dish)


def drawn(dish: Dish) -> tuple[str, ...]:
    """Every ingredient that lies there, asked for or not."""
    return plates.served(dish).ingredients


@functools.cache
def looks() -> dict[str, str]:
    """Every look and its vessel."""
    forms = [word.key for word in words.english() if word.kind == "form"]
    ways = [word.key for word in words.english() if word.kind == "cooking"]
    dishes = [Dish(form, way) for form in forms for way in (ways if form == "plate" else ["plain"])]
    return {look(dish): vessel(dish) for dish in dishes}


@functools.cache
def ingredients() -> tuple[str, ...]:
    return tuple(words.pictures())


class Request(NamedTuple):
    """A name to be drawn, and what it means."""

    prompt: str
    dish: Dish


def prompts() -> list[Request]:
    """The 200 names of held-out compositions that every figure on the page is for: real dishes first, then invented."""
    lines = Path(__file__).with_suffix(".txt").read_text(encoding="utf-8").splitlines()
    return [Request(line, _meant(line)) for line in lines]


def _meant(name: str) -> Dish:
    dish = words.read(name)
    assert dish is not None, f"{name!r} is no dish"
    return dish


def invented(count: int, seed: str, *, held_out: bool) -> list[Request]:
    """Names of different compositions with an ingredient, each read as the dish it was made from."""
    random, found = Random(seed), {}
    while len(found) < count:
        dish = words.invent(random)
        name, _ = words.say(dish, random)
        if dish.ingredients and dish.held_out() == held_out and words.read(name) == dish:
            found.setdefault((dish.form, *sorted(dish.ingredients)), Request(name, dish))
    return list(found.values())


def validation(count: int) -> list[Request]:
    """Names to choose settings with: none of the 200, none a composition of the 200."""
    return invented(count, "validation", held_out=False)


def lesson(at: int) -> tuple[Dish, int, int]:
    """Picture `at` of the judge's lessons: a dish, a seed and a size; every look comes as often as every other."""
    random = Random(f"the judge's lesson {at}")
    dish = words.invent(random)
    if random.random() < 0.5:
        dish = replace(dish, form=random.choice([word.key for word in words.english() if word.kind == "form"]))
    things = tuple(random.sample(ingredients(), random.choice((0, 1, 1, 2, 2, 3, 3))))
    return replace(dish, ingredients=things), random.getrandbits(32), random.choice(SIZES)


class Lessons(NamedTuple):
    pictures: NDArray[np.uint8]
    """(n, h, w, 3)"""
    looks: NDArray[np.int64]
    """(n,) places in `looks()`."""
    ingredients: NDArray[np.bool_]
    """(n, all ingredients): whether each lies there."""

    def part(self, rows: slice) -> Lessons:
        return Lessons(*(column[rows] for column in self))


def labels(dish: Dish) -> tuple[int, NDArray[np.bool_]]:
    present = drawn(dish)
    return list(looks()).index(look(dish)), np.asarray([key in present for key in ingredients()])


def as_lessons(dishes: list[Dish], images: list[Image.Image]) -> Lessons:
    seen = [image.resize((PIXELS, PIXELS), Image.Resampling.LANCZOS) for image in images]
    which, present = zip(*map(labels, dishes), strict=True)
    return Lessons(np.stack([np.asarray(image) for image in seen]), np.asarray(which), np.stack(present))


def render(folder: Path, count: int, jobs: int = 2) -> None:
    """Draw the first `count` lessons, a file for each CHUNK; what is there already is kept."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [start for start in range(0, count, CHUNK) if not _chunk(folder, start).is_file()]
    with get_context("fork").Pool(jobs) as pool:
        for start in pool.imap_unordered(functools.partial(_render, folder), missing):
            print(f"drawn: lessons {start} to {start + CHUNK}", flush=True)


def _chunk(folder: Path, start: int) -> Path:
    return folder / f"{start:06d}.npz"


def _render(folder: Path, start: int) -> int:
    plan = [lesson(at) for at in range(start, start + CHUNK)]
    dishes = [dish for dish, _, _ in plan]
    lessons = as_lessons(dishes, [plates.draw(*each, PLATING) for each in plan])
    part = folder / f"{start:06d}.part.npz"
    np.savez(part, **lessons._asdict())
    part.rename(_chunk(folder, start))
    return start


def rendered(folder: Path) -> Lessons:
    """All lessons that are there, in order."""
    parts = [np.load(path) for path in sorted(folder.glob("[0-9]*[0-9].npz"))]
    return Lessons(*(np.concatenate([part[name] for part in parts]) for name in Lessons._fields))


def chunks(rows: int, size: int) -> Iterator[slice]:
    return (slice(start, start + size) for start in range(0, rows, size))


def renders(path: Path, requests: list[Request], copies: int = 1, size: int = DRAWN) -> NDArray[np.uint8]:
    """(copies, n, h, w, 3): what the renderer draws for every request, `copies` times; drawn once."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        plan = [(request.dish, 1000 + copy, size) for copy in range(copies) for request in requests]
        with get_context("fork").Pool(2) as pool:
            pixels = np.stack(pool.starmap(_pixels, plan, chunksize=20))
        np.save(path, pixels.reshape(copies, len(requests), size, size, 3))
    return np.load(path)


def _pixels(dish: Dish, seed: int, size: int) -> NDArray[np.uint8]:
    return np.asarray(plates.draw(dish, seed, size, PLATING))
