"""Vessels, whose rim lies at height 0, and tables, chopsticks and napkins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from layout import Random
from mesh import Mesh, box, merge, mix, noise, revolve, rgb, sheet, slab, step, tube

COLOURS = {
    "white": "f3f1ea", "blue": "2c5aa6", "red": "b9251c", "green": "5f9f78", "yellow": "e6b434", "black": "26262a",
}  # fmt: skip
RIMS = {"bluerim": "264f9c", "redrim": "b3231c"}
GLAZED = (*COLOURS, *RIMS)
"""The colours that bowls, plates and cups come in."""

INNER = [(1.005, -0.01), (0.96, -0.16), (0.84, -0.36), (0.60, -0.54), (0.30, -0.60), (0, -0.61)]
"""The inside of every hollow vessel, so that what fills one fits all."""
BOWL = [
    (0, -0.70),
    (0.42, -0.70),
    (0.46, -0.66),
    (0.62, -0.58),
    (0.84, -0.40),
    (0.98, -0.20),
    (1.06, -0.01),
    (1.055, 0.014),
    (1.025, 0.014),
    *INNER,
]
DEEP = [
    (0, -0.98),
    (0.56, -0.98),
    (0.60, -0.92),
    (0.82, -0.76),
    (0.98, -0.46),
    (1.05, -0.14),
    (1.075, 0.0),
    (1.06, 0.02),
    (1.025, 0.014),
    *INNER,
]
POT = [
    (0, -0.74),
    (0.72, -0.74),
    (0.95, -0.58),
    (1.08, -0.30),
    (1.10, -0.08),
    (1.13, -0.02),
    (1.11, 0.035),
    (1.04, 0.03),
    *INNER,
]
STEEL = [(0, -0.66), (0.96, -0.66), (1.04, -0.58), (1.06, -0.04), (1.10, 0.0), (1.08, 0.02), (1.03, 0.014), *INNER]
PLATE = [
    (0, -0.17),
    (0.62, -0.17),
    (0.66, -0.20),
    (0.74, -0.20),
    (0.78, -0.16),
    (1.08, -0.035),
    (1.195, 0.0),
    (1.205, 0.014),
    (1.19, 0.024),
    (1.06, 0.0),
    (0.82, -0.09),
    (0.74, -0.13),
    (0, -0.14),
]
CUP = [
    (0, -0.52),
    (0.34, -0.52),
    (0.38, -0.48),
    (0.54, -0.34),
    (0.63, -0.02),
    (0.625, 0.014),
    (0.60, 0.014),
    (0.585, -0.02),
    (0.50, -0.30),
    (0.30, -0.42),
    (0, -0.43),
]
FEET = {
    "bowl": -0.70,
    "deep": -0.98,
    "claypot": -0.74,
    "hotpot": -0.66,
    "plate": -0.20,
    "cup": -0.52,
    "steamer": -0.42,
    "pan": -0.30,
    "board": -0.14,
}
"""Height of the table under each."""


def _turned(profile: list[tuple[float, float]], colour: str) -> Mesh:
    body = COLOURS.get(colour, COLOURS["white"])
    return revolve(profile, rgb(body), around=160, fine=220).of("glaze")


def _banded(mesh: Mesh, colour: str, where: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Mesh:
    if colour not in RIMS:
        return mesh
    x, y, z = mesh.vertices.T
    return replace(mesh, colours=mix(mesh.colours, rgb(RIMS[colour]), where(np.hypot(x, y), z)))


def _between(value: np.ndarray, low: float, high: float) -> np.ndarray:
    return step(value, low - 0.006, low + 0.006) * step(value, high + 0.006, high - 0.006)


def bowl(colour: str) -> list[Mesh]:
    bands = lambda far, z: np.maximum(_between(z, -0.115, -0.045), _between(z, -0.165, -0.15))  # noqa: E731
    if colour == "wood":
        return [_grain(revolve(BOWL, rgb("a5713f"), 160, 220))]
    return [_banded(_turned(BOWL, colour), colour, bands)]


def deep(colour: str) -> list[Mesh]:
    bands = lambda far, z: np.maximum(_between(z, -0.10, -0.03), _between(z, -0.42, -0.36))  # noqa: E731
    return [_banded(_turned(DEEP, colour), colour, bands)]


def plate(colour: str) -> list[Mesh]:
    bands = lambda far, z: np.maximum(_between(far, 1.10, 1.17), _between(far, 1.05, 1.065))  # noqa: E731
    return [_banded(_turned(PLATE, colour), colour, bands)]


def cup(colour: str) -> list[Mesh]:
    bands = lambda far, z: _between(z, -0.10, -0.03)  # noqa: E731
    t = np.linspace(-1.35, 1.35, 40)
    ear = np.stack([0.56 + 0.24 * np.cos(t), 0 * t, -0.20 + 0.16 * np.sin(t)], 1)
    handle = tube(ear, 0.045, rgb(COLOURS.get(colour, COLOURS["white"])), 14).turned(-0.35)
    return [_banded(_turned(CUP, colour), colour, bands), handle.of("glaze")]


def claypot(colour: str) -> list[Mesh]:
    outside = rgb("7a4526" if colour == "brown" else "2e2826")
    pot = revolve(POT, outside, 160, 220)
    far, z = np.hypot(*pot.vertices.T[:2]), pot.vertices[:, 2]
    rough = 0.5 + 0.5 * noise(pot.vertices * np.array([6, 6, 18]), 3, 3)
    inside = step(far, 1.06, 1.0) * step(z, -0.6, -0.2)
    colours = mix(
        mix(outside * 0.75, outside * 1.3, rough), rgb("4a2a18" if colour == "brown" else "1c1816"), 0.6 * inside
    )
    ears = []
    for side in (-1, 1):
        t = np.linspace(-1.2, 1.2, 24)
        ears.append(
            tube(np.stack([side * (1.04 + 0.20 * np.cos(t)), 0.24 * np.sin(t), -0.10 + 0 * t], 1), 0.062, outside, 14)
        )
    return [replace(pot, colours=colours, material="waxy"), merge(ears).of("waxy")]


def hotpot(colour: str) -> list[Mesh]:
    ears = []
    for side in (-1, 1):
        t = np.linspace(-1.3, 1.3, 24)
        ears.append(
            tube(
                np.stack([side * (1.03 + 0.21 * np.cos(t)), 0.25 * np.sin(t), -0.08 + 0 * t], 1),
                0.034,
                rgb("b9b9bb"),
                12,
            )
        )
    return [revolve(STEEL, rgb("9a9b9d"), 160, 220).of("steel"), merge(ears).of("steel")]


def steamer(colour: str) -> list[Mesh]:
    """A bamboo basket: a hoop of two bands about a floor of slats."""
    straw = rgb("d3a862")
    wall = revolve(
        [(1.0, -0.42), (1.10, -0.42), (1.11, -0.02), (1.10, 0.02), (1.02, 0.02), (1.005, -0.02), (1.0, -0.24)],
        straw,
        200,
        160,
    )
    angle = np.arctan2(wall.vertices[:, 1], wall.vertices[:, 0])
    z = wall.vertices[:, 2]
    seam = np.maximum(step(np.abs(z + 0.20), 0.016, 0.006), step(np.abs(np.sin(angle * 2)), 0.02, 0.005) * (z > -0.2))
    tint = noise(np.stack([angle * 14, z * 30, 0 * z], -1), 5, 2)
    wall = replace(wall, colours=mix(mix(straw * 0.85, straw * 1.15, 0.5 + 0.5 * tint), rgb("7a5526"), seam))
    parts = [wall]
    for k in range(11):
        x = -0.95 + 0.19 * k
        half = np.sqrt(max(0.02, 1.0 - x * x))
        slat = box((0.078, half, 0.016), straw * (0.92 + 0.12 * (k % 2)), 0.012, 24)
        parts.append(slat.moved(x, 0, -0.20))
    below = slab(1.0, 0.02, rgb("5a3e1e")).moved(0, 0, -0.30)
    return [merge([*parts, below]).of("wood")]


def pan(colour: str) -> list[Mesh]:
    """A sizzling plate of black iron on a wooden tray."""
    iron = revolve(
        [
            (0, -0.20),
            (0.86, -0.20),
            (1.02, -0.06),
            (1.10, 0.0),
            (1.10, 0.02),
            (1.07, 0.02),
            (0.98, -0.05),
            (0.84, -0.145),
            (0, -0.15),
        ],
        rgb("2b2b2e"),
        160,
        160,
    )
    ears = [
        box((0.11, 0.17, 0.025), rgb("2b2b2e"), 0.02, 14).moved(side * 1.16, 0, -0.01).of("iron") for side in (-1, 1)
    ]
    tray = slab(lambda a: 1.12 * (1 + 0.07 * np.cos(2 * a)), 0.10, rgb("8a5a2e"), 0.03).moved(0, 0, -0.25)
    return [iron.of("iron"), *ears, _grain(tray)]


def board(colour: str) -> list[Mesh]:
    plank = box((1.12, 0.98, 0.07), rgb("b98246"), 0.05, 90).moved(0, 0, -0.07)
    return [_grain(plank)]


def _grain(mesh: Mesh, light: float = 1.3, dark: float = 0.72) -> Mesh:
    rings = noise(mesh.vertices * np.array([1.2, 9, 9]), 5, 3)
    line = 0.5 + 0.5 * np.sin(14 * rings + 6 * mesh.vertices[:, 1])
    return replace(mesh, colours=mix(mesh.colours * dark, mesh.colours * light, 0.35 + 0.4 * line), material="wood")


VESSELS: dict[str, tuple[Callable[[str], list[Mesh]], tuple[str, ...]]] = {
    "bowl": (bowl, (*GLAZED, "wood")), "deep": (deep, GLAZED), "plate": (plate, GLAZED), "cup": (cup, GLAZED),
    "claypot": (claypot, ("brown", "black")), "hotpot": (hotpot, ("steel",)), "steamer": (steamer, ("bamboo",)),
    "pan": (pan, ("iron",)), "board": (board, ("wood",)),
}  # fmt: skip


def chopsticks(random: Random) -> list[Mesh]:
    """A pair on its rest, along the lower edge of the picture."""
    rest = box((0.07, 0.15, 0.035), rgb("f1efe8"), 0.03, 14).moved(-0.55, -1.40, 0.035).of("glaze")
    sticks = []
    for k in range(2):
        u = np.linspace(0, 1, 60)
        path = np.stack([-0.85 + 1.9 * u, -1.45 + 0.09 * k + (0.06 + 0.03 * k) * u, 0.10 - 0.03 * u], 1)
        colours = (
            mix(rgb("3a140c"), rgb("b3241a"), step(u, 0.62, 0.64))
            if random.random() < 0.5
            else mix(rgb("c08a4c"), rgb("8a5a2c"), u)
        )
        sticks.append(tube(path, 0.022 + 0.016 * u, colours, 14))
    return [rest, merge(sticks).of("glaze")]


def napkin(random: Random) -> list[Mesh]:
    """A folded cloth that looks out from under the vessel on the left."""
    colour, stripe = [("e8e0cf", "b04a3a"), ("8fa3b4", "f0ece2"), ("c9b48f", "f4eede")][random.integers(3)]
    u, v = np.meshgrid(np.linspace(-1, 1, 110), np.linspace(-1, 1, 110), indexing="ij")
    fold = 0.018 * noise(np.stack([u * 2, v * 2, 0 * u], -1), int(random.integers(999)), 3)
    weave = 0.004 * np.sin(u * 210) * np.sin(v * 210)
    points = np.stack([0.55 * u, 0.95 * v, 0.05 + fold + weave - 0.03 * np.maximum(np.abs(u), np.abs(v)) ** 8], -1)
    band = np.maximum(_between(np.abs(u), 0.80, 0.86), _between(np.abs(u), 0.70, 0.73))
    return [sheet(points, mix(rgb(colour), rgb(stripe), band)).turned(-0.30).moved(-1.02, -0.62).of("cloth")]


def table(kind: str) -> list[Mesh]:
    count = 420
    x, y = np.meshgrid(np.linspace(-2.2, 2.2, count), np.linspace(-2.6, 2.6, count), indexing="ij")
    height, colours, material = TABLES[kind](x, y)
    return [sheet(np.stack([x, y, height], -1), colours).of(material)]


def _planks(dark: str, light: str, seed: int) -> Callable[..., tuple[np.ndarray, np.ndarray, str]]:
    def paint(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, str]:
        plank = np.floor(y / 0.9 + 100.4)
        place = np.stack([x * 0.7 + np.sin(plank * 12.9) * 3, y * 9, plank * 3.1], -1)
        coarse, fine = noise(place, seed, 4), noise(place * np.array([3, 6, 1]), seed + 5, 2)
        ring = 0.5 + 0.5 * np.sin(8 * coarse + 2 * y)
        share = 0.30 * ring + 0.35 * (coarse * 0.5 + 0.5) + 0.25 * (fine * 0.5 + 0.5) + 0.10 * np.sin(plank * 7)
        gap = np.abs(y / 0.9 + 0.4 - np.round(y / 0.9 + 0.4)) * 0.9
        colours = mix(rgb(dark), rgb(light), share) * (0.3 + 0.7 * step(gap, 0.0, 0.022))[..., None]
        return 0.004 * fine - 0.02 * step(gap, 0.02, 0), colours, "wood"

    return paint


def _stone(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, str]:
    place = np.stack([x, y, 0 * x], -1)
    cloud, speck = noise(place * 0.8, 5, 3), noise(place * 30, 8, 1)
    colours = mix(rgb("e9e5dd"), rgb("d6d1c8"), 0.5 + 0.5 * cloud)
    return 0 * x, mix(colours, rgb("a8a196"), 0.5 * step(speck, 0.55, 0.75)), "waxy"


def _slate(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, str]:
    place = np.stack([x * 3, y * 3, 0 * x], -1)
    grain = noise(place, 4, 4)
    return 0.02 * grain, mix(rgb("4a4d50"), rgb("75787a"), 0.5 + 0.5 * grain), "matte"


def _cloth(base: str, other: str, check: float) -> Callable[..., tuple[np.ndarray, np.ndarray, str]]:
    def paint(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, str]:
        weave = np.sin(x * 130) * np.sin(y * 130)
        fold = noise(np.stack([x * 0.9 + 0.4 * y, y * 0.7, 0 * x], -1), 6, 3)
        lines = 0.5 * (np.sin(x * np.pi / 0.34) > check) + 0.5 * (np.sin(y * np.pi / 0.34) > check)
        colours = mix(mix(rgb(base), rgb(other), lines), rgb(base) * 0.8, 0.12 * weave + 0.1)
        return 0.025 * fold + 0.002 * weave, colours, "cloth"

    return paint


def _mat(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, str]:
    """A mat of bamboo sticks, sewn across."""
    stick = np.floor(y / 0.075)
    tint = noise(np.stack([x * 1.5, stick * 7.1, 0 * x], -1), 9, 2)
    bow = np.abs(np.sin(np.pi * y / 0.075))
    thread = step(np.abs((x / 0.85) % 1 - 0.5), 0.012, 0.006)
    colours = mix(
        mix(rgb("b98e4e"), rgb("dcbb7e"), 0.5 + 0.5 * tint) * (0.55 + 0.45 * bow)[..., None], rgb("7a5a2c"), thread
    )
    return 0.03 * bow, colours, "wood"


TABLES = {
    "oak": _planks("7a5230", "c79a66", 5),
    "walnut": _planks("3a2416", "6d4a2e", 6),
    "pine": _planks("b58a58", "e6c696", 8),
    "stone": _stone,
    "slate": _slate,
    "linen": _cloth("e0d6c2", "cfc3aa", 0.97),
    "checked": _cloth("efe8da", "b7c4cc", 0.3),
    "mat": _mat,
}
