"""What fills a vessel under the ingredients; heights are those below the rim at 0."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from layout import Random, heap, seed_of
from mesh import Mesh, blob, merge, mix, noise, rgb, sheet, slab, step, tube

LEVEL = -0.13
"""Of a liquid in a hollow vessel."""
ROOM = 0.955
"""Radius of a liquid there."""
BROTHS = {
    "clear": "d9a447", "pale": "e9dcb6", "brown": "7a3d18", "red": "b8300f", "yellow": "d99a1e", "cream": "f2e6cc",
}  # fmt: skip
WHEAT, FRIED = "eccb84", "d29a52"


def _disc(
    radius: float, level: float, colours: Callable[[np.ndarray, np.ndarray], np.ndarray], seed: int, rise: float
) -> Mesh:
    angle = np.linspace(0, 2 * np.pi, 200, endpoint=False)[:, None]
    t = np.linspace(0, 1, 90)[None] ** 0.9
    x, y = radius * t * np.cos(angle), radius * t * np.sin(angle)
    z = level + 0.0025 * noise(np.stack([x * 5, y * 5, 0 * x], -1), seed, 2) + rise * step(t + 0 * angle, 0.975, 1.0)
    return sheet(np.stack([x, y, z], -1), colours(x, y), closed_rows=True)


def broth(random: Random, kind: str, over: Mesh | None = None) -> list[Mesh]:
    """A liquid with drops of oil; lighter at the wall and where `over` lies just beneath."""
    colour, seed = rgb(BROTHS[kind]), seed_of(random)
    thick = kind in ("cream", "pale", "yellow")

    def paint(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        cloud = noise(np.stack([x * 3, y * 3, 0 * x], -1), seed, 3)
        colours = colour * (1 + 0.16 * cloud)[..., None]
        if over is not None and not thick:
            colours = mix(colours, rgb(WHEAT) * 0.75, 0.7 * np.exp(-_depth(over, x, y) / 0.03))
        return mix(colours, np.minimum(colour * 1.7, 0.9), 0.6 * step(np.hypot(x, y) / ROOM, 0.93, 1.0))

    parts = [_disc(ROOM, LEVEL, paint, seed, 0.012).of("liquid")]
    drops = []
    for _ in range(0 if thick else 60):
        far, angle = ROOM * np.sqrt(random.uniform(0.05, 0.9)), random.uniform(0, 6.3)
        size = random.uniform(0.010, 0.040)
        oil = np.minimum(colour * (1.9 if kind != "red" else 1.5) + 0.02, 0.9)
        drops.append(
            blob((size, size, 0.006), oil, detail=10).moved(far * np.cos(angle), far * np.sin(angle), LEVEL + 0.003)
        )
    return [*parts, merge(drops).of("liquid")] if drops else parts


def _depth(mesh: Mesh, x: np.ndarray, y: np.ndarray, cells: int = 160) -> np.ndarray:
    """How far below the level the highest point of a mesh under it is."""
    top = np.full((cells, cells), -1.0)
    below = mesh.vertices[mesh.vertices[:, 2] < LEVEL]
    i, j = np.clip((below[:, :2] + ROOM) / (2 * ROOM) * cells, 0, cells - 1).astype(int).T
    np.maximum.at(top, (i, j), below[:, 2])
    i, j = (np.clip((value + ROOM) / (2 * ROOM) * cells, 0, cells - 1).astype(int) for value in (x, y))
    return LEVEL - top[i, j]


def strands(
    random: Random, level: float, room: float, colour: str, dome: float, bundles: int = 12, thick: float = 0.025
) -> Mesh:
    """Noodles combed into bundles that sweep about the middle."""
    parts = []
    for bundle in range(bundles):
        t = np.linspace(0, 1, 70)
        start, sweep = random.uniform(0, 2 * np.pi), random.uniform(2.0, 4.2) * random.choice([-1, 1])
        middle, far = random.normal(0, 0.14, 2) * room, random.uniform(0.18, 0.62) * room
        wobble = 0.10 * room * np.sin(t * random.uniform(3, 7) + random.uniform(0, 6))
        path = middle + ((far + wobble) * np.stack([np.cos(start + sweep * t), np.sin(start + sweep * t)])).T
        along = np.gradient(path, axis=0)
        across = np.stack([-along[:, 1], along[:, 0]], 1) / (np.linalg.norm(along, axis=1, keepdims=True) + 1e-9)
        for strand in range(9):
            offset = (strand - 4.5) * thick * 2.05 + random.normal(0, thick * 0.5)
            sway = random.normal(0, 0.02) * np.sin(t * random.uniform(4, 12) + random.uniform(0, 6))
            flat = path + across * (offset + sway)[:, None]
            away = np.linalg.norm(flat, axis=1)
            flat *= np.minimum(1, 0.97 * room / np.maximum(away, 1e-6))[:, None]
            away = np.minimum(away, 0.97 * room)
            z = (
                level
                - 0.012
                + dome * (1 - (away / room) ** 2) * (0.25 + 0.75 * bundle / bundles)
                + random.normal(0, 0.006)
            )
            z = z + 0.012 * np.sin(t * random.uniform(5, 14) + random.uniform(0, 6))
            z = z - 0.16 * (np.exp(-t / 0.06) + np.exp(-(1 - t) / 0.06))
            tint = rgb(colour) * random.uniform(0.88, 1.08)
            one = tube(np.column_stack([flat, z]), thick * random.uniform(0.92, 1.06), tint, 8, caps=False)
            wet = step(one.vertices[:, 2], level - 0.02, level + 0.06)
            parts.append(Mesh(one.vertices, one.faces, mix(tint * [0.80, 0.66, 0.5], tint, wet), "wet"))
    return merge(parts)


def noodles(random: Random, kind: str) -> list[Mesh]:
    strings = strands(random, LEVEL, ROOM * 0.96, WHEAT, 0.15)
    return [strings, *broth(random, kind, strings)]


def fried_noodles(random: Random) -> list[Mesh]:
    heap_ = strands(random, -0.10, 0.78, FRIED, 0.26, bundles=16)
    bits = []
    for x, y, z in heap(random, 26, 0.6, 0.22):
        bit = blob((0.06, 0.012, 0.010), mix(rgb("4f9a34"), rgb("e8862c"), float(random.random() < 0.4)), detail=8)
        bits.append(bit.turned(random.uniform(0, 6.3)).moved(x, y, z + 0.02))
    return [heap_, merge(bits).of("wet")]


def _grains(
    random: Random, count: int, room: float, height: float, level: float, colour: str, size: float = 0.048
) -> list[Mesh]:
    """A mound with grains all over it."""
    base = blob((room, room, height), rgb(colour) * 0.88, detail=60).rough(0.012, 14, seed_of(random), 2)
    parts = [base.moved(0, 0, level)]
    grain = blob((size, size * 0.40, size * 0.40), rgb(colour), detail=8)
    for _ in range(count):
        direction = random.normal(size=3)
        direction[2] = abs(direction[2]) + 0.05
        x, y, z = direction / np.linalg.norm(direction) * [room, room, height] * random.uniform(0.97, 1.03)
        tint = Mesh(grain.vertices, grain.faces, grain.colours * random.uniform(0.94, 1.04))
        parts.append(tint.turned(*random.uniform(0, 3.1, 3)).moved(x, y, level + z))
    return [merge(parts).of("matte")]


def rice(random: Random) -> list[Mesh]:
    return _grains(random, 1700, 0.94, 0.26, -0.16, "ffffff")


def fried_rice(random: Random) -> list[Mesh]:
    mound = _grains(random, 1400, 0.78, 0.30, -0.13, "f0d48a")
    bits = []
    for _ in range(110):
        direction = random.normal(size=3)
        direction[2] = abs(direction[2]) + 0.2
        x, y, z = direction / np.linalg.norm(direction) * [0.79, 0.79, 0.31]
        colour, size = [
            ("f6c93a", (0.06, 0.045, 0.03)),
            ("5fae3a", (0.034,) * 3),
            ("ee7a28", (0.03, 0.03, 0.03)),
            ("d8604c", (0.034, 0.034, 0.03)),
        ][random.integers(4)]
        bits.append(blob(size, rgb(colour), (0.7, 0.7), detail=8).turned(random.uniform(0, 6.3)).moved(x, y, z - 0.12))
    return [*mound, merge(bits).of("wet")]


def congee(random: Random) -> list[Mesh]:
    seed = seed_of(random)

    def paint(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        cloud = noise(np.stack([x * 5, y * 5, 0 * x], -1), seed, 3)
        return mix(rgb("fcfaf4"), rgb("f2ecdd"), 0.5 + 0.5 * cloud)

    surface = _disc(ROOM, LEVEL, paint, seed, 0.012)
    grains = []
    for _ in range(260):
        far, angle = ROOM * 0.97 * np.sqrt(random.uniform()), random.uniform(0, 6.3)
        grain = blob((0.048, 0.026, 0.016), rgb("fdfbf4"), detail=8).turned(random.uniform(0, 6.3))
        grains.append(grain.moved(far * np.cos(angle), far * np.sin(angle), LEVEL))
    return [surface.of("liquid"), merge(grains).of("matte")]


def sauce(random: Random, kind: str) -> list[Mesh]:
    """A pool in the well of a plate."""
    seed, colour = seed_of(random), rgb(BROTHS[kind])
    angle = np.linspace(0, 2 * np.pi, 200, endpoint=False)[:, None]
    t = np.linspace(0, 1, 70)[None]
    edge = 0.80 * (1 + 0.07 * noise(np.stack([np.cos(angle) * 1.8, np.sin(angle) * 1.8, 0 * angle], -1), seed, 2))
    x, y = edge * t * np.cos(angle), edge * t * np.sin(angle)
    z = -0.135 + 0.030 * np.sqrt(np.clip(1 - t**8, 0, 1)) + 0.002 * noise(np.stack([x * 6, y * 6, 0 * x], -1), seed, 2)
    z = np.maximum(z, -0.13 + 0.30 * np.clip(np.hypot(x, y) - 0.74, 0, 1))
    cloud = noise(np.stack([x * 6, y * 6, 0 * x + 3], -1), seed, 3)
    return [sheet(np.stack([x, y, z], -1), colour * (1 + 0.22 * cloud)[..., None], closed_rows=True).of("liquid")]


def salad(random: Random) -> list[Mesh]:
    """Lettuce, ruffled, in two greens and some purple."""
    placed = []
    for at, (x, y, z) in enumerate(heap(random, 26, 0.62, 0.14)):
        t = np.linspace(0, 1, 40)[:, None] + np.zeros((1, 40))
        s = np.linspace(-1, 1, 40)[None] + 0 * t
        wide = 0.25 * np.sin(np.pi * np.clip(t * 0.85 + 0.1, 0, 1)) ** 0.6
        ruffle = (0.06 * np.sin(9 * t + 5 * s + at) + 0.05 * np.sin(14 * s + at)) * np.maximum(np.abs(s), t) ** 3
        points = np.stack([0.46 * (t - 0.4), s * wide, 0.05 * np.abs(s) + ruffle], -1)
        green = [("6fae34", "c3e07a"), ("4c8f2c", "a5d05c"), ("7a2f4c", "8fae4c")][2 if at % 7 == 6 else at % 2]
        colours = mix(rgb(green[0]), rgb(green[1]), np.exp(-((s / 0.25) ** 2)) * (1 - 0.6 * t))
        placed.append(
            sheet(points, colours).turned(random.uniform(0, 6.3), random.normal(0, 0.25)).moved(x, y, z - 0.10)
        )
    return [merge(placed).of("leaf")]


def scallions(random: Random) -> list[Mesh]:
    """Rings of spring onion to strew, on the ground."""
    rings = []
    for _ in range(40):
        far, angle = 0.42 * np.sqrt(random.uniform()), random.uniform(0, 6.3)
        size = random.uniform(0.026, 0.046)
        ring = slab(
            size, random.uniform(0.025, 0.045), mix(rgb("3f8f24"), rgb("a9cf5c"), random.uniform()), 0.004, hole=0.62
        )
        ring = ring.turned(random.uniform(0, 6.3), *random.normal(0, 0.5, 2))
        rings.append(ring.moved(far * np.cos(angle), far * np.sin(angle), 0.03))
    return [merge(rings).of("leaf")]


def in_cup(kind: str) -> Callable[[Random], list[Mesh]]:
    colour = {"tea": "a8741c", "coffee": "4a2412", "milk": "fbf8f0", "greentea": "9aa83c"}[kind]

    def fill(random: Random) -> list[Mesh]:
        def paint(x: np.ndarray, y: np.ndarray) -> np.ndarray:
            far, angle = np.hypot(x, y), np.arctan2(y, x)
            colours = rgb(colour) + 0 * x[..., None]
            if kind == "coffee":
                leaf = step(
                    np.abs(x) - 0.20 * np.clip(0.36 - np.abs(y), 0, 1) * (1 + 0.5 * np.sin(30 * (y + np.abs(x)))),
                    0.03,
                    0.0,
                )
                colours = mix(
                    mix(rgb("6d3a18"), rgb("a86a34"), step(far, 0.3, 0.55)), rgb("f3e2c4"), leaf * (far < 0.42)
                )
            return mix(colours, np.minimum(rgb(colour) * 1.5, 0.9), 0.5 * step(far, 0.50, 0.56) + 0 * angle)

        return [_disc(0.565, -0.09, paint, seed_of(random), 0.01).of("liquid")]

    return fill


HOLLOW: dict[str, Callable[[Random], list[Mesh]]] = {
    **{f"soup-{kind}": lambda random, kind=kind: broth(random, kind) for kind in BROTHS},
    **{f"noodles-{kind}": lambda random, kind=kind: noodles(random, kind) for kind in BROTHS},
    "rice": rice, "congee": congee,
}  # fmt: skip
FLAT: dict[str, Callable[[Random], list[Mesh]]] = {
    **{f"sauce-{kind}": lambda random, kind=kind: sauce(random, kind) for kind in BROTHS},
    "friednoodles": fried_noodles, "friedrice": fried_rice, "salad": salad,
}  # fmt: skip
CUPS = {kind: in_cup(kind) for kind in ("tea", "coffee", "milk")}
