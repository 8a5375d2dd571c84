"""What is served by the piece or in a box: pizza, burgers, sushi, parcels, rolls, breads, dumplings and buns."""

from __future__ import annotations

import fruit
import meat
import numpy as np
import roots
import vegetables
from layout import SEVEN, THREE, Random, heap, lay, seed_of
from mesh import Mesh, blob, box, flat, merge, mix, noise, polygon, rgb, rind, sheet, slab, step, tube
from sweets import crumb


def pizza(random: Random) -> list[Mesh]:
    seed = seed_of(random)

    def paint(share: np.ndarray, angle: np.ndarray, side: np.ndarray) -> np.ndarray:
        spots = noise(flat(share, angle, 7), seed, 3)
        cheese = mix(rgb("f7cf62"), rgb("e0752c"), step(spots, 0.0, 0.6))
        cheese = mix(cheese, rgb("fdf0c0"), step(spots, -0.2, -0.6))
        return mix(mix(cheese, rgb("cf4a1c"), step(share, 0.80, 0.87)), rgb("d9a050"), step(share, 0.88, 0.92))

    base = slab(0.60, 0.05, paint, 0.02).moved(0, 0, 0.03)
    turn = np.linspace(0, 2 * np.pi, 200)
    crust = tube(
        np.stack([0.585 * np.cos(turn), 0.585 * np.sin(turn), 0.05 + 0 * turn], 1), 0.052, rgb("dba24f"), 16, caps=False
    )
    crust = crumb(crust, random, "9a5a20", 0.006)
    tops = []
    for k, (x, y) in enumerate(
        (
            (0.0, 0.36),
            (0.33, 0.15),
            (0.21, -0.27),
            (-0.20, -0.33),
            (-0.36, 0.08),
            (0.0, 0.0),
            (0.10, 0.20),
            (-0.17, 0.19),
        )
    ):
        salami = slab(0.095, 0.02, rind(rgb("bf3326"), "8f1f16", 0.08), 0.006).mottled(
            rgb("f0b8a0"), 30, seed + k, 0.3, 0.5
        )
        tops.append(salami.turned(0, *random.normal(0, 0.06, 2)).moved(x, y, 0.065))
    for x, y, _ in heap(random, 10, 0.46, 0):
        tops.append(fruit.leaf(0.13, 0.045, "2f7a22").turned(random.uniform(0, 6.3), -0.1).moved(x, y, 0.07))
    return [base.of("wet"), crust.of("matte"), merge(tops).of("wet")]


def burger(random: Random) -> list[Mesh]:
    dome = blob((0.35, 0.35, 0.25), rgb("c27a34"), (0.85, 1), detail=60)
    low = dome.vertices * [1, 1, 1]
    low[:, 2] = np.maximum(low[:, 2], -0.03)
    browned = mix(rgb("e0a85c"), rgb("b8692a"), step(low[:, 2], 0.0, 0.16))
    crown = Mesh(low, dome.faces, browned).moved(0, 0, 0.32)
    seeds = []
    for _ in range(90):
        x, y, z = random.normal(size=3)
        x, y, z = np.array([x, y, abs(z) + 0.5]) / np.linalg.norm([x, y, abs(z) + 0.5])
        high = 0.25 * np.abs(z) ** 0.85
        far = 0.35 * np.hypot(x, y) ** 0.85 / np.hypot(x, y)
        seeds.append(
            blob((0.022, 0.012, 0.009), rgb("fbeecb"), detail=8)
            .turned(random.uniform(0, 6.3))
            .moved(far * x, far * y, 0.32 + high)
        )
    heel = slab(0.33, 0.09, rgb("d39a52"), 0.03).moved(0, 0, 0.05)
    patty = slab(0.345, 0.075, rgb("5a2c16"), 0.03).rough(0.014, 16, seed_of(random), 3).moved(0, 0, 0.19)
    cheese = slab(
        polygon([(-0.31, -0.31), (0.31, -0.31), (0.31, 0.31), (-0.31, 0.31)], 3), 0.02, rgb("f7b42c"), 0.006
    ).turned(0.5)
    v = cheese.vertices.copy()
    v[:, 2] -= 0.9 * np.clip(np.hypot(v[:, 0], v[:, 1]) - 0.33, 0, 1)
    t = np.linspace(0, 2 * np.pi, 200, endpoint=False)[:, None]
    s = np.linspace(0.4, 1, 12)[None]
    far = s * (0.41 + 0.02 * np.cos(5 * t))
    frill = 0.03 * np.sin(17 * t) * s**4
    lettuce = sheet(
        np.stack([far * np.cos(t), far * np.sin(t), 0.265 + frill - 0.04 * s**4], -1),
        mix(rgb("c6df7c"), rgb("5a9a2c"), s + 0 * t),
        closed_rows=True,
    )
    tomato = slab(0.33, 0.03, rgb("d6341f"), 0.01).moved(0, 0, 0.285)
    return [
        crown.of("waxy"),
        merge([*seeds, heel]),
        patty.of("wet"),
        Mesh(v, cheese.faces, cheese.colours, "waxy").moved(0, 0, 0.24),
        lettuce.of("leaf"),
        tomato.of("wet"),
    ]


def fries(random: Random) -> list[Mesh]:
    """A red paper cup of fries."""
    sticks = []
    for _ in range(34):
        length = random.uniform(0.24, 0.36)
        stick = box((0.026, 0.026, length), mix(rgb("f5cd5a"), rgb("e0a233"), random.uniform()), 0.007, 6)
        x, y = random.uniform(-0.22, 0.22), random.uniform(-0.07, 0.07)
        sticks.append(
            stick.turned(0, 0.9 * x + random.normal(0, 0.08), -0.9 * y + random.normal(0, 0.06)).moved(
                x * 1.05, y, 0.30 + random.uniform(0, 0.10)
            )
        )
    t = np.linspace(0, 1, 20)[None]
    a = np.linspace(0, 2 * np.pi, 80, endpoint=False)[:, None]
    wide, deep = 0.17 + 0.10 * t, 0.075 + 0.045 * t
    high = 0.34 * t
    cup = sheet(np.stack([wide * np.cos(a), deep * np.sin(a), high + 0 * a], -1), rgb("cf1f1a"), closed_rows=True)
    angle = np.arctan2(cup.vertices[:, 1], cup.vertices[:, 0])
    stripe = step(np.abs(np.sin(angle * 8)), 0.75, 0.85) * (cup.vertices[:, 2] > 0.01)
    cup = Mesh(cup.vertices, cup.faces, mix(cup.colours, rgb("f6efe2"), stripe), "cloth")
    fallen = [
        box((0.026, 0.20, 0.026), rgb("f0c24c"), 0.007, 6).turned(turn).moved(x, y, 0.03)
        for x, y, turn in ((0.36, -0.17, 0.5), (-0.34, -0.20, -0.9))
    ]
    return [merge(sticks).of("soft"), cup, merge(fallen).of("soft")]


def sushi(random: Random) -> list[Mesh]:
    """Salmon and prawn on rice, and rolls in seaweed."""

    def nigiri(random: Random, colour: str, stripe: str) -> list[Mesh]:
        rice = box((0.15, 0.075, 0.055), rgb("f8f5ec"), 0.05).rough(0.010, 34, seed_of(random), 2)
        cover = box((0.175, 0.083, 0.022), rgb(colour), 0.02, 40)
        v = cover.vertices.copy()
        v[:, 2] -= 0.10 * np.clip(np.abs(v[:, 0]) - 0.10, 0, 1) * 4 * np.abs(v[:, 0])
        lines = step(np.cos(v[:, 0] * 62 + 26 * np.abs(v[:, 1])), 0.55, 0.9)
        return [rice.of("soft"), Mesh(v, cover.faces, mix(cover.colours, rgb(stripe), lines), "wet").moved(0, 0, 0.07)]

    def maki(random: Random) -> list[Mesh]:
        def paint(share: np.ndarray, angle: np.ndarray, side: np.ndarray) -> np.ndarray:
            grain = noise(flat(share, angle, 16), 5, 2)
            rice = mix(rgb("faf7ee"), rgb("ddd6c4"), step(grain, 0.1, 0.6))
            core = mix(rgb("f0823c"), rgb("6fa83a"), step(np.cos(angle), 0.1, 0.3))
            return mix(rice, core, step(share, 0.40, 0.34))

        return [slab(0.11, 0.13, rind(paint, "16241a", 0.08), 0.012).of("soft")]

    placed = []
    for x, y, colour, stripe in (
        (-0.22, 0.20, "f5834a", "fbd0b0"),
        (0.10, 0.26, "f5834a", "fbd0b0"),
        (-0.10, 0.01, "e04a3c", "f2978a"),
        (0.22, 0.07, "f6d0b4", "e8663c"),
    ):
        placed += [
            part.turned(0.45 + random.normal(0, 0.05)).moved(x, y, 0.06) for part in nigiri(random, colour, stripe)
        ]
    return placed + lay(random, ((-0.30, -0.20), (-0.05, -0.25), (0.20, -0.20)), maki, 0.07, tilt=0.03)


def riceball(random: Random) -> list[Mesh]:
    """Triangles of rice with a band of seaweed."""

    def one(random: Random) -> list[Mesh]:
        shape = polygon([(-0.27, -0.20), (0.27, -0.20), (0.0, 0.30)], 8)
        rice = slab(shape, 0.17, rgb("f9f7ef"), 0.05).rough(0.008, 40, seed_of(random), 2).of("soft")
        nori = box((0.085, 0.085, 0.094), rgb("18261c"), 0.012, 16).moved(0, -0.14).of("leaf")
        return [part.turned(0, 0, 0.62) for part in (rice, nori)]

    placed = []
    for x, y, turn in ((-0.23, 0.12, 0.15), (0.24, 0.10, -0.15), (0.0, -0.19, 0.0)):
        placed += [part.turned(turn).moved(x, y, 0.17) for part in one(random)]
    return placed


def zongzi(random: Random) -> list[Mesh]:
    """Four-cornered parcels of leaf, tied with string."""

    def parcel(random: Random) -> list[Mesh]:
        seed = seed_of(random)
        corners = np.array([[0.30, 0, -0.12], [-0.18, 0.26, -0.12], [-0.18, -0.26, -0.12], [0.0, 0, 0.28]])
        ball = blob((1, 1, 1), rgb("5a7a34"), detail=56)
        power = np.maximum(ball.vertices @ corners.T, 0) ** 3
        v = 1.15 * (power / (power.sum(1, keepdims=True) + 1e-9)) @ corners * 0.82 + ball.vertices * 0.065
        vein = 0.5 + 0.5 * np.sin(v[:, 0] * 120 + v[:, 1] * 90 + 2 * noise(v * 6, seed))
        colours = mix(rgb("3f6428"), rgb("7f9a48"), 0.3 + 0.5 * vein * (0.6 + 0.4 * noise(v * 8, seed, 2)))
        cords = []
        for x in (-0.05, 0.03):
            t = np.linspace(0, 2 * np.pi, 160)
            direction = np.stack([0 * t, np.cos(t), np.sin(t)], 1)
            reach = [np.max(v[np.abs(v[:, 0] - x) < 0.035] @ d) for d in direction]
            path = direction * (np.array(reach)[:, None] + 0.004) + [x, 0, 0]
            cords.append(tube(path, 0.011, rgb("f0e2bd"), 8, caps=False))
        return [Mesh(v, ball.faces, colours, "leaf"), merge(cords)]

    placed = []
    for x, y, turn in ((-0.20, 0.13, 0.4), (0.22, 0.10, 2.4), (0.0, -0.20, -0.4)):
        placed += [part.turned(turn + random.normal(0, 0.15)).moved(x, y, 0.16) for part in parcel(random)]
    return placed


def skewers(random: Random) -> list[Mesh]:
    placed = []
    for at in range(3):
        stick = tube(np.linspace([-0.60, 0, 0], [0.56, 0, 0], 16), 0.014, rgb("d9b878"), 8)
        cubes = []
        for k in range(5):
            piece = box((0.082, 0.085, 0.07), rgb("8a4420"), 0.03, 18).rough(0.014, 12, seed_of(random), 3)
            piece = piece.mottled(rgb("3a1a0c"), 9, seed_of(random), 0.1, 0.7)
            cubes.append(piece.turned(0, 0, random.uniform(-0.4, 0.4)).moved(-0.28 + 0.185 * k))
        y = 0.22 - 0.22 * at
        seeds = [
            blob((0.010, 0.008, 0.006), rgb("f0e0b0"), detail=6).moved(
                random.uniform(-0.36, 0.54), random.uniform(-0.06, 0.06), 0.078
            )
            for _ in range(26)
        ]
        for part in (stick.of("wood"), merge(cubes).of("wet"), merge(seeds)):
            placed.append(part.turned(0.30 + random.normal(0, 0.03)).moved(0, y, 0.085))
    return placed


def roll(random: Random) -> list[Mesh]:
    """Spring rolls, fried golden."""
    placed = []
    for x, y, z, turn in (
        (0, 0.23, 0, 0.3),
        (0.02, 0.06, 0, 0.35),
        (-0.02, -0.11, 0, 0.28),
        (0.03, -0.27, 0, 0.33),
        (0.0, 0.13, 0.13, 0.55),
        (0.0, -0.06, 0.13, 0.2),
    ):
        u = np.linspace(-1, 1, 60)
        one = tube(np.stack([0.29 * u, 0 * u, 0 * u], 1), 0.074, rgb("d59238"), 28).rough(0.008, 22, seed_of(random), 3)
        seam = np.exp(-(((one.vertices[:, 1] - 0.3 * one.vertices[:, 0] * 0.4 - 0.03) / 0.008) ** 2)) * (
            one.vertices[:, 2] > 0
        )
        one = Mesh(one.vertices, one.faces, mix(one.colours, rgb("8a4f14"), 0.7 * seam)).mottled(
            rgb("a8611c"), 8, seed_of(random), 0.0, 0.8
        )
        placed.append(one.turned(turn + random.normal(0, 0.04)).moved(x, y, 0.08 + z))
    return [merge(placed).of("wet")]


def bento(random: Random) -> list[Mesh]:
    """A black box in four: rice with a plum, egg roll, broccoli, beef."""
    floor = box((0.66, 0.46, 0.02), rgb("9a1c16"), 0.01, 8).moved(0, 0, 0.02)
    walls = [box((0.68, 0.02, 0.085), rgb("1c1614"), 0.01, 8).moved(0, y, 0.08) for y in (-0.47, 0.47)]
    walls += [box((0.02, 0.48, 0.085), rgb("1c1614"), 0.01, 8).moved(x, 0, 0.08) for x in (-0.67, 0.67, 0.04)]
    walls.append(box((0.33, 0.014, 0.07), rgb("1c1614"), 0.008, 8).moved(0.35, 0.02, 0.08))
    rice = box((0.33, 0.43, 0.07), rgb("f9f6ee"), 0.06, 60).rough(0.018, 30, seed_of(random), 2).moved(-0.315, 0, 0.09)
    plum = blob((0.075, 0.075, 0.06), rgb("b3202c"), detail=24).rough(0.006, 20, 1).moved(-0.315, 0, 0.18)
    sesame = [
        blob((0.012, 0.008, 0.007), rgb("16120e"), detail=6).moved(-0.315 + dx, dy, 0.17)
        for dx, dy in random.normal(0, 0.13, (26, 2)).clip(-0.25, 0.25)
    ]
    beef_ = [part.scaled(0.62).turned(-0.2).moved(0.36, 0.25, 0.04) for part in meat.MODELS["beef"](random)]
    green = [part.scaled(0.50).moved(0.20, -0.22, 0.05) for part in vegetables.MODELS["broccoli"](random)]
    egg = [part.scaled(0.50).moved(0.50, -0.22, 0.05) for part in roots.MODELS["egg"](random)]
    return [merge([floor, *walls]).of("glaze"), rice.of("soft"), plum.of("wet"), merge(sesame), *beef_, *green, *egg]


def flatbread(random: Random) -> list[Mesh]:
    placed = []
    for k, (x, y) in enumerate(((-0.08, 0.07), (0.06, -0.03), (0.0, 0.0))):
        seed = seed_of(random)
        one = slab(
            lambda a, k=k: 0.44 * (1 + 0.02 * np.cos(2 * a + k) + 0.012 * np.cos(5 * a)), 0.045, rgb("ecc888"), 0.018
        )
        v = one.vertices
        brown = noise(v * np.array([7, 7, 1]), seed, 3)
        colours = mix(mix(rgb("f2d9a4"), rgb("d39a4c"), step(brown, -0.2, 0.5)), rgb("7d4418"), step(brown, 0.55, 0.9))
        placed.append(Mesh(v + 0.008 * brown[:, None] * [0, 0, 1], one.faces, colours).moved(x, y, 0.03 + 0.048 * k))
    sesame = [
        blob((0.016, 0.010, 0.007), rgb("fbf0d4"), detail=6).turned(random.uniform(0, 6)).moved(x, y, 0.153)
        for x, y, _ in heap(random, 60, 0.38, 0)
    ]
    return [merge(placed).of("matte"), merge(sesame)]


def bread(random: Random) -> list[Mesh]:
    """Slices of a white loaf with their brown crust."""
    shape = polygon(
        [
            (-0.25, -0.25),
            (0.25, -0.25),
            (0.24, 0.10),
            (0.28, 0.19),
            (0.20, 0.27),
            (-0.20, 0.27),
            (-0.28, 0.19),
            (-0.24, 0.10),
        ],
        4,
    )

    def crumb(share: np.ndarray, angle: np.ndarray, side: np.ndarray) -> np.ndarray:
        return mix(rgb("f7e8c4"), rgb("e2c68c"), step(noise(flat(share, angle, 16), 7, 3), 0.1, 0.8))

    placed = []
    for k in range(4):
        one = slab(shape, 0.095, rind(crumb, "a8642a", 0.05), 0.015).rough(0.003, 24, seed_of(random))
        placed.append(
            one.turned(0.15 + random.normal(0, 0.05), 0, 0.45).moved(
                -0.06 + 0.05 * k, 0.22 - 0.16 * k, 0.16 + 0.012 * k
            )
        )
    return [merge(placed).of("matte")]


def dumplings(random: Random) -> list[Mesh]:
    """Crescents of dough, plump, with a pleated seam along the back."""

    def one(random: Random) -> list[Mesh]:
        body = blob((0.235, 0.115, 0.115), rgb("f6ebd0"), (1, 1), detail=40).rough(0.004, 9, seed_of(random))
        bent = body.vertices - np.stack(
            [0 * body.vertices[:, 0], 1.5 * body.vertices[:, 0] ** 2, 0 * body.vertices[:, 0]], 1
        )
        bent[:, 2] = np.maximum(bent[:, 2], -0.07)
        u = np.linspace(-0.97, 0.97, 90)[:, None] + np.zeros((1, 12))
        up = np.linspace(0, 1, 12)[None] + 0 * u
        x = 0.235 * u
        y = -1.5 * x**2 + up * (0.014 * np.cos(u * np.pi * 7) + 0.012)
        z = 0.10 * np.sqrt(1 - u**2) + 0.055 * up * (1 - u**6)
        shade = mix(rgb("f9f0da"), rgb("e0cb9e"), 0.5 * step(np.cos(u * np.pi * 7), 0.2, -1) * up)
        return [Mesh(bent, body.faces, body.colours, "wet"), sheet(np.stack([x, y, z], -1), shade).of("wet")]

    return lay(random, ((-0.21, 0.18), (0.22, 0.18), (-0.22, -0.14), (0.21, -0.14)), one, 0.075, turn=0.12, tilt=0.04)


def buns(random: Random) -> list[Mesh]:
    def one(random: Random) -> list[Mesh]:
        t, a = np.linspace(0, 1, 60)[None], np.linspace(0, 2 * np.pi, 200, endpoint=False)[:, None]
        far = 0.205 * np.sin(np.clip(t * 1.9, 0, np.pi * 0.62)) / np.sin(np.pi / 2)
        z = 0.185 * np.cos(np.clip(t * 1.9, 0, np.pi * 0.62)) - 0.045 * np.exp(-((t / 0.09) ** 2))
        fold = np.cos(16 * (a + 0.9 * t)) * step(t, 0.80, 0.35) * step(t, 0.03, 0.12)
        z = z + 0.011 * fold
        points = np.stack([far * np.cos(a), far * np.sin(a), z + 0 * a], -1)
        colours = mix(rgb("fbf6ea"), rgb("d9cbaa"), 0.75 * step(fold, -0.2, -1.0))
        return [
            sheet(points, mix(colours, rgb("b8a27c"), np.exp(-((t / 0.05) ** 2)) + 0 * a), closed_rows=True).of("soft")
        ]

    return lay(random, THREE, one, 0.04, tilt=0.05)


def tangyuan(random: Random) -> list[Mesh]:
    def one(random: Random) -> list[Mesh]:
        return [blob((0.125, 0.125, 0.11), rgb("fcfaf3"), detail=40).rough(0.003, 8, seed_of(random)).of("jelly")]

    return lay(random, SEVEN, one, 0.08)


MODELS = {
    "pizza": pizza,
    "burger": burger,
    "fries": fries,
    "sushi": sushi,
    "riceball": riceball,
    "zongzi": zongzi,
    "skewers": skewers,
    "roll": roll,
    "bento": bento,
    "flatbread": flatbread,
    "bread": bread,
}
CLUSTERS = {"dumplings": dumplings, "buns": buns, "tangyuan": tangyuan}
