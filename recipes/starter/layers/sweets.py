"""What is baked, fried, wrapped or frozen: forms of a dish that are one thing rather than a vessel of things."""

from __future__ import annotations

import fruit
import numpy as np
from layout import FIVE, SEVEN, Random, heap, lay, seed_of
from mesh import Mesh, blob, box, merge, mix, noise, polygon, revolve, rgb, sheet, slab, step, tube


def crumb(mesh: Mesh, random: Random, dark: str, amount: float = 0.006) -> Mesh:
    """Pores and browning, as of bread."""
    return mesh.rough(amount, 22, seed_of(random), 3).mottled(rgb(dark), 14, seed_of(random), 0.1, 0.8)


def cake(random: Random) -> list[Mesh]:
    """A wedge of sponge with two layers of cream and strawberry, a berry on top."""
    shape = polygon([(-0.26, -0.20), (0.34, 0.0), (-0.26, 0.20)], 2)
    placed, z = [], 0.0
    for high, colour, wide in (
        (0.09, "eec97c", 1),
        (0.035, "fdf6ea", 1.02),
        (0.09, "eec97c", 1),
        (0.035, "f4b9b8", 1.02),
        (0.09, "eec97c", 1),
        (0.05, "fef9f0", 1.03),
    ):
        layer = slab(lambda a, w=wide: shape(a) * w, high, rgb(colour), 0.008).moved(0, 0, z + high / 2)
        placed.append(crumb(layer, random, "d3a050", 0.003) if colour == "eec97c" else layer)
        z += high
    creams = [
        blob((0.055, 0.055, 0.05), rgb("fffaf2"), detail=20).moved(x, y, z + 0.02)
        for x, y in ((-0.20, -0.12), (-0.20, 0.0), (-0.20, 0.12))
    ]
    berry = [part.scaled(0.85) for part in fruit.berry(random)]
    top = [part.moved(-0.03, 0, z + 0.07) for part in berry]
    return [part.turned(-0.65) for part in (merge([*placed, *creams]).of("soft"), *top)]


def cupcake(random: Random) -> list[Mesh]:
    def one(random: Random, colour: str) -> list[Mesh]:
        cup = revolve([(0, 0), (0.12, 0), (0.165, 0.16), (0.15, 0.16)], rgb("d9a05a"), 96)
        v = cup.vertices.copy()
        v[:, :2] *= (1 + 0.05 * np.cos(24 * np.arctan2(v[:, 1], v[:, 0])))[:, None]
        swirl = []
        for k in range(4):
            t = np.linspace(0, 2 * np.pi, 60)
            far = 0.125 - 0.032 * k - 0.005 * t
            path = np.stack([far * np.cos(t + k), far * np.sin(t + k), 0.18 + 0.055 * k + 0.009 * t], 1)
            swirl.append(tube(path, 0.048 - 0.006 * k, rgb(colour), 16))
        tip = blob((0.035, 0.035, 0.05), rgb(colour), detail=16).moved(0, 0, 0.42)
        cherry_ = blob((0.045,) * 3, rgb("b3121c"), detail=20).moved(0, 0, 0.46).of("glaze")
        return [Mesh(v, cup.faces, cup.colours, "matte"), merge([*swirl, tip]).of("soft"), cherry_]

    placed = []
    for (x, y), colour in zip(((-0.21, 0.14), (0.22, 0.12), (0.0, -0.17)), ("fdf3e4", "f3a9b8", "8a5230"), strict=True):
        placed += [part.moved(x, y) for part in one(random, colour)]
    return placed


def cookies(random: Random) -> list[Mesh]:
    def cookie(random: Random) -> list[Mesh]:
        base = slab(lambda a: 0.17 * (1 + 0.02 * np.cos(3 * a + 1)), 0.06, rgb("d39a52"), 0.026)
        base = crumb(base, random, "a86a2c", 0.008)
        chips = [
            blob((0.028, 0.024, 0.02), rgb("3f1f10"), detail=10).moved(x, y, 0.032)
            for x, y, _ in heap(random, 9, 0.14, 0)
        ]
        return [base.of("matte"), merge(chips).of("waxy")]

    return lay(random, FIVE, cookie, 0.06, tilt=0.14) + lay(random, ((0.03, 0.02),), cookie, 0.13, tilt=0.12)


def pie(random: Random) -> list[Mesh]:
    """Egg tarts: a flaky rim, a yellow filling with brown spots."""

    def tart(random: Random) -> list[Mesh]:
        rim = revolve(
            [(0, 0), (0.13, 0), (0.195, 0.10), (0.20, 0.125), (0.18, 0.125), (0.155, 0.085)], rgb("d99a48"), 96
        )
        v = rim.vertices.copy()
        v[:, :2] *= (1 + 0.035 * np.cos(18 * np.arctan2(v[:, 1], v[:, 0])) * step(v[:, 2], 0.02, 0.1))[:, None]
        shell = Mesh(v, rim.faces, rim.colours).mottled(rgb("a8662a"), 16, seed_of(random), 0.0, 0.6).of("soft")
        filling = blob((0.172, 0.172, 0.03), rgb("f4c033"), detail=40).moved(0, 0, 0.095)
        filling = filling.mottled(rgb("9a4f14"), 11, seed_of(random), 0.40, 0.62).of("soft")
        return [shell, filling]

    return lay(random, ((-0.21, 0.13), (0.21, 0.13), (0.0, -0.19)), tart, 0.0, tilt=0.02)


def pudding(random: Random) -> list[Mesh]:
    """A flan turned out of its mould, caramel running down."""
    body = revolve([(0.31, 0), (0.30, 0.06), (0.225, 0.29), (0.19, 0.31), (0, 0.315)], rgb("f3cf7c")).of("jelly")
    angle = np.arctan2(body.vertices[:, 1], body.vertices[:, 0])
    run = 0.20 + 0.07 * noise(np.stack([np.cos(angle) * 3, np.sin(angle) * 3, 0 * angle], -1), seed_of(random), 2)
    caramel = step(body.vertices[:, 2], run - 0.01, run + 0.012)
    top = Mesh(body.vertices, body.faces, mix(body.colours, rgb("8a3f0c"), caramel), "jelly")
    pool = slab(lambda a: 0.40 * (1 + 0.04 * np.cos(3 * a)), 0.02, rgb("8a430f"), 0.008).moved(0, 0, 0.01).of("liquid")
    return [top, pool]


def mooncake(random: Random) -> list[Mesh]:
    def one(random: Random) -> list[Mesh]:
        outline = lambda a: 0.185 * (1 + 0.045 * np.abs(np.cos(6 * a)))  # noqa: E731
        angle = np.linspace(0, 2 * np.pi, 240, endpoint=False)[:, None]
        t = np.concatenate([np.linspace(0, 0.96, 70), [0.985, 1, 1, 1]])[None]
        far = outline(angle) * t
        ring = np.exp(-(((t - 0.80) / 0.03) ** 2))
        petals = np.exp(-(((t - 0.42 - 0.18 * np.abs(np.cos(4 * angle))) / 0.04) ** 2)) + np.exp(
            -(((t - 0.14) / 0.04) ** 2)
        )
        raised = np.clip(ring + petals, 0, 1)
        z = np.concatenate([np.full(70, 0.09), [0.085, 0.07, 0.0, -0.06]])[None] + 0.018 * raised * (t < 0.97)
        colours = mix(rgb("a35a1c"), rgb("db9840"), raised + 0 * angle)
        return [
            sheet(
                np.stack([far * np.cos(angle), far * np.sin(angle), z + 0 * angle], -1), colours, closed_rows=True
            ).of("waxy")
        ]

    return lay(random, ((-0.21, 0.13), (0.21, 0.13), (0.0, -0.19)), one, 0.06, tilt=0.03)


def icecream(random: Random) -> list[Mesh]:
    """Three scoops in a footed glass dish, with a wafer."""
    dish = revolve(
        [
            (0, 0),
            (0.17, 0),
            (0.05, 0.05),
            (0.06, 0.10),
            (0.25, 0.18),
            (0.36, 0.34),
            (0.34, 0.34),
            (0.24, 0.21),
            (0, 0.15),
        ],
        rgb("dfe9ee"),
    ).of("glaze")
    scoops = []
    for x, y, z, colour, spots in (
        (-0.15, -0.02, 0.38, "fbf1d3", "f0dfae"),
        (0.15, -0.01, 0.38, "f2a7b4", "d9687c"),
        (0.0, 0.05, 0.56, "6f3d22", "4a2412"),
    ):
        ball = blob((0.175, 0.175, 0.165), rgb(colour), detail=48).rough(0.016, 14, seed_of(random), 3)
        skirt = (
            blob((0.185, 0.185, 0.05), rgb(colour), detail=30).rough(0.02, 16, seed_of(random), 2).moved(0, 0, -0.09)
        )
        scoops.append(merge([ball.mottled(rgb(spots), 9, seed_of(random), 0.1, 0.8), skirt]).moved(x, y, z))
    wafer = box((0.05, 0.012, 0.20), rgb("d9a356"), 0.006, 12).turned(0.3, 0.5, 0.2).moved(0.24, 0.12, 0.62)
    return [dish, merge(scoops).of("soft"), wafer.of("matte")]


def shavedice(random: Random) -> list[Mesh]:
    """A mountain of ice in a dish, syrup run over it, mango and beans about it."""
    dish = revolve(
        [(0, 0), (0.20, 0), (0.22, 0.04), (0.42, 0.16), (0.46, 0.24), (0.44, 0.24), (0.38, 0.18), (0, 0.10)],
        rgb("e3edf2"),
    ).of("glaze")
    t, a = np.linspace(0, 1, 90)[None], np.linspace(0, 2 * np.pi, 160, endpoint=False)[:, None]
    far = 0.40 * t
    x, y = far * np.cos(a), far * np.sin(a)
    grain = noise(np.stack([x * 24, y * 24, 8 * t + 0 * a], -1), seed_of(random), 3)
    z = 0.19 + 0.46 * (1 - t**1.35) + 0.022 * grain
    run = step(
        z + 0.10 * noise(np.stack([np.cos(a) * 3 + 0 * t, np.sin(a) * 3 + 0 * t, 0 * a * t], -1), seed_of(random), 2),
        0.42,
        0.48,
    )
    ice = sheet(
        np.stack([x, y, z], -1),
        mix(mix(rgb("f7fafc"), rgb("dfe8ee"), step(grain, 0, -0.7)), rgb("d8243c"), run),
        closed_rows=True,
    )
    bits = []
    for k in range(14):
        angle = 2 * np.pi * k / 14
        cube = (
            box((0.045, 0.045, 0.04), rgb("f8ab24"), 0.012, 8)
            if k % 2
            else blob((0.05, 0.036, 0.034), rgb("6a1a1c"), detail=14)
        )
        bits.append(cube.turned(*random.uniform(0, 1, 3)).moved(0.36 * np.cos(angle), 0.36 * np.sin(angle), 0.26))
    return [dish, ice.of("soft"), merge(bits).of("wet")]


def donut(random: Random) -> list[Mesh]:
    def one(random: Random, icing: str) -> list[Mesh]:
        a = np.linspace(0, 2 * np.pi, 120, endpoint=False)[:, None]
        t = np.linspace(0, 2 * np.pi, 48, endpoint=False)[None]
        far = 0.135 + 0.085 * np.cos(t)
        points = np.stack([far * np.cos(a), far * np.sin(a), 0.078 * np.sin(t) + 0 * a], -1)
        wave = 0.10 * np.cos(7 * a + random.uniform(0, 6))
        covered = step(np.sin(t) + wave, 0.12, 0.20)
        dough = mix(rgb("c9853c"), rgb("e7bd7c"), np.exp(-((np.sin(t) / 0.2) ** 2)) + 0 * a)
        ring = sheet(
            points * (1 + 0.05 * covered[..., None] * [0, 0, 1]),
            mix(dough, rgb(icing), covered),
            closed_rows=True,
            closed_columns=True,
        )
        sprinkles = []
        for _ in range(34):
            angle, lean = random.uniform(0, 6.3), random.uniform(0.6, 2.5)
            x, y, z = (
                (0.135 + 0.086 * np.cos(lean)) * np.cos(angle),
                (0.135 + 0.086 * np.cos(lean)) * np.sin(angle),
                0.085 * np.sin(lean),
            )
            colour = rgb(str(random.choice(["f6d23c", "f7f3ea", "4aa3d8", "e8455a", "7ac04a"])))
            sprinkles.append(
                blob((0.019, 0.006, 0.006), colour, detail=6).turned(random.uniform(0, 6.3)).moved(x, y, z)
            )
        return [ring.of("waxy"), merge(sprinkles)]

    placed = []
    for (x, y), icing in zip(((-0.22, 0.14), (0.22, 0.13), (0.0, -0.19)), ("f08aa4", "5a2c16", "fbf3e6"), strict=True):
        placed += [part.turned(0, *random.normal(0, 0.06, 2)).moved(x, y, 0.085) for part in one(random, icing)]
    return placed


def pancake(random: Random) -> list[Mesh]:
    stack = []
    for k in range(5):
        phase = random.uniform(0, 6)
        one = slab(
            lambda a, p=phase: 0.36 * (1 + 0.015 * np.cos(2 * a + p)),
            0.062,
            lambda s, a, side: mix(
                mix(rgb("b9702a"), rgb("d8984a"), step(s, 0.75, 0.98)), rgb("f3d79a"), (side == 0) * 1.0
            ),
            0.024,
        )
        stack.append(one.rough(0.004, 10, seed_of(random), 2).moved(*random.normal(0, 0.012, 2), 0.04 + 0.064 * k))
    syrup = slab(
        lambda a: 0.26 * (1 + 0.10 * np.cos(3 * a) + 0.06 * np.cos(5 * a + 1)), 0.014, rgb("9a4a0c"), 0.006
    ).moved(0, 0, 0.335)
    drips = [
        tube(
            np.array(
                [
                    [0.24 * np.cos(a), 0.24 * np.sin(a), 0.335],
                    [0.345 * np.cos(a), 0.345 * np.sin(a), 0.325],
                    [0.375 * np.cos(a), 0.375 * np.sin(a), 0.26],
                    [0.375 * np.cos(a), 0.375 * np.sin(a), low],
                ]
            ),
            0.024,
            rgb("9a4a0c"),
            10,
        )
        for a, low in ((-1.3, 0.10), (-0.6, 0.17), (-2.1, 0.14), (0.4, 0.2), (-2.8, 0.2))
    ]
    butter = box((0.085, 0.085, 0.035), rgb("f9e58a"), 0.015, 12).turned(0.4).moved(0, 0, 0.375)
    return [merge(stack).of("matte"), merge([syrup, *drips]).of("liquid"), butter.of("wet")]


def candy(random: Random) -> list[Mesh]:
    """Wrapped sweets in bright papers."""

    def sweet(random: Random) -> list[Mesh]:
        colour, stripe = [
            ("d8233a", "f7e3e0"),
            ("2f8ad0", "eef5fa"),
            ("f0a01c", "fdf0d0"),
            ("4fae3c", "eff8e4"),
            ("8a3fae", "f3e4f8"),
        ][random.integers(5)]
        ball = blob((0.10, 0.085, 0.08), rgb(colour), detail=40)
        angle = np.arctan2(ball.vertices[:, 2], ball.vertices[:, 1])
        swirl = step(np.sin(5 * angle + 24 * ball.vertices[:, 0]), 0.1, 0.3)
        parts = [Mesh(ball.vertices, ball.faces, mix(ball.colours, rgb(stripe), swirl))]
        for side in (-1, 1):
            t, a = np.linspace(0, 1, 20)[None], np.linspace(0, 2 * np.pi, 60)[:, None]
            wide = 0.018 + 0.07 * t * (1 + 0.25 * np.cos(8 * a))
            points = np.stack([side * (0.09 + 0.10 * t) + 0 * a, wide * np.cos(a), 0.45 * wide * np.sin(a)], -1)
            parts.append(sheet(points, mix(rgb(colour), rgb(stripe), 0.4 + 0.4 * np.cos(8 * a) + 0 * t)))
        return [merge(parts).of("glaze")]

    return lay(random, SEVEN, sweet, 0.085, tilt=0.08)


MODELS = {
    "cake": cake,
    "cupcake": cupcake,
    "cookies": cookies,
    "pie": pie,
    "pudding": pudding,
    "mooncake": mooncake,
    "icecream": icecream,
    "shavedice": shavedice,
    "donut": donut,
    "pancake": pancake,
    "candy": candy,
}
