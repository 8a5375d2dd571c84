"""Where the pieces of a cluster lie: about the middle of a circle of radius 0.42, on the ground."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from mesh import Mesh

Random = np.random.Generator
Spots = Iterable[tuple[float, float]]
Model = Callable[[Random], list[Mesh]]

TWO = ((-0.19, 0.06), (0.19, -0.06))
THREE = ((-0.20, 0.13), (0.20, 0.11), (-0.01, -0.17))
FOUR = ((-0.20, 0.16), (0.18, 0.19), (-0.15, -0.14), (0.21, -0.13))
FIVE = ((-0.03, 0.20), (-0.23, 0.06), (0.20, 0.07), (-0.11, -0.14), (0.13, -0.13))
SEVEN = ((-0.14, 0.25), (0.13, 0.25), (-0.28, 0.03), (0.0, 0.04), (0.28, 0.03), (-0.14, -0.20), (0.14, -0.20))


def seed_of(random: Random) -> int:
    return int(random.integers(99999))


def lay(
    random: Random, spots: Spots, model: Model, lift: float = 0, turn: float | None = None, tilt: float = 0.1
) -> list[Mesh]:
    """A piece on every spot, turned anyhow or by `turn`, tilted a little."""
    placed = []
    for x, y in spots:
        yaw = random.uniform(0, 2 * np.pi) if turn is None else turn + random.normal(0, 0.15)
        pitch, roll = random.normal(0, tilt, 2)
        x, y = x + random.normal(0, 0.012), y + random.normal(0, 0.012)
        placed += [mesh.turned(yaw, pitch, roll).moved(x, y, lift) for mesh in model(random)]
    return placed


def heap(random: Random, count: int, radius: float, height: float) -> list[tuple[float, float, float]]:
    """Places in a heap, the lowest first."""
    far = radius * np.sqrt(random.uniform(0, 1, count))
    angle = random.uniform(0, 2 * np.pi, count)
    level = height * (1 - (far / radius) ** 2) * np.sqrt(random.uniform(0.3, 1, count))
    return sorted(zip(far * np.cos(angle), far * np.sin(angle), level, strict=True), key=lambda place: place[2])
