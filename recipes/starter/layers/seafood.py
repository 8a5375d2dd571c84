"""Whole fish, shells, and what has many legs."""

from __future__ import annotations

import numpy as np
from layout import THREE, Random, lay, seed_of
from mesh import Mesh, blob, merge, mix, noise, rgb, sheet, step, tube


def _profile(at: np.ndarray, points: list[tuple[float, float]]) -> np.ndarray:
    where, value = np.array(points).T
    fine = np.interp(np.linspace(0, 1, 401), where, value)
    fine = np.convolve(np.pad(fine, 10, mode="edge"), np.hanning(21) / np.hanning(21).sum(), "valid")
    return np.interp(at, np.linspace(0, 1, 401), fine)


def _fin(points: list[tuple[float, float]], rays: int, colour: str, dark: str) -> Mesh:
    """A flat fin between its root (first half of the points) and its rim (second half, in the same order)."""
    half = len(points) // 2
    root, rim = np.array(points[:half]), np.array(points[half:])
    s = np.linspace(0, 1, 60)
    along = np.linspace(0, 1, half)
    low, high = (np.stack([np.interp(s, along, side[:, k]) for k in (0, 1)], -1) for side in (root, rim))
    t = np.linspace(0, 1, 16)[None, :, None]
    points_ = low[:, None] * (1 - t) + high[:, None] * t
    ridge = 0.5 + 0.5 * np.cos(s * rays * 2 * np.pi)[:, None] + 0 * t[..., 0]
    z = 0.010 * ridge + 0.02
    return sheet(
        np.concatenate([points_, z[..., None]], -1), mix(rgb(dark), rgb(colour), ridge * (1 - 0.3 * t[..., 0]))
    )


def whole_fish(random: Random) -> Mesh:
    """A fish that lies on its side, its head to the left; about 1 long."""
    seed = seed_of(random)
    t = np.linspace(0, 1, 160)[:, None]
    turn = np.linspace(0, 2 * np.pi, 72, endpoint=False)[None]
    top = 1.2 * _profile(
        t, [(0, 0.0), (0.03, 0.05), (0.12, 0.115), (0.30, 0.165), (0.5, 0.155), (0.75, 0.085), (0.92, 0.045), (1, 0.05)]
    )
    low = 1.2 * _profile(
        t, [(0, 0.0), (0.03, 0.04), (0.12, 0.10), (0.30, 0.155), (0.5, 0.14), (0.75, 0.07), (0.92, 0.04), (1, 0.045)]
    )
    x = -0.46 + 0.78 * t + 0 * turn
    y = np.where(np.sin(turn) > 0, top, low) * np.sin(turn)
    z = 0.55 * (top + low) / 2 * np.cos(turn)
    gill = np.exp(-(((t - 0.27 + 1.6 * (y / 0.9) ** 2) / 0.012) ** 2))
    cuts = sum(np.exp(-(((t - at - 0.25 * y) / 0.010) ** 2)) for at in (0.44, 0.56, 0.68)) * step(np.abs(y), 0.13, 0.10)
    z = z * (1 - (0.10 * gill + 0.14 * cuts) * (np.cos(turn) > 0))
    u, v = t * 34, y / 0.17 * 7
    row = np.floor(u)
    scale = np.hypot(u - row - 0.5, (v + 0.5 * (row % 2)) % 1 - 0.5)
    body = step(t, 0.26, 0.30) * step(t, 0.95, 0.88) + 0 * turn
    rim = body * step(scale, 0.38, 0.52)
    back = step(y / (top + 1e-6), -0.05, 0.75)
    grain = noise(np.stack([x * 12, y * 12, z * 12], -1), seed, 2)
    colours = mix(
        mix(rgb("e9e6da"), rgb("b3b6b0"), step(y / (low + 1e-6), -0.6, 0.1)), rgb("3a4644"), back * (0.85 + 0.2 * grain)
    )
    colours = mix(colours, colours * 0.52, 0.7 * rim)
    colours = mix(mix(colours, rgb("7d5f4a"), 0.7 * gill), rgb("f6efe0"), np.clip(cuts, 0, 1))
    mouth = np.exp(-(((y + 0.012) / 0.006) ** 2)) * step(t, 0.075, 0.06)
    colours = mix(colours, rgb("3a2a24"), 0.8 * mouth)
    parts = [sheet(np.stack([x, y, z], -1), colours, closed_columns=True)]
    parts += _fins_and_eye()
    return merge(parts).of("wet")


def _fins_and_eye() -> list[Mesh]:
    tail = _fin(
        [(0.30, -0.045), (0.31, 0.0), (0.30, 0.05), (0.53, -0.19), (0.44, 0.0), (0.53, 0.20)], 9, "8d938c", "4c5450"
    )
    dorsal = _fin(
        [(-0.20, 0.16), (0.0, 0.18), (0.18, 0.09), (-0.13, 0.28), (0.06, 0.275), (0.24, 0.14)], 11, "8d958e", "434d4a"
    )
    belly = _fin(
        [(-0.10, -0.16), (-0.05, -0.165), (0.0, -0.16), (-0.02, -0.26), (0.03, -0.255), (0.06, -0.20)],
        5,
        "b9bab0",
        "777c76",
    )
    anal = _fin(
        [(0.10, -0.09), (0.16, -0.07), (0.20, -0.06), (0.16, -0.17), (0.21, -0.15), (0.25, -0.10)],
        5,
        "b9bab0",
        "777c76",
    )
    side = _fin(
        [(-0.20, -0.02), (-0.195, -0.04), (-0.19, -0.06), (-0.06, -0.01), (-0.05, -0.05), (-0.08, -0.09)],
        6,
        "c3c2b6",
        "777a74",
    )
    parts = [tail, dorsal, belly, anal, side.moved(0, 0, 0.085)]
    for radius, colour, high in ((0.036, "f7f4e8", 0.066), (0.029, "eac04a", 0.073), (0.020, "14100c", 0.080)):
        parts.append(blob((radius, radius, 0.014), rgb(colour), detail=20).moved(-0.345, 0.030, high))
    return parts


def fish(random: Random) -> list[Mesh]:
    return [whole_fish(random).turned(0.28 + random.normal(0, 0.06), 0, -0.12).moved(0, 0, 0.12)]


def shrimp(random: Random) -> list[Mesh]:
    def one(random: Random) -> list[Mesh]:
        t = np.linspace(0, 1, 70)
        angle = -0.5 + 4.3 * t
        far = 0.155 - 0.035 * t
        path = np.stack([far * np.cos(angle), far * np.sin(angle), 0.01 * np.sin(9 * t)], 1)
        radius = 0.078 * np.sin(np.clip(0.25 + 0.75 * (1 - t), 0, 1) * np.pi * 0.62) ** 0.9
        radius = radius * (1 + 0.06 * np.sin(t * 2 * np.pi * 6.5)) + 0.006
        band = 0.5 + 0.5 * np.sin(t * 2 * np.pi * 6.5)
        colours = mix(mix(rgb("e8603a"), rgb("fbc9ac"), band * 0.8), rgb("d8421c"), step(t, 0.82, 1) * 0.9)
        parts = [tube(path, radius, colours, 20)]
        for side in (-1, 1):
            turn = angle[-1] + 1.57 + 0.4 * side
            x, y, _ = path[-1] + [0.06 * np.cos(turn), 0.06 * np.sin(turn), 0]
            parts.append(blob((0.082, 0.036, 0.012), rgb("cf3a18"), detail=16).turned(turn).moved(x, y))
        return [merge(parts).of("wet")]

    return lay(random, THREE, one, 0.09)


def _limb(points: list[tuple[float, float, float]], radius: float, colour: np.ndarray, taper: float = 0.35) -> Mesh:
    bend = np.array(points)
    where = np.linspace(0, 1, len(bend))
    t = np.linspace(0, 1, 34)
    path = np.stack([np.interp(t, where, bend[:, k]) for k in range(3)], 1)
    return tube(path, radius * (1 - (1 - taper) * t), colour, 10)


def _claw(size: float, colour: np.ndarray) -> Mesh:
    """A pincer along x, its fingers open at the far end."""
    palm = blob((0.10, 0.062, 0.055), colour, (0.9, 0.9), detail=24)
    fixed = _limb([(0.06, -0.030, 0), (0.14, -0.040, 0), (0.205, -0.012, 0)], 0.034, colour, 0.25)
    free = _limb([(0.06, 0.036, 0), (0.14, 0.056, 0), (0.20, 0.022, 0)], 0.030, colour, 0.25)
    tips = [blob((0.016, 0.012, 0.012), rgb("3a1a10"), detail=8).moved(0.205, y) for y in (-0.012, 0.022)]
    return merge([palm, fixed, free, *tips]).scaled(size)


def crab(random: Random) -> list[Mesh]:
    """A steamed crab from above: broad shell, two claws in front, four legs on each side."""
    seed = seed_of(random)
    shell = blob((0.27, 0.20, 0.10), rgb("d9531c"), (0.9, 0.85), detail=60)
    v = shell.vertices.copy()
    v[:, 0] *= 1 + 0.22 * (v[:, 1] / 0.20)
    spikes = (
        np.cos(np.arctan2(v[:, 1], v[:, 0]) * 30) * (v[:, 1] > 0) * step(np.hypot(v[:, 0] / 0.3, v[:, 1] / 0.2), 0.8, 1)
    )
    v[:, :2] *= (1 + 0.035 * spikes)[:, None]
    groove = np.exp(-((np.abs(v[:, 0]) - 0.075 - 0.35 * (v[:, 1] + 0.05) ** 2) ** 2) / 0.0003) * (v[:, 2] > 0)
    v[:, 2] += 0.008 * noise(v * 20, seed, 2) - 0.012 * groove
    colours = mix(rgb("e0561a"), rgb("f08a3c"), step(noise(v * 9, seed, 3), 0.0, 0.7))
    colours = mix(colours, rgb("9a2f0c"), 0.6 * groove)
    colours = mix(colours, rgb("f6d9b0"), step(v[:, 2], 0.0, -0.06))
    red = rgb("dd4f1a")
    parts = [Mesh(v, shell.faces, colours).moved(0, 0, 0.13)]
    for side in (-1, 1):
        for at in range(4):
            out, y = 0.47 - 0.035 * at, 0.10 - 0.085 * at
            knee = (side * (0.36 - 0.015 * at), y + 0.06 - 0.06 * at, 0.19)
            leg = [(side * 0.22, y, 0.11), knee, (side * out, y - 0.05 - 0.075 * at, 0.02)]
            parts.append(_limb(leg, 0.036, mix(red, rgb("f3a45c"), 0.25 * at / 3), 0.25))
        arm = [(side * 0.21, 0.15, 0.11), (side * 0.36, 0.24, 0.13), (side * 0.30, 0.36, 0.12)]
        parts.append(_limb(arm, 0.048, red, 0.9))
        claw = _claw(1.05, red).turned(np.pi - 0.5 if side > 0 else 0.5)
        parts.append(claw.moved(side * 0.20, 0.40, 0.12))
        parts.append(_limb([(side * 0.06, 0.19, 0.14), (side * 0.07, 0.235, 0.18)], 0.012, red, 1))
        parts.append(blob((0.022,) * 3, rgb("120c0a"), detail=12).moved(side * 0.07, 0.24, 0.185))
    return [merge(parts).of("wet").turned(random.normal(0, 0.12))]


def lobster(random: Random) -> list[Mesh]:
    """A red lobster from above, its head up: two claws, a jointed tail with a fan."""
    red, dark = rgb("cf2a12"), rgb("8e1408")
    back = blob((0.115, 0.19, 0.10), red, (0.9, 0.9), detail=44).rough(0.005, 30, seed_of(random))
    groove = np.exp(-((back.vertices[:, 1] + 0.02 - 1.5 * back.vertices[:, 0] ** 2) ** 2) / 0.0002)
    parts = [Mesh(back.vertices, back.faces, mix(back.colours, dark, 0.7 * groove)).moved(0, 0.10, 0.11)]
    for at in range(6):
        wide = 0.108 - 0.009 * at
        ring = blob((wide, 0.052, 0.088 - 0.006 * at), mix(red, rgb("e8552e"), 0.5 * (at % 2)), (0.9, 0.7), detail=30)
        edge = step(ring.vertices[:, 1], -0.02, -0.045)
        parts.append(
            Mesh(ring.vertices, ring.faces, mix(ring.colours, dark, 0.55 * edge))
            .turned(0, 0, -0.25)
            .moved(0, -0.10 - 0.064 * at, 0.10 - 0.004 * at)
        )
    for turn in (-0.75, -0.38, 0, 0.38, 0.75):
        lobe = blob((0.042, 0.085, 0.016), mix(red, dark, 0.3 * (turn != 0)), detail=20)
        parts.append(lobe.moved(0, -0.07).turned(turn).moved(0, -0.46, 0.06))
    for side in (-1, 1):
        for at in range(4):
            y = 0.16 - 0.065 * at
            leg = [(side * 0.09, y, 0.09), (side * 0.23, y + 0.02, 0.12), (side * 0.29, y - 0.06 - 0.02 * at, 0.02)]
            parts.append(_limb(leg, 0.019, red, 0.4))
        arm = [(side * 0.08, 0.22, 0.10), (side * 0.20, 0.27, 0.12), (side * 0.23, 0.36, 0.11)]
        parts.append(_limb(arm, 0.034, red, 1.1))
        parts.append(_claw(1.25, red).scaled(1, side, 1).turned(np.pi / 2 - 0.15 * side).moved(side * 0.24, 0.47, 0.11))
        feeler = [
            (side * 0.03, 0.27, 0.13),
            (side * 0.10, 0.45, 0.16),
            (side * 0.06, 0.62, 0.14),
            (side * 0.12, 0.72, 0.12),
        ]
        parts.append(_limb(feeler, 0.010, red, 0.4))
        parts.append(blob((0.018,) * 3, rgb("120c0a"), detail=10).moved(side * 0.04, 0.275, 0.16))
    return [merge(parts).of("wet").turned(0.35 + random.normal(0, 0.1))]


def squid(random: Random) -> list[Mesh]:
    """Rings of squid, their rims purple, and a tuft of arms."""

    def ring(random: Random) -> list[Mesh]:
        angle = np.linspace(0, 2 * np.pi, 90, endpoint=False)[:, None]
        turn = np.linspace(0, 2 * np.pi, 18, endpoint=False)[None]
        far = 0.135 * (1 + 0.10 * np.cos(2 * angle + random.uniform(0, 6)))
        radius = far + 0.034 * np.cos(turn)
        points = np.stack(
            [radius * np.cos(angle), radius * np.sin(angle), 0.042 * np.sin(turn) + 0.012 * np.cos(3 * angle)], -1
        )
        colours = mix(rgb("fbf3ea"), rgb("c58aa0"), 0.8 * step(np.cos(turn), 0.70, 0.98)) + 0 * points
        return [sheet(points, colours, closed_rows=True, closed_columns=True).of("wet")]

    arms = []
    for at in range(8):
        out = np.linspace(0, 1, 40)
        angle = at * 2 * np.pi / 8 + 0.9 * out * random.choice([-1, 1])
        path = np.stack(
            [0.19 * out * np.cos(angle), 0.19 * out * np.sin(angle), 0.13 - 0.10 * out + 0.05 * np.sin(4 * out)], 1
        )
        arms.append(tube(path, 0.032 * (1 - 0.7 * out), mix(rgb("efd3cc"), rgb("b0647e"), out), 10))
    tuft = merge(arms).of("wet").moved(0.20, -0.14)
    return [*lay(random, ((-0.19, 0.14), (0.08, 0.18), (-0.16, -0.14), (-0.02, 0.02)), ring, 0.07, tilt=0.3), tuft]


def octopus(random: Random) -> list[Mesh]:
    """A small octopus: a round head, eight arms that curl at the tips, pale suckers."""
    skin, pale = rgb("9c3a4a"), rgb("e9b0a8")
    head = blob((0.15, 0.13, 0.15), skin, detail=40).rough(0.006, 18, seed_of(random)).moved(0, 0.10, 0.20)
    parts = [head]
    for at in range(8):
        t = np.linspace(0, 1, 90)
        base = at * 2 * np.pi / 8 + 0.2
        curl = random.choice([-1, 1])
        far = 0.10 + 0.34 * np.sin(np.clip(t * 1.25, 0, 1) * np.pi / 2) - 0.10 * step(t, 0.78, 1.0)
        angle = base + curl * (0.25 * t + 0.42 * step(t, 0.55, 1.0))
        path = np.stack(
            [far * np.cos(angle), far * np.sin(angle), 0.10 * (1 - t) ** 2 + 0.05 + 0.02 * np.sin(6 * t)], 1
        )
        radius = 0.052 * (1 - 0.78 * t)
        parts.append(tube(path, radius, mix(skin, rgb("b95560"), t), 14))
        for k in range(12, 86, 6):
            sucker = blob((0.36 * radius[k] + 0.006,) * 3, pale, detail=8)
            x, y, z = path[k] + [0, 0, 0.9 * radius[k]]
            parts.append(
                sucker.moved(
                    x - 0.4 * radius[k] * np.sin(angle[k]) * curl,
                    y + 0.4 * radius[k] * np.cos(angle[k]) * curl,
                    z - 0.004,
                )
            )
    for side in (-1, 1):
        parts.append(blob((0.018,) * 3, rgb("15100e"), detail=10).moved(0.078 * side, -0.026, 0.256))
    return [merge(parts).of("wet")]


def clam(random: Random) -> list[Mesh]:
    """Open shells, ribbed like a fan, orange flesh within."""

    def valve(seed: int) -> Mesh:
        a = np.linspace(-1, 1, 90)[:, None] * 1.30
        t = np.linspace(0, 1, 40)[None]
        far = 0.215 * t * (0.80 + 0.20 * np.cos(a))
        x, y = far * np.sin(a), far * np.cos(a) - 0.10
        z = -0.075 * np.sin(np.clip(t, 0, 1) * np.pi * 0.92) * np.cos(a * 0.9) + 0.005 * np.cos(a * 26) * t
        bands = 0.5 + 0.5 * np.sin(t * 26 + 2 * noise(np.stack([a + 0 * t, 2 * t + 0 * a, 0 * a * t], -1), seed))
        colours = mix(rgb("f2e6d2"), rgb("c79b6c"), 0.35 * bands + 0 * a)
        return sheet(np.stack([x, y, z], -1), colours)

    def shell(random: Random) -> list[Mesh]:
        seed = seed_of(random)
        lower = valve(seed)
        upper = valve(seed + 1).scaled(1, 1, -1).moved(0, 0.10).turned(0, 0, 1.45).moved(0, -0.10)
        meat = blob((0.115, 0.085, 0.045), rgb("f0a050"), (1, 0.9), detail=28).rough(0.016, 14, seed).moved(0, 0, -0.01)
        edge = blob((0.135, 0.10, 0.022), rgb("f6dcb4"), detail=24).rough(0.012, 22, seed).moved(0, 0.0, -0.022)
        parts = [lower.of("glaze"), upper.of("glaze"), meat.of("wet"), edge.of("wet")]
        return [part.turned(0, 0, -0.25) for part in parts]

    return lay(random, THREE, shell, 0.10, turn=np.pi + 0.2, tilt=0.08)


def snail(random: Random) -> list[Mesh]:
    """Sea snails: a shell wound to a point, its mouth below."""

    def shell(random: Random) -> list[Mesh]:
        t, a = np.linspace(0.02, 1, 150)[None], np.linspace(0, 2 * np.pi, 120)[:, None]
        phase = 4.5 * t**0.75 - a / (2 * np.pi)
        bulge = np.abs(np.sin(np.pi * phase))
        far = 0.185 * t**0.9 * (0.80 + 0.20 * bulge**0.6) * np.sqrt(np.clip((1.0 - t) * 14, 0, 1))
        points = np.stack([far * np.cos(a), far * np.sin(a), 0.27 - 0.50 * t + 0 * a], -1)
        stripe = step(np.sin(13 * a + 5 * np.sin(6 * phase)), 0.1, 0.8)
        colours = mix(mix(rgb("e9cf9c"), rgb("8a5428"), 0.75 * stripe), rgb("5a3418"), step(bulge, 0.30, 0.08))
        lip = blob((0.06, 0.105, 0.135), rgb("f6e4c8"), detail=24).moved(0.125, 0.0, -0.12)
        mouth = blob((0.045, 0.075, 0.10), rgb("4a2418"), detail=24).moved(0.152, 0.0, -0.12)
        return [
            part.turned(0.6).turned(0, 1.2, 0)
            for part in (sheet(points, colours).of("glaze"), lip.of("glaze"), mouth.of("wet"))
        ]

    placed = []
    for x, y, turn in ((-0.18, 0.14, 0.5), (0.20, 0.12, 2.3), (0.0, -0.17, -0.4)):
        placed += [part.turned(turn + random.normal(0, 0.25)).moved(x, y, 0.16) for part in shell(random)]
    return placed


def sea_cucumber(random: Random) -> list[Mesh]:
    """Dark, glossy, with rows of soft thorns."""

    def one(random: Random) -> list[Mesh]:
        body = blob((0.24, 0.082, 0.075), rgb("3a3022"), (0.8, 0.9), detail=44).rough(0.010, 12, seed_of(random))
        thorns = []
        for row in range(7):
            for at in range(9):
                u = -0.88 + 1.76 * (at + 0.5 * (row % 2)) / 8.5
                angle = row * np.pi / 6
                wide = np.sqrt(max(0.05, 1 - abs(u) ** 3))
                y, z = 0.082 * wide * np.cos(angle), 0.075 * wide * np.sin(angle)
                thorn = blob((0.017, 0.017, 0.032), rgb("5c4c34"), detail=8).turned(0, 0, angle - np.pi / 2)
                thorns.append(thorn.moved(0.24 * u, y, z))
        return [merge([body, *thorns]).of("wet")]

    return lay(random, ((0.0, 0.20), (0.03, 0.0), (-0.03, -0.19)), one, 0.09, turn=0.35, tilt=0.05)


MODELS = {
    "fish": fish, "shrimp": shrimp, "crab": crab, "lobster": lobster, "squid": squid, "octopus": octopus, "clam": clam,
    "snail": snail, "cucumber_sea": sea_cucumber,
}  # fmt: skip
