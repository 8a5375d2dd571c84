"""Fruit, nuts, and what is sweet or eaten with it."""

from __future__ import annotations

import numpy as np
from layout import FIVE, FOUR, THREE, Random, heap, lay, seed_of
from mesh import Mesh, Paint, blob, flat, merge, mix, noise, polygon, revolve, rgb, rind, sheet, slab, step, tube


def leaf(length: float = 0.16, width: float = 0.055, colour: str = "3f7d2a") -> Mesh:
    t = np.linspace(0, 1, 24)[:, None] + np.zeros((1, 12))
    s = np.linspace(-1, 1, 12)[None] + 0 * t
    wide = width * np.sin(np.pi * t) ** 0.8
    points = np.stack([length * t, s * wide, 0.03 * np.sin(np.pi * t) + 0.25 * np.abs(s) * wide], -1)
    return sheet(points, mix(rgb(colour), rgb("8fbf5a"), step(np.abs(s), 0.2, 0.05)))


def _stem(height: float, lean: float = 0.03, colour: str = "6b4a26", radius: float = 0.011) -> Mesh:
    t = np.linspace(0, 1, 8)
    return tube(np.stack([lean * t**2, 0 * t, height * t], 1), radius, rgb(colour), 8)


def apple(random: Random) -> list[Mesh]:
    def whole(random: Random) -> list[Mesh]:
        seed = seed_of(random)

        def paint(along: np.ndarray, angle: np.ndarray, high: np.ndarray) -> np.ndarray:
            streak = noise(np.stack([np.cos(angle) * 7, np.sin(angle) * 7, high * 2], -1), seed, 3)
            colours = mix(rgb("b3131a"), rgb("e0493a"), 0.5 + 0.6 * streak)
            return mix(colours, rgb("e9c75a"), step(along, 0.86, 0.97) * (0.8 + 0.2 * streak))

        profile = [
            (0, -0.15),
            (0.06, -0.165),
            (0.15, -0.11),
            (0.20, 0.02),
            (0.185, 0.12),
            (0.11, 0.175),
            (0.04, 0.15),
            (0, 0.11),
        ]
        green = leaf().turned(random.uniform(0, 6.3)).moved(0, 0, 0.18)
        return [revolve(profile, paint).of("glaze"), merge([_stem(0.13).moved(0, 0, 0.10), green])]

    return lay(random, ((-0.20, 0.08), (0.19, 0.12), (0.05, -0.17)), whole, 0.17, tilt=0.2)


def pear(random: Random) -> list[Mesh]:
    def whole(random: Random) -> list[Mesh]:
        seed = seed_of(random)

        def paint(along: np.ndarray, angle: np.ndarray, high: np.ndarray) -> np.ndarray:
            speck = noise(np.stack([np.cos(angle) * 14, np.sin(angle) * 14, high * 60], -1), seed, 1)
            return mix(
                mix(rgb("cdc24a"), rgb("a9b83c"), step(high, -0.05, 0.2)), rgb("8a7a2c"), 0.6 * step(speck, 0.55, 0.75)
            )

        profile = [
            (0, -0.19),
            (0.08, -0.19),
            (0.165, -0.11),
            (0.165, -0.02),
            (0.10, 0.10),
            (0.068, 0.19),
            (0.05, 0.235),
            (0, 0.23),
        ]
        parts = [revolve(profile, paint).of("soft"), _stem(0.12).moved(0, 0, 0.22)]
        return [part.turned(0, 1.15, 0) for part in parts]

    return lay(random, ((-0.03, 0.20), (-0.07, -0.02), (0.02, -0.23)), whole, 0.165, turn=0.45, tilt=0.08)


def peach(random: Random) -> list[Mesh]:
    def whole(random: Random) -> list[Mesh]:
        ball = blob((0.18, 0.18, 0.17), rgb("f3b36a"), detail=56)
        v = ball.vertices
        crease = np.exp(-((v[:, 0] / 0.02) ** 2)) * (v[:, 1] < 0.05)
        points = v * (1 - 0.09 * crease)[:, None] + 0.05 * step(v[:, 2], 0.1, 0.18)[:, None] * [0, -0.3, 0]
        blush = step(noise(v * 5, seed_of(random), 2) + 0.6 * v[:, 2] / 0.17, -0.3, 0.8)
        colours = mix(mix(rgb("f6c479"), rgb("e4576a"), blush), rgb("b83248"), 0.6 * crease)
        green = leaf(0.22, 0.06).turned(random.uniform(-0.5, 0.8)).moved(0.02, 0.06, 0.15)
        return [Mesh(points, ball.faces, colours, "matte"), green.of("leaf")]

    return lay(random, THREE, whole, 0.17, turn=0.2, tilt=0.15)


def _segments(flesh: str, pith: str, count: int) -> Paint:
    def paint(share: np.ndarray, angle: np.ndarray, side: np.ndarray) -> np.ndarray:
        wall = step(np.abs(np.sin(count * angle / 2)) * share, 0.075, 0.035)
        grain = noise(np.stack([np.cos(angle) * 9, np.sin(angle) * 9, share * 5], -1), 3, 2)
        colours = mix(rgb(flesh) * 0.92, rgb(flesh) * 1.12, 0.5 + 0.6 * grain)
        return mix(colours, rgb(pith), np.maximum.reduce([wall, step(share, 0.10, 0.06), step(share, 0.86, 0.88)]))

    return paint


def _citrus(random: Random, flesh: str, skin: str, pith: str, long: float) -> list[Mesh]:
    """One whole and halves that show their segments."""
    pits = blob((0.17 * long, 0.165, 0.165), rgb(skin), detail=64).rough(0.004, 45, seed_of(random), 1)
    nipples = (
        [blob((0.04, 0.035, 0.035), rgb(skin), detail=16).moved(0.17 * long * side) for side in (-1, 1)]
        if long > 1.1
        else []
    )
    whole = merge([pits, *nipples]).of("waxy").turned(0.7, 0.2, 0).moved(-0.17, 0.15, 0.165)

    def half(random: Random) -> list[Mesh]:
        face = slab(0.165, 0.03, rind(_segments(flesh, pith, 10), skin, 0.035), 0.008)
        low = blob((0.165, 0.165, 0.12), rgb(skin), detail=36)
        points = low.vertices.copy()
        points[:, 2] = np.minimum(points[:, 2], 0)
        return [
            part.turned(0, random.normal(0, 0.1), 0.45)
            for part in (face.of("wet"), Mesh(points, low.faces, low.colours, "waxy"))
        ]

    return [whole, *lay(random, ((0.19, 0.09), (-0.04, -0.17)), half, 0.14, turn=0, tilt=0.05)]


def orange_slice() -> list[Mesh]:
    return [slab(0.16, 0.04, rind(_segments("f59a1e", "fbe2b4", 10), "ee7a12", 0.06), 0.008).of("wet")]


def lemon_slice() -> list[Mesh]:
    return [slab(0.15, 0.04, rind(_segments("f3df74", "fbf6dc", 10), "f2cf2a", 0.06), 0.008).of("wet")]


def orange(random: Random) -> list[Mesh]:
    return _citrus(random, "f59a1e", "ee7a12", "fbe2b4", 1.0)


def lemon(random: Random) -> list[Mesh]:
    return _citrus(random, "f3df74", "f2cf2a", "fbf6dc", 1.3)


def banana(random: Random) -> list[Mesh]:
    parts = []
    for at in range(3):
        t = np.linspace(-1, 1, 60)
        path = np.stack([0.36 * np.sin(1.05 * t), 0.30 * (1 - np.cos(1.05 * t)) - 0.08, 0 * t], 1)
        radius = 0.068 * np.clip((1 - np.abs(t) ** 5), 0.28, 1)
        colours = mix(rgb("f2cf3a"), rgb("b9b23c"), step(np.abs(t), 0.80, 0.97))
        colours = mix(colours, rgb("4a3418"), step(t, 0.965, 0.99) + step(t, -0.985, -1.0))
        one = tube(path, radius, colours, 6 * 3).rough(0.001, 20, seed_of(random))
        x, y, z = path[0]
        stalk = tube(np.array([[x, y, z], [x - 0.05, y + 0.07, z + 0.01]]), 0.020, rgb("9a8a2c"), 8)
        parts.append(
            merge([one, stalk]).turned(0.25, 0, 0.5 - 0.3 * at).moved(0, 0.10 - 0.125 * at, 0.075 + 0.012 * (2 - at))
        )
    return [merge(parts).of("waxy")]


def berry(random: Random) -> list[Mesh]:
    body = revolve(
        [(0, -0.17), (0.05, -0.15), (0.115, -0.03), (0.125, 0.06), (0.08, 0.12), (0, 0.12)], rgb("d11620"), 64
    )
    seeds = []
    for row, (high, far) in enumerate(((-0.11, 0.078), (-0.06, 0.106), (-0.01, 0.124), (0.04, 0.130), (0.085, 0.112))):
        for at in range(9):
            angle = (at + 0.5 * (row % 2)) * 2 * np.pi / 9
            seeds.append(
                blob((0.008, 0.007, 0.012), rgb("f1d27a"), detail=6).moved(
                    far * np.cos(angle), far * np.sin(angle), high
                )
            )
    leaves = [leaf(0.11, 0.03, "4f9a34").turned(k * 2 * np.pi / 7).moved(0, 0, 0.115) for k in range(7)]
    stem = _stem(0.09, 0.03, "6fae4a").moved(0, 0, 0.12)
    return [part.turned(0, 1.2, 0) for part in (body.of("glaze"), merge(seeds), merge([*leaves, stem]).of("leaf"))]


def strawberry(random: Random) -> list[Mesh]:
    return lay(
        random,
        ((-0.16, 0.19), (0.17, 0.19), (-0.22, -0.06), (0.05, -0.02), (0.20, -0.17), (-0.07, -0.24)),
        berry,
        0.12,
        tilt=0.15,
    )


def cherry(random: Random) -> list[Mesh]:
    def pair(random: Random) -> list[Mesh]:
        parts, stems = [], []
        for side in (-1, 1):
            profile = [(0, -0.10), (0.06, -0.095), (0.108, -0.01), (0.095, 0.07), (0.03, 0.085), (0, 0.07)]
            parts.append(revolve(profile, rgb("9c0f1c"), 48).moved(0.125 * side, -0.02 * side, 0))
            t = np.linspace(0, 1, 16)
            path = np.stack([0.125 * side * (1 - t**1.5), -0.02 * side + 0.26 * t, 0.07 + 0.10 * np.sin(t * 2.2)], 1)
            stems.append(tube(path, 0.011, rgb("5f7d2c"), 8))
        return [merge(parts).of("glaze"), merge(stems)]

    return lay(random, ((-0.17, 0.05), (0.19, 0.02), (0.0, -0.22)), pair, 0.10, turn=0.1, tilt=0.03)


def blueberry(random: Random) -> list[Mesh]:
    placed = []
    for x, y, z in heap(random, 58, 0.32, 0.17):
        ball = blob((0.072, 0.072, 0.066), mix(rgb("2c3a6e"), rgb("5266a0"), random.uniform()), detail=20)
        crown = [
            blob((0.016, 0.009, 0.008), rgb("2a3060"), detail=6)
            .moved(0.024)
            .turned(k * 2 * np.pi / 5)
            .moved(0, 0, 0.064)
            for k in range(5)
        ]
        middle = blob((0.02, 0.02, 0.006), rgb("161a38"), detail=8).moved(0, 0, 0.064)
        placed.append(merge([ball, *crown, middle]).turned(0, *random.normal(0, 0.6, 2)).moved(x, y, z + 0.065))
    return [merge(placed).of("soft")]


def grape(random: Random) -> list[Mesh]:
    placed = []
    for x, y, z in heap(random, 30, 0.30, 0.20):
        size = random.uniform(0.082, 0.095)
        placed.append(
            blob((size, size, size * 1.08), mix(rgb("4a1c5c"), rgb("7a3a86"), random.uniform()), detail=22).moved(
                x, y * 0.9 - 0.05 * abs(x), z + 0.085
            )
        )
    t = np.linspace(0, 1, 20)
    stem = tube(np.stack([0.02 * np.sin(4 * t), 0.20 + 0.24 * t, 0.22 - 0.05 * t], 1), 0.016, rgb("7a6a34"), 8)
    green = leaf(0.26, 0.13, "4c8a34").turned(0.5).moved(0.0, 0.27, 0.20)
    return [merge(placed).of("glaze"), merge([stem, green])]


def mango(random: Random) -> list[Mesh]:
    """Cheeks, cut into cubes that stand up."""

    def cheek(random: Random) -> list[Mesh]:
        t = np.linspace(-1, 1, 120)[:, None] + np.zeros((1, 120))
        s = np.linspace(-1, 1, 120)[None] + 0 * t
        inside = np.sqrt(np.clip(1 - t**2, 0, 1))
        x, y = 0.25 * t, 0.17 * s * inside
        cut = np.maximum(
            np.exp(-(((x / 0.095) % 1 - 0.5) ** 2) / 0.006), np.exp(-(((y / 0.085 + 0.5) % 1 - 0.5) ** 2) / 0.006)
        )
        z = 0.10 * (1 - t**2) * (1 - 0.6 * s**2) - 0.055 * cut * (np.hypot(t, s * inside) < 0.97)
        colours = mix(rgb("f8a81c"), rgb("c9700c"), 0.9 * cut)
        colours = mix(colours, rgb("d9a13a"), step(np.hypot(t, s * inside), 0.95, 0.99))
        skin = blob((0.25, 0.17, 0.07), rgb("d8772c"), detail=30)
        low = skin.vertices.copy()
        low[:, 2] = np.minimum(low[:, 2], 0)
        shade = mix(rgb("d9602c"), rgb("9aa83c"), step(low[:, 0], -0.15, 0.2))
        return [sheet(np.stack([x, y, z], -1), colours).of("wet"), Mesh(low, skin.faces, shade, "waxy")]

    return lay(random, ((-0.05, 0.20), (0.06, -0.01), (-0.04, -0.22)), cheek, 0.08, turn=0.4, tilt=0.12)


def pineapple(random: Random) -> list[Mesh]:
    def paint(share: np.ndarray, angle: np.ndarray, side: np.ndarray) -> np.ndarray:
        fibre = np.cos(26 * angle + 3 * noise(flat(share, angle, 5), 2))
        colours = mix(rgb("f3cb3c"), rgb("fae27c"), 0.5 + 0.4 * fibre)
        return mix(colours, rgb("dca62a"), np.maximum(step(share, 0.93, 0.99), step(share, 0.36, 0.31)))

    def ring(random: Random) -> list[Mesh]:
        scallop = lambda a: 0.205 * (1 + 0.025 * np.abs(np.sin(9 * a)))  # noqa: E731
        return [slab(scallop, 0.075, paint, 0.014, hole=0.27).of("wet")]

    return lay(random, FOUR, ring, 0.10, tilt=0.24)


def kiwi(random: Random) -> list[Mesh]:
    def flesh(share: np.ndarray, angle: np.ndarray, side: np.ndarray) -> np.ndarray:
        ray = 0.5 + 0.5 * np.cos(22 * angle)
        colours = mix(rgb("8cbf2c"), rgb("b6d95a"), ray * step(share, 0.95, 0.4))
        seeds = step(np.cos(22 * angle), 0.45, 0.75) * step(share, 0.36, 0.41) * step(share, 0.56, 0.50)
        return mix(mix(colours, rgb("16120c"), seeds), rgb("f1efc4"), step(share, 0.30, 0.24))

    def round_(random: Random) -> list[Mesh]:
        return [slab(lambda a: 0.165 + 0.012 * np.cos(2 * a), 0.055, rind(flesh, "7a5c32", 0.035), 0.010).of("wet")]

    return lay(random, FIVE, round_, 0.085, tilt=0.28)


def watermelon(random: Random) -> list[Mesh]:
    """Triangles: red with black seeds, white, then the green rind."""

    def wedge(random: Random) -> list[Mesh]:
        half = 0.62
        a = np.linspace(-half, half, 90)[:, None] + np.zeros((1, 90))
        t = np.linspace(0, 1, 90)[None] + 0 * a
        far = 0.46 * t
        x, y = far * np.sin(a), -far * np.cos(a) + 0.24
        colours = mix(rgb("e8303a"), rgb("f05a52"), 0.5 + 0.5 * noise(np.stack([x * 14, y * 14, 0 * x], -1), 3, 2))
        seeds = np.zeros_like(x)
        for row, count in ((0.38, 2), (0.56, 3), (0.72, 4)):
            for k in range(count):
                angle = half * (2 * (k + 0.5) / count - 1) * 0.85 + random.normal(0, 0.02)
                cx, cy = 0.46 * row * np.sin(angle), -0.46 * row * np.cos(angle) + 0.24
                seeds = np.maximum(seeds, step(np.hypot((x - cx) / 0.011, (y - cy) / 0.019), 1.1, 0.8))
        colours = mix(colours, rgb("1a1210"), seeds)
        colours = mix(mix(colours, rgb("f1f3d8"), step(t, 0.86, 0.895)), rgb("2d6b2a"), step(t, 0.935, 0.95))
        top = sheet(np.stack([x, y, 0.045 + 0 * x], -1), colours)
        low = sheet(np.stack([x, y, -0.045 + 0 * x], -1)[:, ::-1], colours[:, ::-1])
        z = np.linspace(0.045, -0.045, 12)[None] + np.zeros((90, 1))
        rim = sheet(np.stack([x[:, -1:] + 0 * z, y[:, -1:] + 0 * z, z], -1), rgb("2d6b2a"))
        sides = [
            sheet(
                np.stack([x[k][:, None] + 0 * z, y[k][:, None] + 0 * z, z], -1), colours[k][:, None] + 0 * z[..., None]
            )
            for k in (0, -1)
        ]
        return [merge([top, low, rim, *sides]).of("wet")]

    placed = []
    for x, y, turn in ((-0.13, 0.10, 0.45), (0.17, 0.06, -0.35), (-0.02, -0.14, 0.05)):
        placed += [part.turned(turn + random.normal(0, 0.08), 0, 0.30).moved(x, y, 0.12) for part in wedge(random)]
    return placed


def melon(random: Random) -> list[Mesh]:
    """Crescents of orange flesh with a netted rind."""
    placed = []
    for at in range(4):
        a = np.linspace(-1.15, 1.15, 70)[:, None] + np.zeros((1, 50))
        turn = np.linspace(0, 2 * np.pi, 50, endpoint=False)[None] + 0 * a
        taper = np.sqrt(np.clip(1 - (a / 1.2) ** 2, 0.01, 1))
        depth = np.where(np.cos(turn) > 0, 0.03, 0.115) * np.abs(np.cos(turn)) ** 0.8 * np.sign(np.cos(turn)) * taper
        width = 0.07 * np.sin(turn) * taper
        points = np.stack([0.30 * np.sin(a), -(0.27 + depth) * np.cos(a) + 0.18, width], -1)
        net = np.abs(noise(points * 34, 7, 2))
        colours = mix(rgb("f39a4a"), rgb("f8bc78"), 0.5 + 0.5 * np.cos(turn))
        skin = mix(rgb("b8b07a"), rgb("ece4bc"), step(net, 0.12, 0.04))
        colours = mix(mix(colours, rgb("cfd58a"), step(np.cos(turn), 0.05, 0.3)), skin, step(np.cos(turn), 0.35, 0.55))
        piece = sheet(points, colours, closed_columns=True).turned(0.15, 0, -0.25)
        placed.append(piece.moved(random.normal(0, 0.01), 0.20 - 0.15 * at, 0.12))
    return [merge(placed).of("wet")]


def coconut(random: Random) -> list[Mesh]:
    """Halves: a hairy brown shell, thick white flesh, hollow."""

    def half(random: Random) -> list[Mesh]:
        profile = [(0, -0.19), (0.10, -0.17), (0.20, -0.05), (0.215, 0.03), (0.205, 0.04)]
        shell = revolve(profile, rgb("5c3a20")).rough(0.008, (18, 18, 40), seed_of(random), 2).of("matte")
        inner = [(0.205, 0.042), (0.165, 0.042), (0.155, 0.03), (0.145, -0.02), (0.09, -0.10), (0, -0.12)]
        return [shell, revolve(inner, rgb("fbfaf4")).of("soft")]

    def chip(random: Random) -> list[Mesh]:
        shape = polygon([(-0.09, -0.03), (0.09, -0.04), (0.08, 0.05), (-0.08, 0.04)])
        return [slab(shape, 0.03, rind(rgb("fbfaf4"), "8a6242", 0.08)).of("soft")]

    placed = []
    for x, y in ((-0.19, 0.08), (0.20, -0.03)):
        placed += [part.turned(0, -0.1 * np.sign(x), 0.38).moved(x, y, 0.19) for part in half(random)]
    return placed + lay(random, ((0.0, -0.26), (-0.20, -0.23)), chip, 0.03)


def avocado(random: Random) -> list[Mesh]:
    def half(random: Random) -> list[Mesh]:
        outline = lambda a: 0.20 * (1 + 0.20 * np.cos(a) + 0.12 * np.cos(2 * a))  # noqa: E731
        flesh = lambda share, angle, side: mix(rgb("f2e88e"), rgb("9dbb4a"), step(share, 0.45, 0.93))  # noqa: E731
        face = slab(outline, 0.03, rind(flesh, "24381c", 0.04), 0.010)
        hull = blob((0.255, 0.185, 0.13), rgb("2c4222"), detail=30).rough(0.006, 30, seed_of(random)).moved(0.02)
        low = hull.vertices.copy()
        low[:, 2] = np.minimum(low[:, 2], 0)
        return [face.of("wet"), Mesh(low, hull.faces, hull.colours, "soft")]

    pit = [blob((0.082, 0.082, 0.07), rgb("7a4420"), detail=32).rough(0.003, 12, 3).moved(-0.03, 0, 0.025).of("glaze")]
    hole = [slab(0.08, 0.034, rgb("d9cf6a"), 0.004).moved(-0.03).of("wet")]
    placed = []
    for x, y, turn, more in ((-0.13, 0.14, 0.9, pit), (0.19, 0.0, 1.25, hole), (-0.13, -0.19, 0.3, pit)):
        placed += [
            part.turned(turn + random.normal(0, 0.1)).turned(0, 0, 0.25).moved(x, y, 0.14)
            for part in [*half(random), *more]
        ]
    return placed


MODELS = {
    "apple": apple,
    "pear": pear,
    "peach": peach,
    "orange": orange,
    "lemon": lemon,
    "banana": banana,
    "strawberry": strawberry,
    "cherry": cherry,
    "blueberry": blueberry,
    "grape": grape,
    "mango": mango,
    "pineapple": pineapple,
    "kiwi": kiwi,
    "watermelon": watermelon,
    "melon": melon,
    "coconut": coconut,
    "avocado": avocado,
}
