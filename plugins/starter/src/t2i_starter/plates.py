"""A dish as a picture: table, vessel, what fills it, ingredients with their shadows, a garnish, steam."""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from random import Random
from typing import Literal

from PIL import Image, ImageFilter

from t2i_starter import contents, sprites, vessels
from t2i_starter.words import Dish

SCALE = 2
"""Drawn this many times larger, then reduced."""

VESSEL = {
    "plate": "plate", "noodles": "bowl", "friednoodles": "plate", "soup": "soup", "hotpot": "pot", "claypot": "pot",
    "congee": "small", "rice": "small", "friedrice": "plate", "salad": "glass", "dumplings": "steamer",
    "buns": "steamer", "tangyuan": "small", "flatbread": "board", "bread": "board", "pizza": "board",
    "skewers": "dish", "bento": "board",
}  # fmt: skip
BY_COOKING = {"steamed": "dish", "grilled": "iron", "cold": "glass"}
SAUCE = {
    "braised": "brown", "spicy": "red", "stewed": "pale", "steamed": "clear", "sweet": "red", "curry": "clear",
    "creamy": "cream", "stirfried": "clear", "plain": "clear",
}  # fmt: skip
# A form that is one thing rather than a vessel of things.
THINGS = {
    "cake": "🍰", "cupcake": "🧁", "cookies": "🍪", "pie": "🥧", "pudding": "🍮", "pizza": "🍕", "burger": "🍔",
    "fries": "🍟", "sushi": "🍣", "riceball": "🍙", "zongzi": "🫔", "mooncake": "🥮", "skewers": "🍡",
    "icecream": "🍨", "shavedice": "🍧", "donut": "🍩", "pancake": "🥞", "roll": "🌯", "bento": "🍱", "candy": "🍬",
    "flatbread": "🫓", "bread": "🍞", "bubbletea": "🧋", "milk": "🥛", "juice": "🧃", "tea": "🍵", "coffee": "☕",
    "wine": "🍷", "beer": "🍺", "liquor": "🍶", "cocktail": "🍹",
}  # fmt: skip
DRINKS = {"bubbletea", "milk", "juice", "tea", "coffee", "wine", "beer", "liquor", "cocktail"}


Plating = Literal["free", "neat"]
"""`free` scatters and turns the pieces as a cook would; `neat` lays them in four places, upright, on a few bases."""

PLACES = tuple((x, y) for y in (0.35, 0.65) for x in (0.35, 0.65))
"""Where neat pieces lie: of 160 pixels, each on 48 x 48 of them that begin at a multiple of 16, as codecs count."""
PIECE = 0.31
"""Width of a neat piece."""
BASES = 2
"""How many different ways a vessel is filled when plated neatly."""


def draw(dish: Dish, seed: int, size: int = 128, plating: Plating = "free") -> Image.Image:
    """The dish, `size` pixels square; the same seed gives the same picture."""
    random = Random(f"{dish}{seed}")
    dish = served(dish)
    full = size * SCALE
    scene = vessels.draw_table(random.randrange(len(vessels.TABLES)), full).convert("RGBA")
    name = None if dish.form in DRINKS else vessel_of(dish)
    (_serve_neatly if plating == "neat" else _serve)(scene, dish, name, random)
    return scene.convert("RGB").resize((size, size), Image.Resampling.LANCZOS)


def draw_thing(character: str, seed: int, size: int = 128, plating: Plating = "free") -> Image.Image:
    """A single thing that is no dish: a cat, a rainbow, a red apple."""
    random = Random(f"{character}{seed}")
    full = size * SCALE
    scene = vessels.draw_table(random.randrange(4), full).convert("RGBA")
    side, turn, middle = round(full * 0.66), 0.0, (full / 2, full / 2)
    if plating == "free":
        side = round(full * random.uniform(0.60, 0.74))
        middle = (full * random.uniform(0.46, 0.54), full * random.uniform(0.46, 0.54))
        turn = random.uniform(-12, 12)
    _place(scene, sprites.emoji(character), side, turn, middle)
    return scene.convert("RGB").resize((size, size), Image.Resampling.LANCZOS)


def served(dish: Dish) -> Dish:
    """What the kitchen puts in when the name leaves it open."""
    unsaid = {"hotpot": ("chilli",), "salad": ("tomato",), "soup": ("egg",)}
    return dish if dish.ingredients else replace(dish, ingredients=unsaid.get(dish.form, ()))


def vessel_of(dish: Dish) -> str:
    """What a dish is served in."""
    if dish.form == "plate":
        return BY_COOKING.get(dish.cooking, "plate")
    return VESSEL.get(dish.form, "dish")


def _serve(scene: Image.Image, dish: Dish, name: str | None, random: Random) -> None:
    if name is not None:
        scene.alpha_composite(vessels.draw_vessel(name, random.randrange(8), scene.width))
        _fill(scene, dish, name, random)
    _lay(scene, dish, name, random)
    if name in ("bowl", "soup", "pot", "small") and random.random() < 0.35:
        scene.alpha_composite(contents.steam(scene.width, random))


def _serve_neatly(scene: Image.Image, dish: Dish, name: str | None, random: Random) -> None:
    full = scene.width
    if name is not None:
        filled = replace(dish, ingredients=(), cooking=dish.cooking if _shows_cooking(dish) else "plain")
        scene.alpha_composite(_base(filled, name, random.randrange(8), random.randrange(BASES), full))
    for sprite, width, (x, y) in _neat_pieces(dish, random):
        _place(scene, sprite, round(full * width), 0, (full * x, full * y))


def _shows_cooking(dish: Dish) -> bool:
    return dish.form in ("noodles", "soup", "hotpot", "claypot", "plate")


@functools.lru_cache(maxsize=512)
def _base(dish: Dish, name: str, accent: int, which: int, full: int) -> Image.Image:
    """A filled vessel on a clear ground; do not change it, it is shared."""
    random = Random(f"base {which}")
    base = vessels.draw_vessel(name, accent, full).copy()
    _fill(base, dish, name, random)
    if dish.form in ("noodles", "soup", "congee", "hotpot"):
        vessel = vessels.VESSELS[name]
        base.alpha_composite(contents.scallions(full, vessel.radius * vessel.room, random))
    return base


def _neat_pieces(dish: Dish, random: Random) -> list[tuple[Image.Image, float, tuple[float, float]]]:
    """Sprites with their width and their middle, those further up first."""
    things = [sprites.picture(key, dish.cooking, Random(0)) for key in dish.ingredients]
    if dish.form in THINGS:
        beside = [(thing, PIECE, place) for thing, place in zip(things, PLACES[::-1], strict=False)]
        return [(sprites.emoji(THINGS[dish.form]), 0.5 if things else 0.58, (0.5, 0.5)), *beside]
    mains = {
        "dumplings": sprites.emoji("🥟"),
        "buns": sprites.drawn("bun"),
        "tangyuan": sprites.drawn("ball:252,250,246"),
    }
    if dish.form in mains:
        shares = [mains[dish.form]] * (4 - len(things)) + things
    elif things:
        # A place is left free to show the noodles.
        many = 3 if dish.form == "noodles" else 4
        random.shuffle(things)
        shares = [things[at % len(things)] for at in range(many)]
    else:
        shares = []
    places = sorted(random.sample(PLACES, len(shares)), key=lambda place: (place[1], place[0]))
    random.shuffle(shares)
    return [(sprite, PIECE, place) for sprite, place in zip(shares, places, strict=True)]


def _fill(scene: Image.Image, dish: Dish, name: str, random: Random) -> None:
    size = scene.width
    vessel = vessels.VESSELS[name]
    room = vessel.radius * vessel.room
    sauce = contents.BROTHS[SAUCE.get(dish.cooking, "clear")]
    if dish.form in ("noodles", "soup", "hotpot", "claypot"):
        broth = contents.BROTHS["red"] if dish.form == "hotpot" and dish.cooking == "plain" else sauce
        scene.alpha_composite(contents.broth(size, room, broth, random))
    if dish.form in ("noodles", "friednoodles"):
        wheat = (238, 204, 128) if dish.form == "noodles" else (212, 158, 80)
        scene.alpha_composite(contents.noodles(size, room * 0.95, wheat, random))
    if dish.form == "congee":
        scene.alpha_composite(contents.broth(size, room, (248, 242, 226), random, oily=False))
    if dish.form == "tangyuan":
        scene.alpha_composite(contents.broth(size, room, contents.BROTHS["pale"], random, oily=False))
    if dish.form in ("rice", "friedrice"):
        golden = (250, 228, 160) if dish.form == "friedrice" else (252, 250, 243)
        scene.alpha_composite(contents.grains(size, room * 0.98, random, golden))
    if dish.form == "salad" or (dish.form == "plate" and dish.cooking == "cold"):
        scene.alpha_composite(contents.leaves(size, room, random))
    if dish.form == "plate" and dish.cooking in SAUCE and dish.cooking != "plain":
        scene.alpha_composite(contents.sauce(size, room, sauce, random))


def _lay(scene: Image.Image, dish: Dish, name: str | None, random: Random) -> None:
    size = scene.width
    pieces = _pieces(dish, random)
    vessel = vessels.VESSELS[name] if name else None
    room = vessel.radius * vessel.room if vessel else 0.34
    spots = _spots(len(pieces), room, random)
    side = size * room * {1: 1.5, 2: 1.2, 3: 1.1, 4: 1.0, 5: 0.92}.get(len(pieces), 0.84)
    if dish.form == "noodles":  # leave the noodles to be seen
        side *= 0.8
    order = sorted(range(len(pieces)), key=lambda at: spots[at][1])
    for at in order:
        sprite, scale, turns = pieces[at]
        x, y = spots[at]
        angle = random.uniform(-turns, turns)
        _place(scene, sprite, round(side * scale * random.uniform(0.92, 1.08)), angle, (size * x, size * y))
    if dish.form in ("noodles", "soup", "congee", "hotpot") and random.random() < 0.6:
        scene.alpha_composite(contents.scallions(size, room, random))


def _pieces(dish: Dish, random: Random) -> list[tuple[Image.Image, float, float]]:
    """Sprites to lay, each with its relative size and how far it may turn."""
    pieces: list[tuple[Image.Image, float, float]] = []
    if dish.form in THINGS:
        lone = dish.form in DRINKS or dish.form in ("pizza", "bento", "cake", "pie", "pudding", "flatbread", "bread")
        count = 1 if lone else 2
        scale = 1.5 if dish.form in DRINKS and dish.ingredients else 1.25
        pieces += [(sprites.emoji(THINGS[dish.form]), scale, 10.0)] * count
    if dish.form == "dumplings":
        pieces += [(sprites.emoji("🥟"), 1.0, 40.0)] * random.randint(4, 5)
    if dish.form == "buns":
        pieces += [(sprites.drawn("bun", random.randrange(6)), 1.05, 180.0) for _ in range(4)]
    if dish.form == "tangyuan":
        pieces += [(sprites.drawn("ball:252,250,246"), 0.85, 180.0)] * 6
    copies = {1: random.choice((3, 4) if dish.form == "noodles" else (3, 4, 5)), 2: random.choice((2, 3)), 3: 2}.get(
        len(dish.ingredients), 0
    )
    if pieces:
        copies = min(copies, 2 if len(dish.ingredients) == 1 else 1)
    if dish.form in DRINKS:
        copies = min(copies, 1)
    for key in dish.ingredients:
        pieces += [(sprites.picture(key, dish.cooking, random), 1.0, 60.0) for _ in range(copies)]
    return pieces


def _spots(count: int, room: float, random: Random) -> list[tuple[float, float]]:
    """Places round the middle, evenly turned with some play."""
    if count == 1:
        return [(0.5 + random.uniform(-0.02, 0.02), 0.5 + random.uniform(-0.02, 0.02))]
    turn = random.random() * math.tau
    inner = 1 if count > 5 else 0
    spots = [(0.5, 0.5)] * inner
    for at in range(count - inner):
        angle = turn + math.tau * at / (count - inner) + random.uniform(-0.15, 0.15)
        out = room * random.uniform(0.50, 0.60)
        spots.append((0.5 + out * math.cos(angle), 0.5 + out * math.sin(angle)))
    random.shuffle(spots)
    return spots


def _place(scene: Image.Image, sprite: Image.Image, side: int, angle: float, middle: tuple[float, float]) -> None:
    """Lay a sprite down with a soft shadow under its lower right."""
    turned = sprite.resize((side, side), Image.Resampling.BICUBIC).rotate(angle, Image.Resampling.BICUBIC, expand=True)
    margin = side // 6
    cut = Image.new("RGBA", (turned.width + 2 * margin, turned.height + 2 * margin))
    shade = Image.new("L", cut.size)
    shade.paste(turned.getchannel("A").point(lambda a: int(a * 0.45)), (margin + side // 28, margin + side // 16))
    cut.paste((36, 22, 12), (0, 0, *cut.size))
    cut.putalpha(shade.filter(ImageFilter.GaussianBlur(side / 24)))
    cut.alpha_composite(turned, (margin, margin))
    corner = (round(middle[0] - cut.width / 2), round(middle[1] - cut.height / 2))
    _composite(scene, cut, corner)


def _composite(scene: Image.Image, layer: Image.Image, corner: tuple[int, int]) -> None:
    left, top = (max(0, -corner[0]), max(0, -corner[1]))
    visible = layer.crop((left, top, layer.width, layer.height))
    scene.alpha_composite(visible, (max(0, corner[0]), max(0, corner[1])))
