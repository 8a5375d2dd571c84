"""Drinks in their glasses."""

from __future__ import annotations

import fruit
import numpy as np
from layout import Random
from mesh import Mesh, blob, merge, mix, revolve, rgb, slab, step, tube


def _glass(profile: list[tuple[float, float]]) -> Mesh:
    """A wall of glass, its rim and foot a little whiter."""
    return revolve(profile, rgb("eef4f6"), 120, 120).of("glass")


def _rim(radius: float, height: float) -> Mesh:
    turn = np.linspace(0, 2 * np.pi, 160)
    path = np.stack([radius * np.cos(turn), radius * np.sin(turn), height + 0 * turn], 1)
    return tube(path, 0.014, rgb("e8f0f3"), 10, caps=False).of("glaze")


def _tumbler(low: float, high: float, height: float, liquid: np.ndarray, level: float) -> list[Mesh]:
    at = lambda z: low + (high - low) * z / height  # noqa: E731
    body = revolve([(0, 0.04), (at(0.05), 0.04), (at(level), level), (0, level)], liquid, 120, 160).of("jelly")
    return [body, _glass([(0, 0), (low + 0.02, 0), (high + 0.02, height)]), _rim(high + 0.015, height)]


def bubbletea(random: Random) -> list[Mesh]:
    tea = _tumbler(0.27, 0.37, 0.95, rgb("d2a87c"), 0.84)
    z = tea[0].vertices[:, 2]
    shade = mix(rgb("c28f5e"), rgb("e3c29c"), step(z, 0.2, 0.8))
    tea[0] = Mesh(tea[0].vertices, tea[0].faces, shade, "soft")
    pearls = []
    for ring in range(3):
        for k in range(15):
            turn = 2 * np.pi * (k + 0.5 * (ring % 2)) / 15 + random.normal(0, 0.06)
            high = 0.07 + 0.085 * ring
            far = 0.27 + 0.105 * high
            pearls.append(
                blob((0.05,) * 3, rgb("24120c"), detail=14).moved(far * np.cos(turn), far * np.sin(turn), high)
            )
    for x, y in ((0.08, 0.05), (-0.12, -0.08), (0.02, -0.17), (-0.05, 0.18), (0.2, -0.05)):
        pearls.append(blob((0.05, 0.05, 0.03), rgb("2c160e"), detail=14).moved(x, y, 0.845))
    straw = tube(np.array([[0.02, 0.05, 0.5], [0.14, 0.16, 1.35]]), 0.055, rgb("d8304a"), 20).of("waxy")
    return [*tea, merge(pearls).of("glaze"), straw]


def juice(random: Random) -> list[Mesh]:
    slice_ = [part.turned(0, 0, 1.1).moved(0.36, 0.02, 0.86) for part in fruit.orange_slice()]
    straw = tube(np.array([[0.0, 0.05, 0.4], [-0.18, 0.15, 1.2]]), 0.035, rgb("f4f1e6"), 16).of("waxy")
    return [*_tumbler(0.29, 0.35, 0.85, rgb("f29a1c"), 0.74), *slice_, straw]


def wine(random: Random) -> list[Mesh]:
    bowl = [(0.0, 0.52), (0.12, 0.54), (0.30, 0.70), (0.36, 0.88), (0.30, 1.14)]
    drink = revolve([(0, 0.53), (0.115, 0.55), (0.285, 0.70), (0.345, 0.88), (0, 0.88)], rgb("6d0f24"), 120, 120).of(
        "jelly"
    )
    foot = revolve(
        [(0.32, 0.0), (0.32, 0.02), (0.06, 0.05), (0.026, 0.12), (0.026, 0.46), (0.06, 0.53)], rgb("e6eef2"), 80, 100
    )
    return [drink, _glass(bowl), _rim(0.30, 1.14), foot.of("glass"), _rim(0.32, 0.012)]


def beer(random: Random) -> list[Mesh]:
    mug = _tumbler(0.33, 0.36, 0.88, rgb("eaa41c"), 0.76)
    foam = []
    for _ in range(90):
        far, angle = 0.31 * np.sqrt(random.uniform()), random.uniform(0, 6.3)
        size = random.uniform(0.05, 0.085)
        foam.append(
            blob((size,) * 3, rgb("fffaf0"), detail=12).moved(
                far * np.cos(angle), far * np.sin(angle), 0.82 + 0.08 * (1 - (far / 0.31) ** 2)
            )
        )
    t = np.linspace(-1.35, 1.35, 40)
    ear = tube(np.stack([0.33 + 0.27 * np.cos(t), 0 * t, 0.45 + 0.27 * np.sin(t)], 1), 0.05, rgb("f0e2bc"), 16).turned(
        -0.4
    )
    return [*mug, merge(foam).of("soft"), ear.of("glaze")]


def liquor(random: Random) -> list[Mesh]:
    """A white bottle with a red label and two small cups."""
    bottle = revolve(
        [
            (0, 0),
            (0.19, 0),
            (0.215, 0.05),
            (0.215, 0.50),
            (0.16, 0.62),
            (0.065, 0.70),
            (0.06, 0.84),
            (0.078, 0.86),
            (0.07, 0.90),
            (0, 0.90),
        ],
        rgb("f1efe8"),
        120,
        160,
    )
    z = bottle.vertices[:, 2]
    label = step(z, 0.13, 0.14) * step(z, 0.45, 0.44)
    colours = mix(mix(bottle.colours, rgb("b9221c"), label), rgb("c99a2c"), step(z, 0.80, 0.81))
    stand = Mesh(bottle.vertices, bottle.faces, colours, "glaze").moved(-0.16, 0.22)
    cups = []
    for x, y in ((0.20, -0.10), (-0.14, -0.30)):
        wall = revolve(
            [(0, 0), (0.07, 0), (0.145, 0.17), (0.135, 0.172), (0.07, 0.05), (0, 0.04)], rgb("f4f2ec"), 80, 90
        )
        drink = slab(0.118, 0.01, rgb("dfe6e2"), 0.002).moved(0, 0, 0.135)
        cups += [wall.moved(x, y).of("glaze"), drink.moved(x, y).of("liquid")]
    return [stand, *cups]


def cocktail(random: Random) -> list[Mesh]:
    drink = revolve([(0, 0.47), (0.36, 0.80), (0, 0.80)], rgb("e8506a"), 120, 100)
    fade = mix(rgb("d8264c"), rgb("f6a13c"), step(drink.vertices[:, 2], 0.74, 0.55))
    stem = revolve(
        [(0.29, 0.0), (0.29, 0.02), (0.05, 0.04), (0.024, 0.12), (0.024, 0.42), (0.05, 0.47)], rgb("e6eef2"), 80, 100
    )
    slice_ = [part.turned(0, 0, 1.0).turned(-0.5).moved(0.34, 0.05, 0.88) for part in fruit.lemon_slice()]
    cherry = blob((0.055,) * 3, rgb("a8101c"), detail=20).moved(-0.08, -0.05, 0.80).of("glaze")
    liquid = Mesh(drink.vertices, drink.faces, fade, "jelly")
    return [
        liquid,
        _glass([(0, 0.45), (0.42, 0.86)]),
        _rim(0.42, 0.86),
        stem.of("glass"),
        _rim(0.29, 0.012),
        *slice_,
        cherry,
    ]


MODELS = {
    "bubbletea": bubbletea, "juice": juice, "wine": wine, "beer": beer, "liquor": liquor, "cocktail": cocktail,
}  # fmt: skip
