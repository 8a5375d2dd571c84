"""A dish composed of path-traced layers: table, vessel, what fills it, ingredients, garnish, steam.

The layers were rendered once by recipes/starter/layers, with one camera and one light; where they lie is all that is
decided here. Every offset between two places is a multiple of 24 pixels, the side of a codec's cell: a cluster then has
the same codes wherever it lies.
"""

from __future__ import annotations

import functools
import io
from importlib.resources import files
from random import Random

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from t2i_starter import plates, words
from t2i_starter.servings import CUPS, HOLLOW, Serving, served
from t2i_starter.words import Dish

SIZE = 240
TABLES = ("oak", "walnut", "pine", "stone", "slate", "linen", "checked", "mat")

Place = tuple[int, int]
LEFT, RIGHT, FRONTS = (-36, -24), (36, -24), ((12, 24), (-12, 24))
CORNERS: tuple[Place, ...] = (LEFT, RIGHT, (-36, 24), (36, 24))
ABREAST: tuple[Place, ...] = ((-36, 0), (36, 0))
ASIDE: tuple[Place, ...] = ((60, -24), (60, 24), (12, 48))
"""Where ingredients lie beside a cake or a glass."""
COPIES: dict[int, tuple[float, tuple[Place, ...]]] = {
    2: (0.56, ((-54, -12), (54, 12))),
    3: (0.50, ((-56, -40), (56, -40), (0, 52))),
}
"""Size and places of two dishes and of three."""
LONG = frozenset({"fish", "lobster"})
"""Too long to lie side by side."""

SAUCE = {
    "braised": "brown", "spicy": "red", "stewed": "pale", "steamed": "clear", "sweet": "red", "curry": "yellow",
    "creamy": "cream", "stirfried": "clear",
}  # fmt: skip
# What cooking does to an ingredient: a colour, how far towards it.
COOKED: dict[str, tuple[tuple[int, int, int], float]] = {
    "braised": ((150, 84, 44), 0.42), "spicy": ((226, 92, 56), 0.18), "fried": ((214, 142, 60), 0.36),
    "grilled": ((120, 72, 42), 0.42), "sweet": ((220, 100, 52), 0.24), "curry": ((226, 168, 54), 0.34),
    "creamy": ((252, 244, 224), 0.22), "stewed": ((228, 206, 160), 0.20),
}  # fmt: skip

RESHAPED = {("egg", "stirfried"): "scrambled", ("egg", "fried"): "friedegg"}
"""What cooking gives another shape."""


def draw(serving: Serving, seed: int, size: int = SIZE) -> Image.Image:
    """The serving, `size` pixels square; the same seed gives the same picture."""
    random = Random(f"{serving}{seed}")
    serving = served(serving, random)
    scene = _table(random.choice(TABLES)).copy()
    _set_table(scene, random)
    if serving.count == 1:
        scene.alpha_composite(_plated(serving, random))
    else:
        share, places = COPIES[serving.count]
        side = round(SIZE * share)
        for x, y in places:
            dish = _plated(serving, random)
            dish.putalpha(ImageChops.multiply(dish.getchannel("A"), _frame()))
            small = dish.resize((side, side), Image.Resampling.LANCZOS)
            _composite(scene, small, (x, y))
    picture = scene.convert("RGB")
    return picture if size == SIZE else picture.resize((size, size), Image.Resampling.LANCZOS)


@functools.lru_cache(maxsize=512)
def layer(name: str) -> Image.Image:
    """A layer as it was rendered; do not change it, it is shared."""
    data = (files("t2i_starter") / "layers" / f"{name}.webp").read_bytes()
    return Image.open(io.BytesIO(data)).convert("RGBA")


@functools.cache
def variants(name: str) -> int:
    """How many layers there are of an ingredient, a filling, a thing."""
    folder = files("t2i_starter") / "layers"
    return next(count for count in range(10) if not (folder / f"{name}-{count}.webp").is_file())


@functools.cache
def _frame() -> Image.Image:
    """Clear at the edge of the picture, where a shadow that runs out of it would end in a line."""
    inside = np.minimum(np.arange(SIZE), np.arange(SIZE)[::-1]).clip(0, 12) / 12
    return Image.fromarray((255 * np.minimum.outer(inside, inside)).astype(np.uint8))


def _any(name: str, random: Random) -> str:
    return f"{name}-{random.randrange(variants(name))}"


@functools.cache
def _table(kind: str) -> Image.Image:
    """Further away, a little out of focus."""
    sharp = layer(f"table-{kind}")
    far = Image.linear_gradient("L").transpose(Image.Transpose.FLIP_TOP_BOTTOM).resize(sharp.size)
    soft = sharp.convert("RGB").filter(ImageFilter.GaussianBlur(2.2))
    return Image.composite(soft, sharp.convert("RGB"), far).convert("RGBA")


def _set_table(scene: Image.Image, random: Random) -> None:
    if random.random() < 0.2:
        scene.alpha_composite(layer(_any("napkin", random)))
    if random.random() < 0.25:
        scene.alpha_composite(layer(_any("chopsticks", random)))


def _plated(serving: Serving, random: Random) -> Image.Image:
    dish = serving.dish
    inside = contents(serving)
    scene = _filled(serving.vessel, serving.colour, _any(f"in-{inside}", random) if inside else "").copy()
    for name, place in sorted(_pieces(dish, random), key=lambda piece: piece[1][1]):
        _composite(scene, _cooked(name, dish.cooking), place)
    if dish.form in ("noodles", "soup", "congee", "hotpot"):
        _composite(scene, layer(_any("scallions", random)), (0, 0))
    if serving.vessel in HOLLOW and random.random() < 0.3:
        scene.alpha_composite(_steam(random.randrange(4)))
    return scene


@functools.lru_cache(maxsize=512)
def _filled(vessel: str, colour: str, inside: str) -> Image.Image:
    """Vessel and contents on a clear ground; do not change it, it is shared."""
    scene = Image.new("RGBA", (SIZE, SIZE))
    if vessel:
        scene.alpha_composite(layer(f"vessel-{vessel}-{colour}"))
    if inside:
        scene.alpha_composite(layer(inside))
    return scene


def contents(serving: Serving) -> str:
    """What fills the vessel under the ingredients."""
    form, sauce = serving.dish.form, SAUCE.get(serving.dish.cooking, "")
    if form in CUPS or form in ("rice", "congee", "friedrice", "friednoodles", "salad"):
        return form
    if form == "noodles":
        return f"noodles-{sauce or 'clear'}"
    if form == "hotpot":
        return f"soup-{sauce or 'red'}"
    if form in ("soup", "claypot", "tangyuan"):
        return f"soup-{sauce or ('pale' if form == 'tangyuan' else 'clear')}"
    if form == "plate" and serving.vessel in HOLLOW:
        return f"soup-{sauce or 'clear'}"
    if form == "plate" and serving.dish.cooking == "cold":
        return "salad"
    return f"sauce-{sauce}" if form == "plate" and sauce else ""


def _pieces(dish: Dish, random: Random) -> list[tuple[str, Place]]:
    """Layers and where they lie: of three ingredients the first is left, the second right, the third in front."""

    def piece(key: str, place: Place) -> tuple[str, Place]:
        return _any(RESHAPED.get((key, dish.cooking), key), random), place

    form, keys = dish.form, plates.served(dish).ingredients
    if form in ("dumplings", "buns", "tangyuan"):
        shared = CORNERS[::-1][: len(keys)]
        return [piece(form, place) for place in CORNERS[: 4 - len(keys)]] + [
            piece(*one) for one in zip(keys, shared, strict=True)
        ]
    if form in plates.THINGS:
        beside = [piece(key, place) for key, place in zip(keys, ASIDE, strict=False)]
        if form in CUPS:
            return beside
        return [piece(form, (-36, 0) if keys else (0, 0)), *beside]
    return [piece(keys[at], place) for at, place in _arranged(form, keys, random)]


def _arranged(form: str, keys: tuple[str, ...], random: Random) -> list[tuple[int, Place]]:
    """Which ingredient lies where; a few ways for each number of them."""
    ways: tuple[tuple[Place, ...], ...]
    few = form in ("noodles", "rice", "friednoodles", "friedrice")  # what lies under them is to be seen
    front = random.choice(FRONTS)
    if len(keys) == 1 and keys[0] in LONG:
        return [(0, place) for place in ((12, -24), (-12, 24))]
    if len(keys) == 1:
        ways = ((LEFT, RIGHT), ABREAST) if few else (CORNERS, (LEFT, RIGHT, front))
        return [(0, place) for place in random.choice(ways)]
    if len(keys) == 2:
        ways = ((LEFT, RIGHT), ABREAST) if few else (CORNERS, ABREAST)
        return [(0 if place[0] < 0 else 1, place) for place in random.choice(ways)]
    return list(zip(range(len(keys)), (LEFT, RIGHT, front), strict=False))


@functools.lru_cache(maxsize=1024)
def _cooked(name: str, cooking: str) -> Image.Image:
    raw = layer(name)
    key = name.rsplit("-", 1)[0]
    if cooking not in COOKED or key not in words.pictures():
        return raw
    tint, share = COOKED[cooking]
    rgb = raw.convert("RGB")
    brown = ImageChops.multiply(rgb, Image.new("RGB", rgb.size, tint)).point(lambda value: min(255, int(value * 1.25)))
    done = Image.blend(rgb, brown, share)
    done.putalpha(raw.getchannel("A"))
    return done


@functools.cache
def _steam(which: int) -> Image.Image:
    """Wisps that rise from the middle."""
    random = np.random.default_rng(which)
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    cloud = np.zeros((SIZE, SIZE))
    for size in (6, 12, 24):
        coarse = Image.fromarray(random.uniform(0, 255, (size, size // 2)).astype(np.uint8))
        cloud += np.asarray(coarse.resize((SIZE, SIZE), Image.Resampling.BICUBIC), dtype=float) / 255 / size * 6
    sway = 0.5 + 0.05 * np.sin(7 * y + which * 2)
    column = np.exp(-(((x - sway) / 0.17) ** 2)) * np.clip((0.62 - y) / 0.3, 0, 1) * np.clip(y / 0.15, 0, 1)
    alpha = (np.clip(cloud / cloud.max() - 0.35, 0, 1) * column * 190).clip(0, 90)
    steam = Image.new("RGBA", (SIZE, SIZE), (255, 252, 246, 0))
    steam.putalpha(Image.fromarray(alpha.astype(np.uint8)).filter(ImageFilter.GaussianBlur(3)))
    return steam


def _composite(scene: Image.Image, piece: Image.Image, place: Place) -> None:
    """Lay a layer so that its middle is `place` away from that of the scene."""
    left = (scene.width - piece.width) // 2 + place[0]
    top = (scene.height - piece.height) // 2 + place[1]
    cut = (max(0, -left), max(0, -top))
    if cut != (0, 0):
        piece = piece.crop((*cut, piece.width, piece.height))
    scene.alpha_composite(piece, (max(0, left), max(0, top)))
