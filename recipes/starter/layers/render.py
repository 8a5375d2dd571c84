"""Path-trace the layers of which `t2i prepare plates` composes its pictures; needs `bpy`.

What is in FOLDER is not rendered again, so that a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import contents
import drinks
import fruit
import meat
import numpy as np
import pantry
import roots
import seafood
import snacks
import sweets
import tableware
import vegetables
from layout import Model
from mesh import Mesh
from scene import SPAN, Studio, plane

VARIANTS = 3
SAMPLES = 10
"""Of every pixel; the denoiser does the rest."""
FULL = 240
"""Pixels of a vessel; what is smaller is rendered at the same scale."""
INGREDIENTS: dict[str, Model] = {
    **meat.MODELS,
    **vegetables.MODELS,
    **roots.MODELS,
    **roots.COOKED,
    **seafood.MODELS,
    **fruit.MODELS,
    **pantry.MODELS,
    **snacks.CLUSTERS,
}
THINGS: dict[str, Model] = {**sweets.MODELS, **snacks.MODELS}
REACH = {"fish": 0.62, "honey": 0.33, "crab": 0.47, "lobster": 0.60}
"""Radius of an ingredient on the plate, where it is not 0.44."""
LAID = (("chopsticks", tableware.chopsticks, 2), ("napkin", tableware.napkin, 3), ("scallions", contents.scallions, 2))


@dataclass(frozen=True)
class Layer:
    name: str
    meshes: Callable[[], list[Mesh]]
    pixels: int = FULL
    effort: int = 1
    """How many times the usual samples."""
    view: dict[str, Any] = field(default_factory=dict)
    """More that `Studio.shoot` is to know."""

    @property
    def key(self) -> str:
        return self.name.rsplit("-", 1)[0]


def layers() -> Iterator[Layer]:
    """All of them, those first that a picture of every word needs."""
    for kind in tableware.TABLES:
        yield Layer(f"table-{kind}", partial(tableware.table, kind), view={"opaque": True})
    for key, model, count in LAID:
        for variant in range(count):
            yield Layer(f"{key}-{variant}", partial(model, _random(key, variant)))
    for key, (shape, colours) in tableware.VESSELS.items():
        for colour in colours:
            view = {"ground": plane(tableware.FEET[key])}
            yield Layer(f"vessel-{key}-{colour}", partial(shape, colour), view=view)
    for variant in range(VARIANTS):
        yield from _contents(variant)
        for key, model in INGREDIENTS.items():
            yield _cluster(key, model, variant, REACH.get(key, 0.44), 0.24)
        for key, model in THINGS.items() if variant == 0 else ():
            yield _cluster(key, model, variant, 0.66, 0.56)
        for key, model in drinks.MODELS.items() if variant == 0 else ():
            # Glass is half clear, and the denoiser leaves the alpha alone.
            yield Layer(f"{key}-{variant}", partial(_drink, key, model, variant), 180, effort=2, view={"height": 0.5})


def _contents(variant: int) -> Iterator[Layer]:
    """What fills a vessel, shaded and covered by its wall; a second time what has pieces to lie otherwise."""
    for within, fillings in (("bowl", contents.HOLLOW), ("plate", contents.FLAT), ("cup", contents.CUPS)):
        wall = tableware.VESSELS[within][0]("white")
        for key, model in fillings.items():
            smooth = within == "cup" or key.startswith(("soup", "sauce", "congee"))
            if variant < (1 if smooth else 2):
                filling = partial(model, _random(key, variant))
                yield Layer(f"in-{key}-{variant}", filling, view={"hidden": wall, "table": False})


def _random(key: str, variant: int) -> np.random.Generator:
    return np.random.default_rng([variant, zlib.crc32(key.encode())])


def _cluster(key: str, model: Model, variant: int, reach: float, room: float) -> Layer:
    """Of radius `reach`, with `room` for its height and its shadow."""
    pixels = max(120, 2 * round((reach + room) * FULL / SPAN))
    return Layer(f"{key}-{variant}", lambda: _sized(model(_random(key, variant)), reach), pixels)


def _drink(key: str, model: Model, variant: int) -> list[Mesh]:
    return [mesh.scaled(1.25) for mesh in model(_random(key, variant))]


def _sized(meshes: list[Mesh], reach: float) -> list[Mesh]:
    """Moved to the middle and grown or shrunk to a circle of radius `reach`."""
    points = np.concatenate([mesh.vertices[:, :2] for mesh in meshes])
    x, y = (points.min(0) + points.max(0)) / 2
    size = reach / np.quantile(np.linalg.norm(points - [x, y], axis=1), 0.98)
    return [mesh.moved(-x, -y).scaled(size) for mesh in meshes]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Blender reports every step on the process's standard output."""
    sys.stdout.flush()
    kept, nothing = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nothing)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("keys", nargs="*", help="ingredients, forms or names of layers; all when none is given")
    parser.add_argument("--draft", action="store_true", help="the first variant alone, with few samples, even if there")
    wanted = parser.parse_args()
    wanted.folder.mkdir(parents=True, exist_ok=True)
    studio = Studio()
    for layer in layers():
        path = wanted.folder / f"{layer.name}.png"
        chosen = not wanted.keys or layer.key in wanted.keys or layer.name in wanted.keys
        skipped = layer.name.endswith(("-1", "-2")) if wanted.draft else path.exists()
        if not chosen or skipped:
            continue
        start = time.process_time()
        part = path.with_suffix(f".{os.getpid()}.part.png")
        with _quiet():
            samples = layer.effort * (5 if wanted.draft else SAMPLES)
            studio.shoot(part, layer.meshes(), pixels=layer.pixels, samples=samples, **layer.view)
        part.replace(path)
        print(f"{layer.name}: {time.process_time() - start:.1f} s of CPU", flush=True)


if __name__ == "__main__":
    main()
