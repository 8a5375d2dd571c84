"""How a dish is put on the table: how many of it, in what, of which colour; read from names and written in them."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, replace
from random import Random
from typing import NamedTuple

from t2i_starter import words
from t2i_starter.words import Dish, Word

GLAZES = ("white", "bluerim", "redrim", "blue", "red", "green", "yellow", "black")
USUAL = (4, 4, 4, 1, 1, 1, 1, 1)
"""How often a glaze is chosen when the name leaves it open."""
COLOURS: dict[str, tuple[str, ...]] = {
    "bowl": (*GLAZES, "wood"), "deep": GLAZES, "plate": GLAZES, "cup": GLAZES, "claypot": ("brown", "black"),
    "hotpot": ("steel",), "steamer": ("bamboo",), "pan": ("iron",), "board": ("wood",),
}  # fmt: skip
"""What every vessel comes in; there is a layer of each."""

HOLLOW = ("bowl", "deep", "claypot", "hotpot")
"""Whatever is filled into one of these fits the others too."""
CUPS = ("tea", "coffee", "milk")
GLASSES = ("bubbletea", "juice", "wine", "beer", "liquor", "cocktail")
"""Drinks that come in a glass of their own."""
OWN_DISH = ("icecream", "shavedice", "bento", "fries", "zongzi")
ON_BOARD = ("pizza", "bread", "flatbread", "sushi", "burger", "skewers")

BY_THREES = frozenset(
    {"cupcake", "cookies", "pie", "sushi", "riceball", "zongzi", "mooncake", "skewers", "donut", "pancake", "roll"}
    | {"candy", "flatbread", "bread"}
)
"""Forms of which a picture shows several pieces, so that two of them cannot be counted in it."""
MISSING = frozenset({"frog"})
"""Ingredients without a layer that users may name; dishes of them are not composed."""

NAMED = 0.40
"""Share of the dishes whose vessel is in the name."""
SEVERAL = 0.10
"""Share of those counted twice or three times."""
NUMBERS = {2: ("两", "two"), 3: ("三", "three")}
SERVING = "serving"
"""By which is counted what has no vessel to count by."""
WHERE = ("装的", "盛的", "里的", "上的")
"""What stands between a vessel and what is in it."""


@dataclass(frozen=True)
class Serving:
    dish: Dish
    count: int = 1
    vessel: str = ""
    """Empty where there is none: a glass of wine, a lunch box."""
    colour: str = ""
    """Of the vessel; empty where it may be any."""


def vessels_of(dish: Dish) -> tuple[str, ...]:
    """What a dish can be served in, the usual one first; empty for what stands on the table by itself."""
    form = dish.form
    if form in GLASSES or form in OWN_DISH:
        return ()
    if form in CUPS:
        return ("cup",)
    if form == "plate":
        usual = ("pan",) if dish.cooking == "grilled" else ()
        return tuple(dict.fromkeys((*usual, "plate", "bowl", "deep", "claypot", "pan")))
    if form in ("soup", "noodles", "rice", "congee", "tangyuan"):
        return tuple(dict.fromkeys(("deep" if form == "soup" else "bowl", "bowl", "deep", "claypot")))
    if form in ("hotpot", "claypot"):
        return (form,)
    if form in ("dumplings", "buns"):
        return ("steamer", "plate")
    return ("board", "plate") if form in ON_BOARD else ("plate", "board") if form in words.DESSERTS else ("plate",)


def invent(dish: Dish, random: Random) -> tuple[Serving, str]:
    """A way to serve a dish, and what of it is in the name: nothing, "count" or "vessel"."""
    fitting = vessels_of(dish)
    usual = fitting[0] if fitting else ""
    kind = random.random()
    if kind < SEVERAL and dish.form not in BY_THREES:
        return _coloured(Serving(dish, random.choice((2, 3)), usual), random), "count"
    if fitting and SEVERAL <= kind < SEVERAL + NAMED:
        vessel = random.choice(fitting)
        return Serving(dish, 1, vessel, random.choice(COLOURS[vessel])), "vessel"
    return _coloured(Serving(dish, 1, usual), random), ""


def problem(serving: Serving) -> str:
    """Why a serving cannot be composed; empty when it can."""
    dish = serving.dish
    missing = [words.english()[Word("ingredient", key)] for key in dish.ingredients if key in MISSING]
    if missing:
        return f"look=photo has no picture of {missing[0]}"
    form = words.english()[Word("form", dish.form)] or "dish"
    if serving.count > 1 and dish.form in BY_THREES:
        return f"look=photo shows {form} in threes, not {serving.count}"
    if serving.vessel and serving.vessel not in vessels_of(dish):
        return f"look=photo has no {form} in this vessel: {vessels()[serving.vessel].english}"
    if serving.vessel and serving.colour not in ("", *COLOURS[serving.vessel]):
        return f"look=photo has no {colours()[serving.colour].english} {vessels()[serving.vessel].english}"
    return ""


def served(serving: Serving, random: Random) -> Serving:
    """The same with nothing left open."""
    fitting = vessels_of(serving.dish)
    vessel = serving.vessel or (fitting[0] if fitting else "")
    return _coloured(replace(serving, vessel=vessel), random)


def _coloured(serving: Serving, random: Random) -> Serving:
    if serving.colour or not serving.vessel:
        return serving
    choices = COLOURS[serving.vessel]
    glazed = len(choices) >= len(GLAZES)
    colour = random.choices(GLAZES, USUAL)[0] if glazed else random.choice(choices)
    return replace(serving, colour=colour)


class Name(NamedTuple):
    english: str
    chinese: tuple[str, ...]
    preposition: str = ""


@functools.cache
def vessels() -> dict[str, Name]:
    return {key: Name(english, tuple(zh.split(",")), at) for key, english, zh, at, *_ in words.rows("vessels")}


@functools.cache
def colours() -> dict[str, Name]:
    return {key: Name(english, (zh,)) for key, english, zh, *_ in words.rows("colours")}


MEASURES = {
    "bowl": "碗",
    "deep": "碗",
    "plate": "盘",
    "pan": "盘",
    "claypot": "锅",
    "hotpot": "锅",
    "steamer": "笼",
    "cup": "杯",
}


def measure(serving: Serving) -> str:
    """By what it is counted: 一碗, a bowl of."""
    usual = words.measures()[serving.dish.form]
    return MEASURES.get(serving.vessel, usual) if usual in MEASURES.values() else usual


def say_count(names: tuple[str, str], serving: Serving) -> tuple[str, str]:
    """两碗牛肉面, two bowls of beef noodles."""
    (chinese, english), counted = NUMBERS[serving.count], measure(serving)
    phrase = f"{chinese}{counted}{names[0]}"
    if counted in ("个", "张"):
        return phrase, f"{english} {names[1]}s"
    return phrase, f"{english} {words.VESSELS.get(counted, SERVING)}s of {names[1].removeprefix('a ')}"


def say_vessel(names: tuple[str, str], serving: Serving, random: Random) -> tuple[str, str]:
    """蓝碗装的牛肉面, beef noodles in a blue bowl."""
    vessel = vessels()[serving.vessel]
    colour = colours().get(serving.colour) if len(COLOURS[serving.vessel]) > 2 else None
    where = {"in": random.choice(("装的", "里的")), "on": "上的"}[vessel.preposition]
    chinese = (colour.chinese[0] + random.choice(("", "色")) if colour else "") + vessel.chinese[0] + where
    chinese = chinese.replace("边色", "边").replace("木色", "木")
    described = f"{colour.english} {vessel.english}" if colour else vessel.english
    return chinese + names[0], f"{names[1]} {vessel.preposition} {words.one(described)}"


def read(name: str) -> Serving | None:
    """What a name means; None when it names no dish."""
    rest, vessel, colour = _vessel(name.strip())
    rest, count, measured = _count(rest)
    dish = words.read(rest)
    if dish is None:
        return None
    fits = vessels_of(dish)
    if not vessel and measured and measured not in (MEASURES.get(key) for key in fits[:1]):
        vessel = next((key for key in fits if MEASURES.get(key) == measured), "")
    return Serving(dish, count, vessel, colour)


def _vessel(name: str) -> tuple[str, str, str]:
    """The name without its vessel, the vessel, its colour."""
    chinese, english = _patterns()
    match = chinese.match(name)
    if match:
        return name[match.end() :], _key(vessels(), match["vessel"]), _key(colours(), match["colour"] or "")
    match = english.search(name)
    if match:
        return name[: match.start()], _key(vessels(), match["vessel"]), _key(colours(), match["colour"] or "")
    return name, "", ""


def _key(names: dict[str, Name], word: str) -> str:
    word = word.lower()
    return next((key for key, name in names.items() if word in (name.english, *name.chinese)), "")


@functools.cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    def either(names: dict[str, Name], chinese: bool) -> str:
        said = [word for name in names.values() for word in (name.chinese if chinese else (name.english,))]
        return "|".join(sorted(map(re.escape, said), key=len, reverse=True))

    of_colour = f"(?P<colour>{either(colours(), True)})?色?的?"
    chinese = re.compile(f"^用?{of_colour}(?P<vessel>{either(vessels(), True)})({'|'.join(WHERE)})")
    said = f"(?:(?P<colour>{either(colours(), False)}) )?(?P<vessel>{either(vessels(), False)})"
    return chinese, re.compile(rf"\b(?:in|on) (?:an? |the )?{said}s?$", re.IGNORECASE)


CHINESE_COUNT = re.compile("^(?P<count>[一两二三123])(?P<measure>[碗盘锅笼杯块个张份串颗条])")
ENGLISH_COUNT = re.compile(
    r"^(?P<count>an?|one|two|three|[123]) (?:(?P<measure>bowl|plate|pot|steamer|cup|serving)s? of )?", re.I
)
COUNTS = {"两": 2, "二": 2, "2": 2, "two": 2, "三": 3, "3": 3, "three": 3}


def _count(name: str) -> tuple[str, int, str]:
    """The name without its count, the count, and the measure in Chinese."""
    match = CHINESE_COUNT.match(name)
    if match:
        return name[match.end() :], COUNTS.get(match["count"], 1), match["measure"]
    match = ENGLISH_COUNT.match(name)
    if match:
        measured = {english: chinese for chinese, english in words.VESSELS.items()}.get(
            (match["measure"] or "").lower(), ""
        )
        return name[match.end() :], COUNTS.get(match["count"].lower(), 1), measured
    return name, 1, ""
