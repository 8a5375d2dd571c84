"""Nuts, and what is sweet or eaten with it: honey, flowers, chocolate, matcha, cheese."""

from __future__ import annotations

import numpy as np
from fruit import leaf
from layout import FOUR, SEVEN, Random, heap, lay, seed_of
from mesh import Mesh, blob, box, merge, mix, noise, polygon, revolve, rgb, rind, sheet, slab, step, tube


def honey(random: Random) -> list[Mesh]:
    """A jar of honey with its dipper."""
    jar = revolve(
        [(0, 0), (0.24, 0), (0.27, 0.04), (0.27, 0.24), (0.25, 0.29), (0.25, 0.31), (0.235, 0.31), (0.235, 0.27)],
        rgb("e0890f"),
        80,
    ).of("glaze")
    rim = revolve([(0.235, 0.305), (0.235, 0.335), (0.262, 0.335), (0.262, 0.295)], rgb("f6e3b4"), 80).of("glaze")
    pool = slab(0.236, 0.01, rgb("eb9a12"), 0.002).moved(0, 0, 0.285).of("liquid")
    grooves = [
        slab(0.068 * np.sin(np.pi * (k + 1) / 8) + 0.02, 0.024, rgb("c98d4a"), 0.008).moved(0, 0, 0.034 * k)
        for k in range(7)
    ]
    stick = tube(np.linspace([0, 0, 0.20], [0, 0, 0.62], 12), 0.02, rgb("c58a48"), 12)
    dipper = merge([*grooves, stick]).turned(0.3 + random.normal(0, 0.35), 0.75, 0).moved(-0.08, 0.0, 0.27)
    drip = blob((0.075, 0.075, 0.07), rgb("e58f0c"), detail=20).moved(-0.04, 0.01, 0.31).of("liquid")
    return [jar, rim, pool, dipper.of("wood"), drip]


def flower(random: Random) -> list[Mesh]:
    """White chrysanthemums with a yellow eye."""

    def bloom(random: Random) -> list[Mesh]:
        petals = []
        for ring, (count, length) in enumerate(((15, 0.20), (12, 0.155))):
            for k in range(count):
                petal = leaf(length, 0.038, "fbf8ec")
                white = Mesh(
                    petal.vertices,
                    petal.faces,
                    mix(rgb("f3e3a0"), rgb("fdfbf2"), step(petal.vertices[:, 0], 0.03, 0.10)),
                )
                turn = 2 * np.pi * (k + 0.5 * ring) / count + random.normal(0, 0.04)
                petals.append(white.turned(0, -0.10 - 0.22 * ring, 0).turned(turn).moved(0, 0, 0.012 * ring))
        eye = blob((0.066, 0.066, 0.045), rgb("efb41e"), detail=24).rough(0.008, 60, 3).moved(0, 0, 0.045)
        return [merge([*petals, eye]).of("soft")]

    return lay(random, FOUR, bloom, 0.05, tilt=0.2)


def chocolate(random: Random) -> list[Mesh]:
    """Bars of moulded blocks, and two broken off."""

    def block(x: float, y: float) -> Mesh:
        low = box((0.082, 0.082, 0.022), rgb("4a2412"), 0.008, 8).moved(x, y, 0.022)
        high = box((0.064, 0.064, 0.018), rgb("5a2e18"), 0.012, 10).moved(x, y, 0.056)
        return merge([low, high])

    bar = (
        merge([block(0.166 * i, 0.166 * j) for i in (-1, 0, 1) for j in (-0.5, 0.5)])
        .turned(0.3 + random.normal(0, 0.12))
        .moved(0.0, 0.12)
    )
    second = (
        merge([block(0.166 * i, 0) for i in (-0.5, 0.5)])
        .turned(-0.35 + random.normal(0, 0.2), 0.0, 0.1)
        .moved(0.10, -0.17, 0.02)
    )
    return [part.of("waxy") for part in (bar, second, block(0, 0).turned(0.8, 0.25).moved(-0.22, -0.17, 0.03))]


def matcha(random: Random) -> list[Mesh]:
    """A heap of bright green powder beside a bamboo whisk."""
    t = np.linspace(0, 1, 80)[None]
    a = np.linspace(0, 2 * np.pi, 160, endpoint=False)[:, None]
    far = 0.34 * t * (1 + 0.06 * noise(np.stack([np.cos(a) * 3, np.sin(a) * 3, 0 * a], -1), seed_of(random), 2))
    x, y = far * np.cos(a), far * np.sin(a)
    grain = noise(np.stack([x * 26, y * 26, 0 * x], -1), seed_of(random), 3)
    z = 0.20 * (1 - t) ** 0.9 * (1 + 0 * a) + 0.012 * grain * (1 - t**6)
    powder = sheet(np.stack([x, y, z], -1), mix(rgb("6f9a2c"), rgb("93bb44"), 0.5 + 0.5 * grain), closed_rows=True)
    tines = []
    for k in range(36):
        angle = 2 * np.pi * k / 36
        s = np.linspace(0, 1, 14)
        wide = 0.05 + 0.05 * np.sin(np.pi * s * 0.8)
        tines.append(
            tube(np.stack([0.10 + 0.20 * s, wide * np.cos(angle), wide * np.sin(angle)], 1), 0.006, rgb("dcc184"), 6)
        )
    handle = tube(np.linspace([-0.14, 0, 0], [0.10, 0, 0], 10), 0.052, rgb("d3b373"), 24)
    whisk = merge([handle, *tines]).turned(-0.45).moved(0.10, -0.27, 0.11)
    return [powder.of("matte"), whisk.of("wood")]


def peanut(random: Random) -> list[Mesh]:
    """Shells like an eight, and kernels in their red skins."""

    def shell(random: Random) -> list[Mesh]:
        t = np.linspace(-1, 1, 60)
        radius = 0.072 * np.sqrt(np.clip(1 - t**6, 0.02, 1)) * (0.86 + 0.20 * np.cos(t * 2 * np.pi * 0.95 + np.pi))
        body = tube(np.stack([0.20 * t, 0.012 * np.sin(3 * t), 0 * t], 1), radius, rgb("d9b06c"), 28)
        v = body.vertices
        angle = np.arctan2(v[:, 2], v[:, 1])
        net = np.maximum(np.cos(10 * angle), np.cos(v[:, 0] * 80 + 5 * angle))
        return [
            Mesh(
                v * (1 + 0.02 * net[:, None] * [0, 1, 1]),
                body.faces,
                mix(body.colours, rgb("a87a40"), 0.5 * step(net, 0.4, -0.4)),
                "matte",
            )
        ]

    def kernel(random: Random) -> list[Mesh]:
        return [blob((0.066, 0.042, 0.042), mix(rgb("b0583a"), rgb("c97850"), random.uniform()), detail=18).of("soft")]

    kernels = [(x, y) for x, y, _ in heap(random, 12, 0.30, 0)]
    return lay(
        random, ((-0.14, 0.18), (0.17, 0.14), (-0.05, 0.0), (0.16, -0.14), (-0.18, -0.13)), shell, 0.085, tilt=0.1
    ) + lay(random, kernels, kernel, 0.045)


def chestnut(random: Random) -> list[Mesh]:
    def nut(random: Random) -> list[Mesh]:
        body = blob((0.125, 0.125, 0.105), rgb("5a2610"), detail=40)
        v = body.vertices.copy()
        v[:, 1] += 0.05 * np.exp(-((v[:, 0] / 0.04) ** 2)) * step(v[:, 1], 0.06, 0.12)
        streak = noise(v * np.array([45, 6, 45]), seed_of(random), 2)
        colours = mix(
            mix(rgb("4f1f0c"), rgb("80401c"), 0.5 + 0.5 * streak), rgb("cfa878"), step(v[:, 1], -0.055, -0.07)
        )
        return [Mesh(v, body.faces, colours, "glaze")]

    return lay(random, SEVEN, nut, 0.10, turn=None, tilt=0.3)


def cheese(random: Random) -> list[Mesh]:
    """Wedges with holes."""

    def wedge(random: Random) -> list[Mesh]:
        shape = polygon([(-0.22, -0.13), (0.24, -0.02), (-0.22, 0.13)], 2)
        body = slab(shape, 0.19, rind(rgb("f5c544"), "eeb02c", 0.0), 0.012).of("soft")
        holes = []
        for x, y, size in ((-0.13, 0.03, 0.040), (-0.02, -0.02, 0.030), (0.07, 0.01, 0.020), (-0.15, -0.06, 0.024)):
            holes.append(slab(size, 0.006, mix(rgb("c98a1c"), rgb("e3a92e"), 0.4), 0.002).moved(x, y, 0.0945))
        for x, z, size in ((-0.12, 0.0, 0.036), (0.02, 0.03, 0.026), (0.10, -0.02, 0.018), (-0.03, -0.05, 0.02)):
            y = -0.13 + (x + 0.22) / 0.46 * 0.11
            holes.append(
                slab(size, 0.006, rgb("cf9222"), 0.002).turned(0, 0, np.pi / 2).turned(0.235).moved(x, y - 0.001, z)
            )
        return [body, merge(holes)]

    placed = []
    for x, y, turn in ((-0.06, 0.16, 0.15), (0.06, -0.14, -0.25)):
        placed += [part.turned(turn + random.normal(0, 0.1)).moved(x, y, 0.10) for part in wedge(random)]
    return placed


MODELS = {
    "honey": honey,
    "flower": flower,
    "chocolate": chocolate,
    "matcha": matcha,
    "peanut": peanut,
    "nuts": chestnut,
    "cheese": cheese,
}
