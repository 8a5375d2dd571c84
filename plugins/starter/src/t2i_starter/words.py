"""Dish names in Chinese and English: read into what is to be drawn, and made up without end."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from random import Random
from typing import NamedTuple

from t2i_starter import USUAL_INGREDIENTS


class Word(NamedTuple):
    kind: str
    """`ingredient`, `form` or `cooking`."""
    key: str


@dataclass(frozen=True)
class Dish:
    """The parts of a name: a form (noodles, soup, a plate), a way of cooking, up to three ingredients."""

    form: str = "plate"
    cooking: str = "plain"
    ingredients: tuple[str, ...] = ()

    def held_out(self, share: float = 0.02) -> bool:
        """Whether this composition is kept from training, whatever it is called; decided by its hash."""
        made_of = "|".join((self.form, *sorted(self.ingredients)))
        return int(hashlib.sha256(made_of.encode()).hexdigest()[:8], 16) < share * 2**32


def rows(name: str) -> Iterator[list[str]]:
    for line in (files("t2i_starter") / f"{name}.tsv").read_text(encoding="utf-8").splitlines():
        yield [*line.split("\t"), "", "", ""]


@functools.cache
def pictures() -> dict[str, str]:
    """The picture of every ingredient."""
    return {key: picture for key, picture, *_ in rows("ingredients")}


@functools.cache
def english() -> dict[Word, str]:
    names = {Word("ingredient", key): name for key, _, name, *_ in rows("ingredients")}
    for kind, table in (("form", "forms"), ("cooking", "cooking")):
        names |= {Word(kind, key): name for key, name, *_ in rows(table)}
    return names


@functools.cache
def chinese() -> dict[Word, tuple[str, ...]]:
    """Every word's Chinese names, the usual ones first."""
    names = {Word("ingredient", key): _split(zh) for key, _, _, zh, *_ in rows("ingredients")}
    for kind, table in (("form", "forms"), ("cooking", "cooking")):
        names |= {Word(kind, key): _split(zh) for key, _, zh, *_ in rows(table)}
    return names


@functools.cache
def measures() -> dict[str, str]:
    """By what every form is counted: a bowl, a plate, a piece."""
    return {key: measure for key, _, _, measure, *_ in rows("forms")}


def _split(words: str) -> tuple[str, ...]:
    return tuple(word for word in words.split(",") if word)


@functools.cache
def _dictionary() -> dict[str, Word]:
    words = {name: word for word, names in chinese().items() for name in names}
    for word, name in english().items():
        if name:
            words.setdefault(name, word)
            words.setdefault(name.removesuffix("s"), word)
            words.setdefault(f"{name}s", word)
    return words


def read(name: str) -> Dish | None:
    """The dish a name means, by the longest words from left to right; None when no word is known."""
    words = list(_words(name.lower()))
    forms = [word.key for word in words if word.kind == "form"]
    ways = [word.key for word in words if word.kind == "cooking"]
    things = list(dict.fromkeys(word.key for word in words if word.kind == "ingredient"))
    if not words:
        return None
    return Dish(forms[-1] if forms else "plate", ways[0] if ways else "plain", tuple(things[:3]))


def _words(name: str) -> Iterator[Word]:
    known = _dictionary()
    longest = max(map(len, known))
    at = 0
    while at < len(name):
        for length in range(min(longest, len(name) - at), 0, -1):
            piece = name[at : at + length]
            if piece in known and (not piece.isascii() or _stands_alone(name, at, at + length)):
                yield known[piece]
                at += length
                break
        else:
            at += 1


def _stands_alone(name: str, start: int, end: int) -> bool:
    before, after = name[start - 1 : start], name[end : end + 1]
    return not (before.isascii() and before.isalpha()) and not (after.isascii() and after.isalpha())


SWEET = {"apple", "pear", "peach", "orange", "lemon", "banana", "strawberry", "cherry", "blueberry", "grape", "mango"}
SWEET |= {"pineapple", "kiwi", "watermelon", "melon", "coconut", "honey", "flower", "chocolate", "matcha", "nuts"}
DESSERTS = ("cake", "cupcake", "cookies", "pie", "pudding", "icecream", "shavedice", "donut", "pancake", "candy")
DRINKS = ("bubbletea", "milk", "juice", "tea", "coffee", "wine", "beer", "liquor", "cocktail")
LONELY = ("fries", "mooncake", "zongzi", "wine", "beer", "liquor", "coffee", "cocktail")
COOKED = ("braised", "spicy", "steamed", "fried", "grilled", "stirfried", "cold", "stewed", "sweet", "curry", "creamy")


def invent(random: Random, ingredients: Sequence[float] = USUAL_INGREDIENTS) -> Dish:
    """A dish that might be on a menu; rare ingredients come as often as common ones.

    `ingredients` are weights of none, one, two and three of them, where the form leaves the choice.
    """
    savoury = [key for key in pictures() if key not in SWEET]
    forms = [word.key for word in english() if word.kind == "form"]
    # Plates, noodles and soups are what people ask for most.
    form = random.choice(["plate"] * 28 + ["noodles", "soup"] * 8 + ["rice", "hotpot", "congee", "claypot"] * 3 + forms)
    sweet = form in DESSERTS + DRINKS
    shelf = sorted(SWEET) if sweet else savoury
    least = 1 if form == "plate" else 0
    most = 1 if sweet else 3
    count = 0 if form in LONELY else random.choices((0, 1, 2, 3), ingredients)[0]
    things = tuple(random.sample(shelf, min(max(count, least), most)))
    cooked = form in ("plate", "noodles", "rice", "claypot", "hotpot") and random.random() < 0.75
    return Dish(form, random.choice(COOKED) if cooked else "plain", things)


def say(dish: Dish, random: Random) -> tuple[str, str]:
    """A Chinese and an English name for a dish."""
    return _say_chinese(dish, random), _say_english(dish)


def _say_chinese(dish: Dish, random: Random) -> str:
    def pick(kind: str, key: str) -> str:
        names = chinese()[Word(kind, key)]
        return random.choices(names, [1 / (1 + place) for place in range(len(names))])[0] if names else ""

    things = [pick("ingredient", key) for key in dish.ingredients]
    way, form = pick("cooking", dish.cooking), pick("form", dish.form)
    if dish.cooking == "stirfried" and len(things) > 1 and not form:
        return things[0] + way + "".join(things[1:])
    return way + "".join(things) + form


def _say_english(dish: Dish) -> str:
    names = english()
    things = [names[Word("ingredient", key)] for key in dish.ingredients]
    way, form = names[Word("cooking", dish.cooking)], names[Word("form", dish.form)]
    listed = " and ".join([", ".join(things[:-1]), things[-1]] if len(things) > 1 else things)
    return " ".join(word for word in (way, listed, form) if word)


VESSELS = {"碗": "bowl", "盘": "plate", "锅": "pot", "笼": "steamer", "杯": "cup", "块": "piece"}
TASTY = (("美味的", "delicious"), ("好吃的", "tasty"), ("新鲜的", "fresh"), ("家常", "homemade"))
PRETTY = (("可爱的", "cute"), ("漂亮的", "beautiful"))
PICTURED = (("的图片", "a picture of"), ("的照片", "a photo of"))


def ask(names: tuple[str, str], measure: str, praises: tuple[tuple[str, str], ...], random: Random) -> tuple[str, str]:
    """The same names as people put them into a sentence: counted, praised, as a picture of it, or all of these.

    Long names stay as they are: what comes last in them is what small models with short prompts must not lose.
    """
    counted, praised, pictured = (random.random() < share for share in (0.7, 0.35, 0.25))
    praise, at = random.choice(praises) if praised else ("", ""), random.randrange(2)
    chinese, english = names
    if len(chinese) < 10:
        chinese = (f"一{measure}" if counted else "") + praise[0] + chinese
        chinese += PICTURED[at][0] if pictured else ""
    if len(english.split()) < 5:
        english = f"{praise[1]} {english}".lstrip()
        by_vessel = measure in VESSELS and " of " not in english
        if counted:
            english = f"a {VESSELS[measure]} of {english}" if by_vessel else one(english)
        english = f"{PICTURED[at][1]} {english}" if pictured else english
    return chinese, english


def one(thing: str) -> str:
    """`thing` with its article."""
    if thing.endswith("s"):
        return thing
    return f"an {thing}" if thing[0] in "aeiou" else f"a {thing}"
