"""Roots, bulbs and shoots; beans, tofu and egg."""

from __future__ import annotations

import numpy as np
from layout import FIVE, FOUR, SEVEN, Random, heap, lay, seed_of
from mesh import Mesh, Outline, blob, box, flat, merge, mix, noise, polygon, revolve, rgb, rind, sheet, slab, step, tube


def potato(random: Random) -> list[Mesh]:
    """Peeled chunks, the edges golden."""

    def chunk(random: Random) -> list[Mesh]:
        seed = seed_of(random)
        piece = box((0.13, 0.105, 0.09), rgb("efcf74"), 0.05, 24).rough(0.022, 6, seed)
        edge = np.abs(piece.vertices / np.array([0.13, 0.105, 0.09]))
        browned = step(np.sort(edge, axis=1)[:, 1], 0.72, 1.0) * step(noise(piece.vertices * 9, seed, 2), -0.4, 0.6)
        return [Mesh(piece.vertices, piece.faces, mix(piece.colours, rgb("b8772a"), browned), "soft")]

    return lay(random, FIVE, chunk, 0.10, tilt=0.3)


def sweetpotato(random: Random) -> list[Mesh]:
    """Thick rounds of orange flesh in a purple-red skin."""
    flesh = lambda share, angle, side: mix(rgb("ea8a2c"), rgb("f4a94c"), 0.5 + 0.5 * noise(flat(share, angle, 5), 3, 2))  # noqa: E731

    def round_(random: Random) -> list[Mesh]:
        return [slab(lambda a: 0.145 + 0.018 * np.cos(2 * a), 0.09, rind(flesh, "7c2940", 0.05), 0.014).of("soft")]

    return lay(random, FIVE, round_, 0.10, tilt=0.30)


def radish(random: Random) -> list[Mesh]:
    """White radish in thick rounds, and the green end with the stubs of its leaves."""

    def paint(share: np.ndarray, angle: np.ndarray, side: np.ndarray) -> np.ndarray:
        rays = noise(np.stack([np.cos(angle) * 6, np.sin(angle) * 6, share * 2], -1), 4, 2)
        return mix(mix(rgb("f4f5ef"), rgb("dfe4da"), 0.5 + 0.6 * rays), rgb("cfdcb4"), step(share, 0.9, 0.98))

    def round_(random: Random) -> list[Mesh]:
        return [slab(0.155, 0.09, paint, 0.016).of("jelly")]

    z = lambda share, angle, high: mix(rgb("f3f4ec"), rgb("9cbf62"), step(high, -0.02, 0.14))  # noqa: E731
    top = revolve([(0, -0.16), (0.15, -0.16), (0.165, -0.1), (0.16, 0.06), (0.10, 0.15), (0, 0.16)], z).of("waxy")
    stubs = []
    for _ in range(6):
        lean = random.normal(0, 0.05, 2)
        path = np.linspace([lean[0] * 0.4, lean[1] * 0.4, 0.14], [lean[0] * 3, lean[1] * 3, 0.30], 10)
        stubs.append(tube(path, 0.022, rgb("6ea03c")))
    head = [part.turned(0, 0.95, 0).turned(-0.5).moved(0.06, 0.16, 0.15) for part in (top, merge(stubs))]
    return head + lay(random, ((-0.24, 0.02), (-0.02, -0.14), (0.24, -0.10)), round_, 0.10, tilt=0.28)


def carrot(random: Random) -> list[Mesh]:
    """Rounds with a paler core and rays."""

    def paint(share: np.ndarray, angle: np.ndarray, side: np.ndarray) -> np.ndarray:
        rays = 0.5 + 0.5 * np.cos(16 * angle)
        colours = mix(rgb("ee7a1c"), rgb("f8a040"), 0.45 * rays * step(share, 0.35, 0.9))
        return mix(mix(colours, rgb("f9b457"), step(share, 0.44, 0.36)), rgb("d9610c"), (side < 1) * 1.0)

    def round_(random: Random) -> list[Mesh]:
        return [slab(0.125 * random.uniform(0.85, 1.1), 0.055, paint, 0.01).of("soft")]

    return lay(random, SEVEN, round_, 0.075, tilt=0.26)


def lotus(random: Random) -> list[Mesh]:
    """Slices of lotus root with their wreath of holes."""

    def round_(random: Random) -> list[Mesh]:
        angle = np.linspace(0, 2 * np.pi, 180, endpoint=False)[:, None]
        t = np.concatenate([np.linspace(0, 1, 60), [1, 1]])[None]
        x, y = 0.19 * t * np.cos(angle), 0.19 * t * np.sin(angle)
        centres = [(0.112 * np.cos(k * 2 * np.pi / 8), 0.112 * np.sin(k * 2 * np.pi / 8), 0.030) for k in range(8)]
        depth = [
            step(np.hypot(x - cx, (y - cy)), size + 0.006, size - 0.004) for cx, cy, size in [*centres, (0, 0, 0.022)]
        ]
        hole = np.maximum.reduce(depth)
        side = np.concatenate([np.full(60, 0.03), [0.02, -0.03]])[None]
        colours = mix(mix(rgb("f5e6cc"), rgb("e8cfa6"), step(t, 0.9, 1.0) + 0 * x), rgb("6d4a2c"), hole)
        return [sheet(np.stack([x, y, side - 0.045 * hole], -1), colours, closed_rows=True).of("wet")]

    return lay(random, FOUR, round_, 0.10, tilt=0.25)


def bamboo(random: Random) -> list[Mesh]:
    """Shoots cut lengthwise: pale yellow combs, broad below and pointed above."""

    def comb(random: Random) -> list[Mesh]:
        t = np.linspace(0, 1, 90)[:, None] + np.zeros((1, 40))
        s = np.linspace(-1, 1, 40)[None] + 0 * t
        wide = 0.15 * (1 - t) ** 0.75 + 0.01
        tooth = step(np.sin(t * 2 * np.pi * 7), -0.2, 0.3)
        wide = wide * (1 - 0.22 * tooth * (np.abs(s) > 0.6))
        gap = (
            step(np.sin(t * 2 * np.pi * 7 + 1.2), 0.25, 0.6)
            * step(np.abs(s), 0.62, 0.5)
            * step(t, 0.88, 0.8)
            * step(t, 0.06, 0.12)
        )
        z = 0.03 * np.sqrt(np.clip(1 - s**4, 0, 1)) - 0.035 * gap
        colours = mix(mix(rgb("f3e3a6"), rgb("e6c877"), t), rgb("b08a3c"), 0.75 * gap)
        return [sheet(np.stack([0.50 * (t - 0.5), s * wide, z], -1), colours).of("wet")]

    spots = ((0.0, 0.22), (0.06, 0.08), (-0.05, -0.05), (0.04, -0.20))
    return lay(random, spots, comb, 0.07, turn=0.45, tilt=0.10)


def garlic(random: Random) -> list[Mesh]:
    """A whole bulb and loose cloves."""
    lobes = lambda a: 1 + 0.09 * np.cos(8 * a)  # noqa: E731
    bulb = revolve(
        [(0, -0.12), (0.12, -0.12), (0.175, -0.03), (0.16, 0.07), (0.07, 0.16), (0.035, 0.25), (0.03, 0.31), (0, 0.31)],
        rgb("f2ead9"),
    )
    v = bulb.vertices.copy()
    angle = np.arctan2(v[:, 1], v[:, 0])
    v[:, :2] *= (1 + (lobes(angle) - 1) * step(v[:, 2], 0.2, 0.05))[:, None]
    colours = mix(bulb.colours, rgb("c7a3a8"), 0.7 * step(np.cos(8 * angle), -0.3, -1.0))
    whole = Mesh(v, bulb.faces, colours, "soft").turned(0.6, 0.35, 0.1).moved(0.06, 0.12, 0.14)

    def clove(random: Random) -> list[Mesh]:
        piece = revolve(
            [(0, -0.10), (0.06, -0.09), (0.068, -0.02), (0.035, 0.08), (0.006, 0.13), (0, 0.13)], rgb("f6edd2"), 32
        )
        return [piece.scaled(1, 0.8, 1).turned(0, 1.5, 0).of("waxy")]

    return [
        whole,
        *lay(random, ((-0.22, 0.05), (-0.10, -0.16), (0.10, -0.17), (0.26, -0.06), (-0.25, -0.17)), clove, 0.06),
    ]


def onion(random: Random) -> list[Mesh]:
    """Rings of red onion."""

    def rings(random: Random) -> list[Mesh]:
        parts = []
        for far in (0.185, 0.135, 0.085):

            def paint(share: np.ndarray, angle: np.ndarray, side: np.ndarray) -> np.ndarray:
                return mix(rgb("f6e9f0"), rgb("8e2a63"), np.maximum(step(share, 0.90, 0.95), side == 0))

            ring = slab(far, 0.05, paint, 0.008, hole=0.80)
            parts.append(ring.moved(0, 0, random.uniform(-0.012, 0.03)))
        return [merge(parts).of("wet")]

    return lay(random, FOUR, rings, 0.09, tilt=0.25)


def ginger(random: Random) -> list[Mesh]:
    """A knobbly root and slices of it."""
    root = []
    for x, y, length, turn in (
        (0, 0.15, 0.17, 0.2),
        (-0.15, 0.20, 0.10, 1.2),
        (0.14, 0.19, 0.10, 0.9),
        (0.05, 0.08, 0.09, -1.1),
    ):
        knob = blob((length, 0.075, 0.075), rgb("c99b58"), (0.8, 0.9), detail=32)
        rings = 0.5 + 0.5 * np.sin(knob.vertices[:, 0] * 95)
        knob = Mesh(
            knob.vertices * (1 - 0.025 * rings[:, None]), knob.faces, mix(knob.colours, rgb("93663a"), 0.45 * rings)
        )
        root.append(knob.rough(0.012, 9, seed_of(random)).turned(turn).moved(x, y, 0.09))

    def slice_(random: Random) -> list[Mesh]:
        a0, a1 = random.uniform(0, 6, 2)
        flesh = lambda share, angle, side: mix(rgb("f3da83"), rgb("e2bf5c"), 0.5 + 0.5 * np.sin(share * 22))  # noqa: E731
        outline: Outline = lambda a: 0.115 * (1 + 0.12 * np.cos(2 * a + a0) + 0.08 * np.cos(3 * a + a1))  # noqa: E731
        return [slab(outline, 0.035, rind(flesh, "a87a3e", 0.05), 0.008).of("soft")]

    return [
        merge(root).of("matte"),
        *lay(
            random,
            ((-0.22, -0.05), (-0.03, -0.12), (0.20, -0.06), (-0.14, -0.23), (0.10, -0.24)),
            slice_,
            0.06,
            tilt=0.15,
        ),
    ]


def scallion(random: Random) -> list[Mesh]:
    """Lengths of spring onion, white at one end and green at the other."""
    placed = []
    for at in range(13):
        u = np.linspace(-1, 1, 40)
        path = np.stack([0.27 * u, 0.03 * random.normal() * u**2, 0 * u], 1)
        colours = mix(mix(rgb("f5f7e6"), rgb("9cc65a"), step(u, -0.5, 0.1)), rgb("2f7a24"), step(u, 0.0, 0.8))
        stalk = tube(path, 0.030 * (1 - 0.15 * u), colours, 14, caps=False).turned(
            0.5 + random.normal(0, 0.12) + np.pi * (at % 3 == 2)
        )
        placed.append(stalk.moved(random.normal(0, 0.02), 0.22 - 0.055 * (at % 9), 0.032 + 0.055 * (at // 9)))
    return [merge(placed).of("waxy")]


def _beans(
    random: Random, size: tuple[float, float, float], colour: str, dark: str, count: int, eye: str | None
) -> list[Mesh]:
    placed = []
    for x, y, z in heap(random, count, 0.33, 0.16):
        bean = blob(size, mix(rgb(colour), rgb(dark), random.uniform(0, 0.8)), (0.95, 0.9), detail=14)
        if eye:
            near = np.linalg.norm((bean.vertices / size - [0, 1, 0]) * [0.8, 1, 1], axis=1)
            bean = Mesh(bean.vertices, bean.faces, mix(bean.colours, rgb(eye), step(near, 0.55, 0.4)))
        placed.append(bean.turned(*random.uniform(0, 6.3, 3)).moved(x, y, z + size[2]))
    return [merge(placed).of("waxy")]


def redbeans(random: Random) -> list[Mesh]:
    return _beans(random, (0.058, 0.042, 0.040), "8e1f1c", "5c100f", 140, "f0e0d0")


def soybeans(random: Random) -> list[Mesh]:
    return _beans(random, (0.052, 0.048, 0.048), "ecd28c", "d3b060", 150, None)


def mungbeans(random: Random) -> list[Mesh]:
    return _beans(random, (0.042, 0.034, 0.034), "6f8f3c", "4a6a24", 230, "e6ead0")


def tofu(random: Random, colour: str = "f7f0dc") -> list[Mesh]:
    def cube(random: Random) -> list[Mesh]:
        return [box((0.115, 0.115, 0.10), rgb(colour), 0.018, 20).rough(0.005, 9, seed_of(random)).of("wet")]

    return lay(random, FIVE, cube, 0.10, turn=0.5, tilt=0.05) + lay(
        random, ((0.0, 0.03),), cube, 0.28, turn=0.1, tilt=0.08
    )


def driedtofu(random: Random) -> list[Mesh]:
    """Fried triangles: brown blistered skin, pale cut sides."""

    def triangle(random: Random) -> list[Mesh]:
        seed = seed_of(random)

        def paint(share: np.ndarray, angle: np.ndarray, side: np.ndarray) -> np.ndarray:
            spots = noise(flat(share, angle, 5), seed, 3)
            skin = mix(rgb("b9762e"), rgb("dca252"), 0.5 + 0.6 * spots)
            return mix(skin, rgb("efdcae"), (side == 0) * 1.0)

        outline = polygon([(-0.2, -0.11), (0.2, -0.11), (0.0, 0.2)], 3)
        return [slab(outline, 0.085, paint, 0.012).of("soft")]

    return lay(random, FIVE, triangle, 0.10, tilt=0.22)


def egg(random: Random) -> list[Mesh]:
    """Boiled eggs, cut in half; the yolk is soft in the middle."""

    def paint(share: np.ndarray, angle: np.ndarray, side: np.ndarray) -> np.ndarray:
        yolk = mix(rgb("ef9a1e"), rgb("f6bf4a"), step(share, 0.25, 0.58))
        return mix(rgb("fbf8ef") + 0 * share[..., None], yolk, step(share, 0.63, 0.60) * (side > 0))

    def half(random: Random) -> list[Mesh]:
        shape: Outline = lambda a: 0.20 * (1 + 0.16 * np.cos(2 * a) + 0.04 * np.cos(a))  # noqa: E731
        face = slab(shape, 0.03, paint, 0.012)
        hull = blob((0.225, 0.168, 0.14), rgb("fbf8ef"), detail=36)
        low = hull.vertices.copy()
        low[:, 2] = np.minimum(low[:, 2], 0.0)
        return [face.of("wet"), Mesh(low, hull.faces, hull.colours, "soft")]

    placed = []
    for x, y, turn, pitch in ((-0.20, 0.10, 0.6, 0.1), (0.19, 0.13, -0.4, -0.1), (0.02, -0.17, 0.2, 0.05)):
        yaw = turn + random.normal(0, 0.2)
        placed += [part.turned(yaw).turned(0, pitch, 0.28).moved(x, y, 0.145) for part in half(random)]
    return placed


def scrambled(random: Random) -> list[Mesh]:
    """Egg stirred in a pan: soft folds, yellow with some white."""
    folds = []
    for x, y, z in heap(random, 24, 0.30, 0.16):
        size = random.uniform(0.075, 0.13)
        fold = blob((size, size * 0.75, size * 0.5), rgb("f5c53a"), (0.8, 0.9), detail=26)
        fold = fold.rough(0.030, 11, seed_of(random), 3).mottled(rgb("fdf3cf"), 8, seed_of(random), 0.25, 0.7)
        browned = fold.mottled(rgb("d9902a"), 10, seed_of(random), 0.5, 0.9)
        folds.append(browned.turned(random.uniform(0, 6.3), *random.normal(0, 0.4, 2)).moved(x, y, z + 0.05))
    return [merge(folds).of("wet")]


def friedegg(random: Random) -> list[Mesh]:
    """Eggs sunny side up, the rim crisp."""

    def one(random: Random) -> list[Mesh]:
        first, second = random.uniform(0, 6, 2)
        shape: Outline = lambda a: 0.22 * (1 + 0.08 * np.cos(2 * a + first) + 0.06 * np.cos(3 * a + second))  # noqa: E731
        paint = lambda share, angle, side: mix(rgb("fdfaf0"), rgb("c98a3c"), step(share, 0.90, 1.0))  # noqa: E731
        white = slab(shape, 0.035, paint, 0.015).rough(0.006, 14, seed_of(random))
        yolk = blob((0.088, 0.088, 0.055), rgb("f5a51c"), detail=30).moved(0, 0, 0.02)
        return [white.of("wet"), yolk.of("wet")]

    return lay(random, ((-0.19, 0.13), (0.20, 0.11), (0.0, -0.17)), one, 0.05, tilt=0.12)


COOKED = {"scrambled": scrambled, "friedegg": friedegg}
"""How an ingredient looks when cooking changes its shape."""

MODELS = {
    "potato": potato,
    "sweetpotato": sweetpotato,
    "carrot": carrot,
    "radish": radish,
    "bamboo": bamboo,
    "lotus": lotus,
    "garlic": garlic,
    "onion": onion,
    "ginger": ginger,
    "scallion": scallion,
    "beans": redbeans,
    "soybeans": soybeans,
    "mungbeans": mungbeans,
    "tofu": tofu,
    "driedtofu": driedtofu,
    "egg": egg,
}
