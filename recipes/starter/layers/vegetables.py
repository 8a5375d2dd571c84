"""Vegetables: leaves, florets, discs, halves, strips, caps, roots, beans; tofu and egg too."""

from __future__ import annotations

import numpy as np
from layout import FIVE, FOUR, SEVEN, THREE, Random, heap, lay, seed_of
from mesh import Mesh, blob, flat, merge, mix, noise, revolve, rgb, rind, sheet, slab, step, tube


def greens(random: Random) -> list[Mesh]:
    """Bok choy: broad white stems, dark ruffled leaves with pale veins."""

    def leaf(random: Random, length: float = 0.72, width: float = 0.27) -> Mesh:
        seed = seed_of(random)
        t = np.linspace(0, 1, 60)[:, None] + np.zeros((1, 40))
        s = np.linspace(-1, 1, 40)[None] + 0 * t
        blade = 0.26 + 0.74 * np.sin(np.clip((t - 0.38) / 0.62, 0, 1) * np.pi * 0.80 + 0.12)
        wide = np.where(t < 0.38, 0.20 + 0.08 * t / 0.38, blade) * np.sqrt(np.clip((1 - t) / 0.1, 0, 1))
        ruffle = 0.05 * noise(np.stack([t * 5, s * 3, 0 * t], -1), seed, 2) * step(np.abs(s) * t, 0.1, 0.8)
        z = 0.10 * np.abs(s) ** 1.6 * wide + ruffle + 0.07 * np.sin(t * 2.6)
        vein = np.exp(-((s / 0.10) ** 2)) + 0.35 * np.exp(-((np.sin((t * 9 - np.abs(s) * 2.2) * np.pi) / 0.25) ** 2))
        patch = noise(np.stack([t * 7, s * 4, 0 * t], -1), seed + 2, 2)
        colours = mix(rgb("1d5a1c"), rgb("4d9034"), 0.5 + 0.4 * patch)
        colours = mix(colours, rgb("a8cf7c"), 0.55 * np.clip(vein, 0, 1) * (t > 0.35))
        colours = mix(colours, rgb("e9f1d2"), 1 - step(t, 0.30, 0.46))
        return sheet(np.stack([(t - 0.5) * length, s * wide * width, z], -1), colours)

    placed = []
    for at in range(4):
        turn = 0.35 + 0.40 * at + random.normal(0, 0.06)
        x, y = 0.07 * np.cos(turn), 0.07 * np.sin(turn) - 0.04
        placed.append(leaf(random).turned(turn, -0.12, 0.1).moved(x, y, 0.06 + 0.025 * at).of("leaf"))
    return placed


def broccoli(random: Random) -> list[Mesh]:
    def floret(random: Random) -> list[Mesh]:
        size = random.uniform(1.0, 1.15)
        path = np.linspace([0, 0, 0], [0, 0, 0.13 * size], 10)
        parts = [tube(path, np.linspace(0.05, 0.075, 10) * size, rgb("a9c46c"), 14)]
        for _ in range(48):
            direction = random.normal(size=3)
            direction /= np.linalg.norm(direction)
            x, y, z = direction * 0.118 * size * np.array([1, 1, 0.85]) + [0, 0, 0.14 * size]
            bud = blob((0.047 * size,) * 3, rgb("3f7a2a"), detail=14).rough(0.012, 40, seed_of(random))
            bud = bud.mottled(rgb("1c4714"), 24, seed_of(random), -0.3, 0.6)
            parts.append(bud.moved(x, y, max(z, 0.09 * size)))
        return [merge(parts).of("leaf")]

    return lay(random, ((-0.19, 0.12), (0.19, 0.12), (0.0, -0.15)), floret, 0.02, tilt=0.18)


def tomato(random: Random) -> list[Mesh]:
    """Halves, cut across: red flesh, three chambers of seeds."""

    def paint(share: np.ndarray, angle: np.ndarray, side: np.ndarray) -> np.ndarray:
        chamber = step(np.abs(np.sin(2 * angle + 0.4)), 0.35, 0.6) * step(share, 0.24, 0.36) * step(share, 0.82, 0.74)
        seeds = step(noise(flat(share, angle, 8.0), 5, 1), 0.30, 0.42) * chamber
        colours = mix(rgb("dc3f2a") + 0 * share[..., None], rgb("b3260f"), chamber)
        colours = mix(colours, rgb("f0c56a"), seeds)
        colours = mix(colours, rgb("ee8468"), step(share, 0.20, 0.06))
        return mix(colours, rgb("c01d0d"), step(share, 0.93, 0.97))

    def half(random: Random) -> list[Mesh]:
        face = slab(lambda a: 0.168 * (1 + 0.025 * np.cos(5 * a)), 0.03, paint, 0.01)
        skin = blob((0.167, 0.167, 0.13), rgb("c8210e"), detail=40)
        low = skin.vertices.copy()
        low[:, 2] = np.minimum(low[:, 2], 0)
        return [face.of("wet"), Mesh(low, skin.faces, skin.colours, "waxy")]

    placed = []
    for (x, y), (pitch, roll) in zip(FOUR, ((0.25, 0.5), (-0.25, 0.45), (0.1, 0.5), (-0.2, 0.6)), strict=True):
        turn = random.uniform(0, 6.3)
        placed += [part.turned(turn).turned(0, pitch, roll).moved(x, y, 0.13) for part in half(random)]
    return placed


def eggplant(random: Random) -> list[Mesh]:
    """Two whole ones, glossy purple under a green calyx, and thick rounds."""

    def whole(random: Random) -> list[Mesh]:
        profile = [(0, -0.28), (0.07, -0.27), (0.108, -0.18), (0.10, -0.05), (0.075, 0.10), (0.055, 0.20), (0, 0.22)]
        body = revolve(profile, mix(rgb("34103f"), rgb("552063"), 0.4)).of("glaze")
        cap = revolve(
            [(0.072, 0.115), (0.075, 0.15), (0.058, 0.215), (0.022, 0.24), (0.02, 0.33), (0, 0.335)], rgb("5f8a34")
        )
        points = cap.vertices.copy()
        points[:, 2] -= 0.04 * np.cos(5 * np.arctan2(points[:, 1], points[:, 0])) * step(points[:, 2], 0.2, 0.12)
        return [
            part.turned(0, 1.5, 0) for part in (body, Mesh(points * [1.06, 1.06, 1], cap.faces, cap.colours, "leaf"))
        ]

    def round_(random: Random) -> list[Mesh]:
        return [slab(0.105, 0.085, rind(rgb("efe6c0"), "4a1a5c", 0.05), 0.010).of("soft")]

    upper = lay(random, ((-0.02, 0.21), (0.02, 0.01)), whole, 0.105, turn=0.3, tilt=0.03)
    return upper + lay(random, ((-0.22, -0.16), (0.02, -0.22), (0.24, -0.17)), round_, 0.08, tilt=0.25)


def greenpepper(random: Random) -> list[Mesh]:
    """Rings of bell pepper with three lobes, and some strips."""

    def ring(random: Random) -> list[Mesh]:
        lobes = random.integers(3, 5)
        angle = np.linspace(0, 2 * np.pi, 120, endpoint=False)
        far = 0.165 * (1 + 0.14 * np.cos(lobes * angle))
        wall, high = np.array([-1, 1, 1, -1]) * 0.016, np.array([-1, -1, 1, 1]) * 0.035
        radius = far[:, None] + np.array([-0.018, 0.018, 0.018, -0.018])[None]
        points = np.stack(
            [radius * np.cos(angle)[:, None], radius * np.sin(angle)[:, None], high[None] + 0 * radius], -1
        )
        colours = np.where(np.array([1, 0, 0, 1])[None, :, None] > 0, rgb("b5d878"), rgb("2f7a1a")) + 0 * points
        del wall
        return [sheet(points, colours, closed_rows=True, closed_columns=True).of("waxy")]

    def strip(random: Random) -> list[Mesh]:
        u = np.linspace(-1, 1, 30)
        path = np.stack([0.2 * u, 0.07 * u**2 * random.choice([-1, 1]), 0.03 * u**2], 1)
        return [
            tube(path, 0.030 * np.sqrt(1 - 0.7 * u**2), mix(rgb("256c14"), rgb("4b9a2a"), random.uniform()), 12)
            .scaled(1, 1, 0.7)
            .of("waxy")
        ]

    strips = [(x, y) for x, y, _ in heap(random, 7, 0.28, 0)]
    return lay(random, strips, strip, 0.04, tilt=0.15) + lay(random, THREE, ring, 0.10, tilt=0.25)


def chilli(random: Random) -> list[Mesh]:
    """Long red peppers with green stems."""

    def pod(random: Random) -> list[Mesh]:
        u = np.linspace(0, 1, 40)
        bend = random.uniform(0.05, 0.16) * random.choice([-1, 1])
        path = np.stack([0.46 * (u - 0.5), bend * u**2, 0.02 * np.sin(3 * u)], 1)
        body = tube(path, 0.046 * (1 - u**2.2) ** 0.7 + 0.004, rgb("c3160c"), 16).of("glaze")
        stem = tube(np.linspace([-0.225, 0, 0], [-0.33, 0.02, 0.03], 8), np.linspace(0.017, 0.011, 8), rgb("5d8a2a"))
        cap = blob((0.03, 0.045, 0.045), rgb("4f8026"), detail=16).moved(-0.235)
        return [body, merge([stem, cap])]

    spots = ((0.05, 0.24), (-0.04, 0.13), (0.07, 0.02), (-0.06, -0.09), (0.05, -0.20))
    return lay(random, spots, pod, 0.055, turn=0.3, tilt=0.04) + lay(random, ((0.0, 0.03),), pod, 0.13, turn=-0.6)


def corn(random: Random) -> list[Mesh]:
    """Rounds of the cob."""

    def piece(random: Random) -> list[Mesh]:
        core = slab(0.085, 0.20, rind(rgb("e9dba4"), "d9b84a", 0.2), 0.01)
        kernels = []
        for row in range(14):
            for place in range(5):
                angle = 2 * np.pi * (row + 0.08 * (place % 2)) / 14
                grain = blob((0.034, 0.025, 0.021), rgb("f2b928") * random.uniform(0.85, 1.1), (0.7, 0.7), detail=10)
                kernels.append(grain.moved(0.095).turned(angle).moved(0, 0, 0.041 * (place - 2)))
        return [core, merge(kernels).of("waxy")]

    placed = []
    for x, y, turn in ((-0.17, 0.13, 0.4), (0.18, 0.10, 2.2), (-0.01, -0.17, 1.2)):
        roll = turn + random.normal(0, 0.2)
        placed += [part.turned(0, 1.05, 0).turned(roll).moved(x, y, 0.14) for part in piece(random)]
    return placed


def mushroom(random: Random) -> list[Mesh]:
    """Shiitake caps with a star cut into them."""

    def cap(random: Random) -> list[Mesh]:
        size = random.uniform(0.9, 1.1)
        angle = np.linspace(0, 2 * np.pi, 120, endpoint=False)[:, None]
        t = np.linspace(0, 1, 44)[None]
        far, high = 0.165 * size * np.sin(t * np.pi * 0.62), 0.115 * size * np.cos(t * np.pi * 0.62)
        x, y = far * np.cos(angle), far * np.sin(angle)
        grain = noise(np.stack([x * 20, y * 20, high + 0 * x], -1), seed_of(random), 3)
        colours = mix(rgb("5b351c"), rgb("93643a"), 0.45 + 0.5 * grain)
        lines = [np.abs(x * np.cos(k * np.pi / 3) + y * np.sin(k * np.pi / 3)) for k in range(3)]
        cut = step(np.minimum.reduce(lines), 0.018, 0.008) * step(np.hypot(x, y), 0.125 * size, 0.10 * size)
        points = np.stack([x, y, high - 0.010 * cut + 0.003 * grain], -1)
        under = step(t, 0.88, 0.93) + 0 * x
        return [sheet(points, mix(mix(colours, rgb("f0dfba"), cut), rgb("d8c298"), under), closed_rows=True).of("wet")]

    return lay(random, FIVE, cap, 0.09, tilt=0.16)


def woodear(random: Random) -> list[Mesh]:
    """Dark, thin, ruffled ears."""

    def ear(random: Random) -> list[Mesh]:
        seed = seed_of(random)
        angle = np.linspace(0, 2 * np.pi, 110)[:, None]
        t = np.linspace(0.0, 1, 30)[None]
        wave = 0.06 * np.sin(3 * angle + random.uniform(0, 6)) + 0.03 * np.sin(7 * angle + random.uniform(0, 6))
        far = t * (0.19 + 0.03 * np.cos(2 * angle + 1))
        z = 0.09 * t**1.6 + wave * t**2
        points = np.stack([far * np.cos(angle), far * np.sin(angle), z], -1)
        shade = noise(points * 16, seed, 2)
        colours = mix(rgb("2a1a14"), rgb("5a3a2c"), 0.4 + 0.5 * shade)
        return [sheet(points, mix(colours, rgb("8a6650"), 0.7 * step(t + 0 * angle, 0.93, 0.99))).of("wet")]

    return lay(random, FOUR, ear, 0.06, tilt=0.35)


def seaweed(random: Random) -> list[Mesh]:
    """Ribbons of kelp, dark green and wet."""
    placed = []
    for x, y, z in heap(random, 16, 0.24, 0.14):
        u = np.linspace(-1, 1, 60)[:, None] + np.zeros((1, 8))
        s = np.linspace(-1, 1, 8)[None] + 0 * u
        sway = random.uniform(0.04, 0.10) * np.sin(u * random.uniform(2, 4) + random.uniform(0, 6))
        lift = 0.03 * np.cos(u * random.uniform(3, 6)) + 0.02 * s * np.sin(3 * u + random.uniform(0, 6))
        points = np.stack([0.26 * u, sway + 0.036 * s, lift], -1)
        shade = random.uniform(0, 1)
        colours = mix(
            mix(rgb("1c3a1a"), rgb("46602a"), shade) + 0 * points, rgb("6f7f3c"), 0.6 * step(np.abs(s), 0.8, 1)
        )
        placed.append(sheet(points, colours).turned(random.uniform(0, 6.3)).moved(x, y, z + 0.06))
    return [merge(placed).of("wet")]


def cucumber(random: Random) -> list[Mesh]:
    def flesh(share: np.ndarray, angle: np.ndarray, side: np.ndarray) -> np.ndarray:
        colours = mix(rgb("cfe3a0"), rgb("e6efc2"), step(share, 0.45, 0.62))
        seeds = step(np.cos(12 * angle), 0.5, 0.85) * step(share, 0.22, 0.3) * step(share, 0.5, 0.42)
        return mix(colours, rgb("f7f4d8"), seeds)

    def round_(random: Random) -> list[Mesh]:
        return [slab(0.135, 0.05, rind(flesh, "2c6420", 0.07), 0.010).of("wet")]

    return lay(random, SEVEN, round_, 0.075, tilt=0.26)


def pumpkin(random: Random) -> list[Mesh]:
    """A small pumpkin with its ribs, and wedges of it."""
    turn, t = np.linspace(0, 2 * np.pi, 160, endpoint=False)[:, None], np.linspace(0, np.pi, 60)[None]
    rib = 1 - 0.16 * np.abs(np.cos(5 * turn)) ** 6
    far = 0.215 * np.sin(t) ** 0.8 * rib
    high = 0.155 * np.cos(t) * (1 - 0.28 * np.exp(-((np.sin(t) / 0.35) ** 2)))
    colours = mix(rgb("e8791a"), rgb("b3520c"), step(rib, 0.97, 0.85)) + 0 * far[..., None]
    ball = sheet(np.stack([far * np.cos(turn), far * np.sin(turn), high + 0 * turn], -1), colours, closed_rows=True)
    stem = tube(np.array([[0, 0, 0.09], [0.0, 0, 0.17], [0.04, 0.01, 0.23]]), 0.028, rgb("6d7a36"), 10)
    whole = [part.turned(0.3, 0, 0.2).moved(-0.10, 0.13, 0.155) for part in (ball.of("waxy"), stem)]

    def wedge(random: Random) -> list[Mesh]:
        angle = np.linspace(-1.05, 1.05, 60)[:, None] + np.zeros((1, 40))
        turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)[None] + 0 * angle
        taper = np.sqrt(np.clip(1 - (angle / 1.1) ** 4, 0.02, 1))
        radius = 0.24 + 0.06 * np.sign(np.cos(turn)) * np.abs(np.cos(turn)) ** 0.8 * taper
        high = 0.07 * np.sign(np.sin(turn)) * np.abs(np.sin(turn)) ** 0.7 * taper
        points = np.stack([radius * np.cos(angle) - 0.22, radius * np.sin(angle), high], -1)
        colours = mix(rgb("f29a24"), rgb("f8c05c"), step(np.cos(turn), 0.0, -0.9))
        colours = mix(colours, rgb("c9600e"), step(np.cos(turn), 0.80, 0.90))
        return [sheet(points, colours, closed_columns=True).of("soft")]

    return whole + lay(random, ((0.22, 0.10), (0.20, -0.16), (-0.12, -0.22)), wedge, 0.08, turn=-0.9, tilt=0.1)


def greenbeans(random: Random) -> list[Mesh]:
    """Pods cut in lengths, all one way, with peas that show."""
    placed = []
    for at in range(15):
        u = np.linspace(-1, 1, 50)
        path = np.stack([0.27 * u, 0.02 * random.normal() * u**2, 0 * u], 1)
        radius = (0.030 + 0.0035 * np.cos(u * 15)) * np.clip((1 - u**2) * 8, 0.25, 1)
        colour = mix(rgb("4e8f2c"), rgb("86bb4c"), random.uniform(0, 1))
        y, z = 0.27 - 0.052 * (at % 11), 0.035 + 0.05 * (at // 11)
        pod = tube(path, radius, colour, 12).turned(0.35 + random.normal(0, 0.10), random.normal(0, 0.03))
        placed.append(pod.moved(random.normal(0, 0.03), y * 0.9 if at < 11 else 0.1 - 0.06 * (at - 11), z))
    return [merge(placed).of("waxy")]


def sprouts(random: Random) -> list[Mesh]:
    """Pale, bent strands with yellow heads."""
    placed = []
    for x, y, z in heap(random, 34, 0.24, 0.16):
        u = np.linspace(-1, 1, 40)
        path = np.stack([0.20 * u, random.uniform(-0.09, 0.09) * u**2, 0.03 * np.cos(3 * u)], 1)
        strand = tube(path, 0.0155 * (1 - 0.45 * np.clip(u, 0, 1)), rgb("f4f1e2"), 10)
        x0, y0, z0 = path[0]
        head = blob((0.042, 0.028, 0.026), rgb("e9c552"), detail=12).moved(x0 - 0.02, y0, z0)
        placed.append(
            merge([strand, head]).turned(random.uniform(0, 6.3), random.normal(0, 0.15)).moved(x, y, z + 0.04)
        )
    return [merge(placed).of("wet")]


MODELS = {
    "cabbage": greens,
    "broccoli": broccoli,
    "tomato": tomato,
    "eggplant": eggplant,
    "greenpepper": greenpepper,
    "chilli": chilli,
    "corn": corn,
    "mushroom": mushroom,
    "woodear": woodear,
    "seaweed": seaweed,
    "cucumber": cucumber,
    "pumpkin": pumpkin,
    "peas": greenbeans,
    "sprouts": sprouts,
}
