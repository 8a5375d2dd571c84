"""Path-trace the layers of which `t2i prepare plates -o look=photo` composes its pictures; needs `bpy`.

    python render.py FOLDER [KEY ...] [--draft]

What is in FOLDER is not rendered again, so that a run that was stopped goes on. With keys, those alone are rendered.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

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
from scene import Studio, plane

VARIANTS = 3
FULL, CLUSTER, THING = 240, 144, 216
"""Pixels of a vessel, of an ingredient, of a form that is one thing, all at one scale."""
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
REACH = {"fish": 0.62, "honey": 0.33, "crab": 0.47, "lobster": 0.52}
"""Radius of an ingredient on the plate, where it is not 0.44."""


@dataclass(frozen=True)
class Layer:
    name: str
    shoot: Callable[[Studio, Path, int], None]

    @property
    def key(self) -> str:
        return self.name.rsplit("-", 1)[0]


def layers() -> Iterator[Layer]:
    """All of them; the second and third variants of ingredients last."""
    yield from _tables()
    yield from _vessels()
    yield from _contents()
    for variant in range(VARIANTS):
        for key, model in INGREDIENTS.items():
            yield _cluster(key, model, variant, CLUSTER, REACH.get(key, 0.44))
        if variant < 2:
            for key, model in THINGS.items():
                yield _cluster(key, model, variant, THING, 0.66)
            for key, model in drinks.MODELS.items():
                yield _drink(key, model, variant)


def _random(key: str, variant: int) -> np.random.Generator:
    return np.random.default_rng([variant, zlib.crc32(key.encode())])


def _cluster(key: str, model: Model, variant: int, pixels: int, reach: float) -> Layer:
    def shoot(studio: Studio, path: Path, samples: int) -> None:
        studio.shoot(path, _sized(model(_random(key, variant)), reach), pixels=pixels, samples=samples)

    return Layer(f"{key}-{variant}", shoot)


def _drink(key: str, model: Model, variant: int) -> Layer:
    def shoot(studio: Studio, path: Path, samples: int) -> None:
        meshes = [mesh.scaled(1.25) for mesh in model(_random(key, variant))]
        # Glass is half clear, and the denoiser leaves the alpha alone.
        studio.shoot(path, meshes, pixels=FULL, samples=3 * samples, height=0.5)

    return Layer(f"{key}-{variant}", shoot)


def _vessels() -> Iterator[Layer]:
    for key, (model, colours) in tableware.VESSELS.items():
        for colour in colours:

            def shoot(studio: Studio, path: Path, samples: int, key=key, model=model, colour=colour) -> None:  # type: ignore[no-untyped-def]
                studio.shoot(path, model(colour), pixels=FULL, samples=samples, ground=plane(tableware.FEET[key]))

            yield Layer(f"vessel-{key}-{colour}", shoot)


def _contents() -> Iterator[Layer]:
    """What fills a vessel, shaded and covered by its wall."""
    for within, fillings in (("bowl", contents.HOLLOW), ("plate", contents.FLAT), ("cup", contents.CUPS)):
        for key, model in fillings.items():
            for variant in range(1 if within == "cup" else 2):

                def shoot(
                    studio: Studio, path: Path, samples: int, within=within, key=key, model=model, variant=variant
                ) -> None:  # type: ignore[no-untyped-def]
                    wall = tableware.VESSELS[within][0]("white")
                    studio.shoot(
                        path, model(_random(key, variant)), pixels=FULL, samples=samples, hidden=wall, table=False
                    )

                yield Layer(f"in-{key}-{variant}", shoot)


def _tables() -> Iterator[Layer]:
    for kind in tableware.TABLES:

        def shoot(studio: Studio, path: Path, samples: int, kind=kind) -> None:  # type: ignore[no-untyped-def]
            studio.shoot(path, tableware.table(kind), pixels=FULL, samples=samples, opaque=True)

        yield Layer(f"table-{kind}", shoot)
    for key, model, count in (
        ("chopsticks", tableware.chopsticks, 2),
        ("napkin", tableware.napkin, 3),
        ("scallions", contents.scallions, 2),
    ):
        for variant in range(count):

            def shoot(studio: Studio, path: Path, samples: int, key=key, model=model, variant=variant) -> None:  # type: ignore[no-untyped-def]
                studio.shoot(path, model(_random(key, variant)), pixels=FULL, samples=samples)

            yield Layer(f"{key}-{variant}", shoot)


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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("keys", nargs="*")
    parser.add_argument("--draft", action="store_true", help="one variant, few samples, again if it is there")
    wanted = parser.parse_args()
    wanted.folder.mkdir(parents=True, exist_ok=True)
    studio = Studio()
    for layer in layers():
        path = wanted.folder / f"{layer.name}.png"
        if wanted.keys and not {layer.key, layer.name} & set(wanted.keys):
            continue
        if wanted.draft and layer.name.endswith(("-1", "-2")):
            continue
        if path.exists() and not wanted.draft:
            continue
        start = time.process_time()
        part = path.with_suffix(".part.png")
        try:
            with _quiet():
                layer.shoot(studio, part, 5 if wanted.draft else 14)
        except Exception:
            if not wanted.draft:
                raise
            import traceback

            traceback.print_exc(limit=-2)
            continue
        part.replace(path)
        print(f"{layer.name}: {time.process_time() - start:.1f} s of CPU", flush=True)


if __name__ == "__main__":
    main()
