"""Meat: slices with fibre and fat, rolls, ribs, drumsticks, sausages, balls."""

from __future__ import annotations

import numpy as np
from layout import FIVE, Random, lay, seed_of
from mesh import Mesh, blob, box, merge, mix, noise, revolve, rgb, rind, sheet, slab, step, tube


def _slice(random: Random, dark: str, light: str, fat: str, size: tuple[float, float, float]) -> Mesh:
    """A slice along x with fibres across, veins of fat and a bend."""
    seed = seed_of(random)
    piece = blob(size, rgb(dark), (0.45, 0.75), detail=64)
    v = piece.vertices
    coarse = noise(v * 7, seed, 3)
    fibre = noise(v * np.array([5, 34, 10]), seed + 3, 2)
    vein = np.abs(noise(v * np.array([3.5, 9, 3]), seed + 9, 3))
    bent = v + 0.016 * coarse[:, None] * np.array([1, 1, 0.5])
    bent[:, 2] += 0.006 * fibre + 0.06 * (v[:, 0] / size[0]) ** 2 * random.uniform(-0.2, 0.8)
    colours = mix(rgb(dark), rgb(light), 0.5 + 0.4 * fibre + 0.25 * coarse)
    colours = mix(colours, rgb(fat), 0.75 * step(vein, 0.09, 0.03))
    return Mesh(bent, piece.faces, colours, "wet")


def _fan(random: Random, pieces: list[Mesh], lean: float = -0.45) -> list[Mesh]:
    """Slices that lean on one another from left to right."""
    middle = (len(pieces) - 1) / 2
    placed = []
    for at, piece in enumerate(pieces):
        yaw = 1.25 + 0.14 * (at - middle) + random.normal(0, 0.05)
        turned = piece.turned(yaw, random.normal(0, 0.05), lean)
        placed.append(turned.moved(0.125 * (at - middle), -0.035 * (at - middle), 0.13 + 0.004 * at))
    return [merge(placed)]


def beef(random: Random) -> list[Mesh]:
    return _fan(random, [_slice(random, "572a18", "9a5836", "cf9c6c", (0.27, 0.165, 0.034)) for _ in range(5)])


def pork(random: Random) -> list[Mesh]:
    """Pale slices with a rim of white fat."""
    pieces = []
    for _ in range(5):
        piece = _slice(random, "bd8468", "e0b295", "f2dcc8", (0.26, 0.15, 0.030))
        rim = step(piece.vertices[:, 1], 0.075, 0.105)
        pieces.append(Mesh(piece.vertices, piece.faces, mix(piece.colours, rgb("f7ecdd"), rim), "wet"))
    return _fan(random, pieces)


def belly(random: Random) -> list[Mesh]:
    """Cubes of braised pork belly: skin above, then fat and lean by turns."""

    def cube(random: Random) -> list[Mesh]:
        piece = box((0.14, 0.125, 0.12), rgb("7a2b12"), 0.03).rough(0.006, 14, seed_of(random))
        depth = piece.vertices[:, 2] + 0.008 * noise(piece.vertices * 9, int(random.integers(999)), 2)
        colours = piece.colours
        for low, colour in ((0.085, "f3d9b4"), (0.035, "8a3a1c"), (-0.012, "f0d4ae"), (-0.05, "85371a")):
            colours = mix(colours, rgb(colour), step(depth, low + 0.006, low - 0.006))
        return [Mesh(piece.vertices, piece.faces, colours, "wet").turned(0, 0, -0.55)]

    return lay(random, FIVE, cube, 0.15, turn=-0.35, tilt=0.06)


def lamb(random: Random) -> list[Mesh]:
    """Thin slices rolled up, red with white fat."""

    def roll(random: Random) -> list[Mesh]:
        seed = seed_of(random)
        turn = np.linspace(0, 2 * np.pi * 1.7, 90)[:, None] + np.zeros((1, 44))
        far = 0.028 + 0.0095 * turn
        length = np.linspace(-0.17, 0.17, 44)[None] + 0 * turn
        ruffle = 0.010 * noise(np.stack([turn * 1.2, length * 9, 0 * turn], -1), seed, 2)
        y, z = (far + ruffle) * np.cos(turn), (far + ruffle) * np.sin(turn)
        points = np.stack([length + 0.03 * np.sin(turn * 1.5), y, z], -1)
        band = noise(np.stack([turn * 0.35, length * 11, 0 * turn], -1), seed, 3)
        colours = mix(rgb("b8574c"), rgb("f6e0d6"), step(band, -0.02, 0.22))
        return [sheet(points, colours)]

    return lay(random, FIVE, roll, 0.14, turn=0.55, tilt=0.08)


def ribs(random: Random) -> list[Mesh]:
    """Short ribs: a glazed block of meat on a flat bone that stands out at both ends."""

    def rib(random: Random) -> list[Mesh]:
        meat = box((0.155, 0.10, 0.085), rgb("8a3a18"), 0.06).rough(0.026, 8, seed_of(random), 3)
        meat = meat.mottled(rgb("c4703a"), 7, seed_of(random), -0.1, 0.6).of("wet")
        u = np.linspace(-1, 1, 30)
        path = np.stack([0.215 * u, 0 * u, 0.02 * np.cos(1.5 * u)], 1)
        end = mix(rgb("efe0c4"), rgb("b88a64"), step(np.abs(u), 0.84, 0.74))
        bone = tube(path, 0.047 + 0.006 * u**4, end, 16, caps=False).scaled(1, 1, 0.75)
        marrow = [
            slab(0.05, 0.01, rind(rgb("a5492f"), "efe0c4", 0.3)).turned(0, np.pi / 2, 0).scaled(1, 1, 0.75)
            for _ in (0, 1)
        ]
        return [
            meat,
            merge([bone, *(face.moved(0.215 * side, 0, 0.001) for face, side in zip(marrow, (-1, 1), strict=True))]),
        ]

    spots = ((-0.06, 0.22), (0.12, 0.05), (-0.13, -0.05), (0.05, -0.21))
    return lay(random, spots, rib, 0.09, turn=0.5, tilt=0.08)


def ham(random: Random) -> list[Mesh]:
    """Sausage, cut askew: red-pink faces with specks of fat, a darker skin."""

    def coin(random: Random) -> list[Mesh]:
        seed = seed_of(random)

        def paint(share: np.ndarray, angle: np.ndarray, side: np.ndarray) -> np.ndarray:
            spot = noise(np.stack([share * np.cos(angle) * 6, share * np.sin(angle) * 6, 0 * share], -1), seed, 2)
            face = mix(rgb("d0685a"), rgb("f4cdbd"), step(spot, 0.24, 0.40))
            return mix(face, rgb("8f2a1c"), np.maximum(side < 1, step(share, 0.90, 0.97)))

        return [slab(lambda a: 0.115 + 0.035 * np.cos(2 * a), 0.06, paint, 0.014).of("wet")]

    placed = []
    for row, (y, count) in enumerate(((0.17, 4), (-0.06, 4), (-0.24, 3))):
        for at in range(count):
            piece = coin(random)[0].turned(1.3 + random.normal(0, 0.1), 0, 0).turned(0, -0.38, 0)
            placed.append(piece.moved(0.155 * (at - (count - 1) / 2) + 0.03 * row, y, 0.085))
    return [merge(placed)]


def chicken(random: Random) -> list[Mesh]:
    """Drumsticks: a golden brown club with a bone end."""

    def drumstick(random: Random) -> list[Mesh]:
        profile = [
            (0, -0.24),
            (0.09, -0.22),
            (0.135, -0.13),
            (0.12, -0.02),
            (0.07, 0.08),
            (0.045, 0.15),
            (0.04, 0.19),
            (0, 0.195),
        ]
        skin = revolve(profile, rgb("c26f26")).rough(0.012, 11, seed_of(random), 3)
        skin = skin.mottled(rgb("7d3a10"), 6, seed_of(random), 0.0, 0.7).of("wet")
        bone = tube(np.linspace([0, 0, 0.16], [0, 0, 0.28], 8), 0.026, rgb("f1e4cb"))
        knobs = [blob((0.038, 0.03, 0.03), rgb("f3e8d2"), detail=16).moved(x, 0, 0.29) for x in (-0.024, 0.024)]
        return [part.turned(0, np.pi / 2 + 0.1, 0) for part in (skin, merge([bone, *knobs]))]

    placed = []
    for x, y, turn in ((-0.09, 0.17, 0.5), (0.06, -0.06, 0.2), (-0.05, -0.26, -0.1)):
        yaw = turn + random.normal(0, 0.12)
        placed += [part.turned(yaw).moved(x, y, 0.125) for part in drumstick(random)]
    return placed


def duck(random: Random) -> list[Mesh]:
    """Roast duck: slices of pale meat, each under crisp dark red skin."""
    placed = []
    for at in range(6):
        piece = blob((0.24, 0.055, 0.10), rgb("c99a74"), (0.35, 0.4), detail=56)
        piece = piece.rough(0.010, (6, 20, 20), seed_of(random), 2)
        z = piece.vertices[:, 2] + 0.006 * noise(piece.vertices * 12, at, 2)
        colours = mix(piece.colours, rgb("efdcc0"), step(z, 0.035, 0.048))
        colours = mix(colours, rgb("8c2f0e"), step(z, 0.062, 0.070))
        glow = noise(piece.vertices * 8, at + 20, 2)
        colours = mix(colours, rgb("c05a1c"), 0.6 * step(z, 0.062, 0.070) * step(glow, -0.1, 0.6))
        slice_ = Mesh(piece.vertices, piece.faces, colours, "wet").turned(0, random.normal(0, 0.04), -0.35)
        placed.append(
            slice_.turned(-0.18 + random.normal(0, 0.05)).moved(random.normal(0, 0.012), 0.27 - 0.105 * at, 0.11)
        )
    return [merge(placed)]


def meatball(random: Random) -> list[Mesh]:
    def ball(random: Random) -> list[Mesh]:
        ball = blob((0.148, 0.148, 0.138), rgb("8a4a26"), detail=56).rough(0.016, 13, seed_of(random), 3)
        return [ball.mottled(rgb("5c2812"), 8, seed_of(random), 0.0, 0.7).of("wet")]

    return lay(random, FIVE, ball, 0.13)


def fishball(random: Random) -> list[Mesh]:
    def ball(random: Random) -> list[Mesh]:
        ball = blob((0.135, 0.135, 0.128), rgb("f3efe4"), detail=48).rough(0.004, 12, seed_of(random))
        return [ball.mottled(rgb("e2d8c2"), 6, seed_of(random), 0.1, 0.8).of("wet")]

    return lay(random, FIVE, ball, 0.125)


MODELS = {
    "beef": beef, "pork": pork, "belly": belly, "lamb": lamb, "ribs": ribs, "ham": ham, "chicken": chicken,
    "duck": duck, "meatball": meatball, "fishball": fishball,
}  # fmt: skip
