"""The dataset `plates`: SOURCE is a number of dishes to invent, or a file with a dish name on each line."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from random import Random
from typing import NamedTuple

from t2i_starter import Settings, painters, servings, words
from t2i_starter.painters import Crew, PlateDrawing
from t2i_starter.servings import Serving
from t2i_starter.words import Dish
from t2icli.data.dataset import SourceRow
from t2icli.ground.errors import T2IError
from t2icli.ground.files import read_text


class Thing(NamedTuple):
    """A single thing that is no dish."""

    character: str
    chinese: tuple[str, ...]
    english: str
    measure: str
    """By what it is counted: 一只猫."""


ASKED = 0.25
"""Share of the dishes whose names are put as people ask for them; of single things, twice as many."""


@functools.cache
def things() -> tuple[Thing, ...]:
    table = (files("t2i_starter") / "things.tsv").read_text(encoding="utf-8").splitlines()
    rows = (line.split("\t") for line in table)
    return tuple(Thing(picture, tuple(chinese.split(",")), *others) for picture, chinese, *others in rows)


class Plates:
    def __init__(self, settings: Settings) -> None:
        if settings.look == "photo" and settings.things:
            raise T2IError("look=photo has no pictures of single things", "leave out things, or use look=drawn")
        if not any(settings.ingredients):
            raise T2IError(
                "all weights of ingredients are 0", "at least one must be more, as in -o ingredients=1,3,9,8"
            )
        self.settings = settings
        self.things = 0.12 if settings.things is None else settings.things

    def rows(self, source: Path) -> Iterator[SourceRow]:
        if source.is_file():
            yield from self._named(source)
        elif source.name.isdigit():
            count = int(source.name)
            crew = painters.crew(count)
            yield from (self.invented(at, crew) for at in range(count))
        else:
            raise T2IError(f"'{source}' is neither a number nor a file of dish names", "try: t2i prepare plates 2000")

    def invented(self, at: int, crew: Crew | None = None) -> SourceRow:
        """Row `at`, from seed and `at` alone: asking for more rows later keeps the first ones."""
        random = Random(f"plates {self.settings.seed} {at}")
        if self.settings.look == "photo":
            return self._serving(random, at, crew)
        if random.random() < self.things:
            return self._thing(random, at, crew)
        dish = words.invent(random, self.settings.ingredients)
        names = words.say(dish, random)
        if random.random() < ASKED:
            names = words.ask(names, words.measures()[dish.form], words.TASTY, random)
        extra = {"split": "test"} if dish.held_out(self.settings.held_out) else {}
        drawing = self._drawing(dish, random.getrandbits(32), crew)
        return SourceRow(f"{self.settings.seed}-{at:08d}", drawing, names, extra)

    def _serving(self, random: Random, at: int, crew: Crew | None) -> SourceRow:
        dish = words.invent(random, self.settings.ingredients)
        while servings.problem(Serving(dish)):
            dish = words.invent(random, self.settings.ingredients)
        names = words.say(dish, random)
        serving, phrase = servings.invent(dish, random)
        if phrase == "count":
            names = servings.say_count(names, serving)
        elif phrase == "vessel":
            names = servings.say_vessel(names, serving, random)
        elif random.random() < ASKED:
            names = words.ask(names, servings.measure(serving), words.TASTY, random)
        extra = {"split": "test"} if dish.held_out(self.settings.held_out) else {}
        drawing = self._drawing(serving, random.getrandbits(32), crew)
        return SourceRow(f"{self.settings.seed}-{at:08d}", drawing, names, extra)

    def _thing(self, random: Random, at: int, crew: Crew | None) -> SourceRow:
        thing = random.choice(things())
        drawing = self._drawing(thing.character, random.getrandbits(32), crew)
        names = random.choice(thing.chinese), thing.english
        is_question = random.random() < 2 * ASKED
        names = (
            words.ask(names, thing.measure, words.PRETTY, random) if is_question else (names[0], words.one(names[1]))
        )
        return SourceRow(f"{self.settings.seed}-{at:08d}", drawing, names)

    def _drawing(self, what: Dish | Serving | str, seed: int, crew: Crew | None) -> PlateDrawing:
        return PlateDrawing(what, seed, self.settings.size, self.settings.plating, crew)

    def _named(self, source: Path) -> Iterator[SourceRow]:
        lines = read_text(source).splitlines()
        crew = painters.crew(len(lines) * self.settings.copies)
        for number, line in enumerate(lines, 1):
            name = line.strip()
            what, problem = self._read(name)
            for copy in range(self.settings.copies):
                key = f"{source.stem}-{number:06d}-{copy}"
                if what is None or problem:
                    yield SourceRow(key, None, (name,), {"problem": problem})
                    continue
                dish = what.dish if isinstance(what, Serving) else what
                extra = {"split": "test"} if dish.held_out(self.settings.held_out) else {}
                yield SourceRow(key, self._drawing(what, self.settings.seed * 1000 + copy, crew), (name,), extra)

    def _read(self, name: str) -> tuple[Dish | Serving | None, str]:
        """What a name asks for, and why it cannot be shown."""
        what = servings.read(name) if self.settings.look == "photo" else words.read(name)
        if what is None:
            return None, "no known dish word"
        return what, servings.problem(what) if isinstance(what, Serving) else ""
