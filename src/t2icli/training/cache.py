"""Results of the parts that are not trained, computed once and cached: image codes, embeddings.

They are stored in `$T2I_HOME/cache/encoded`, one file for each (part, transform, data), are shared by all runs,
mapped into memory, and appear by renaming: a killed run leaves nothing half done under the final name.
"""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler

from t2icli.contract.recipes import Frozen, Recipe
from t2icli.data.dataset import PreparedDataset
from t2icli.ground import files
from t2icli.ground.batches import batched
from t2icli.ground.errors import T2IError
from t2icli.ground.watch import Watch, unwatched
from t2icli.store import models
from t2icli.training.devices import World
from t2icli.training.order import Read, Seeded, loader
from t2icli.training.settings import LoopSettings

BATCH = 32
"""Fixed, because a codec's rounding may depend on it."""


@dataclass(frozen=True)
class Encoded:
    """What the parts made of the data."""

    results: Mapping[str, Tensor]
    unreadable: Mapping[int, str]
    """Rows without a result, and why; only where it was asked to skip them."""


def encoded(
    parts: Sequence[Frozen],
    data: PreparedDataset,
    world: World,
    *,
    workers: int = 0,
    skip: bool = False,
    watch: Watch = unwatched,
) -> Encoded:
    """The results of every part for every sample, from the cache or computed now by the first process."""
    missing = [part for part in parts if not place(part, data).is_file()]

    def encode() -> None:
        for part in missing:
            _encode(part, data, workers, skip, watch)

    world.first(encode)
    for part in missing:
        if not place(part, data).is_file():
            raise T2IError(
                f"{socket.gethostname()} does not see '{place(part, data)}', which the first process wrote",
                "set T2I_HOME to a folder that all hosts share",
            )
    unreadable = {row: reason for part in parts for row, reason in json.loads(_noted(place(part, data)).read_bytes())}
    if unreadable and not skip:
        raise unreadable_error(data, *next(iter(unreadable.items())))
    return Encoded({part.name: _mapped(part, data) for part in parts}, unreadable)


def samples_of(
    recipe: Recipe, data: PreparedDataset, split: str, settings: LoopSettings, world: World, watch: Watch = unwatched
) -> tuple[Any, Mapping[int, str]]:
    """A recipe's samples of a part of the data, its frozen parts' results within; and the rows that have none."""
    skip = settings.on_bad_sample == "skip"
    known = encoded(recipe.frozen(), data, world, workers=settings.workers, skip=skip, watch=watch)
    return recipe.dataset(data, split, known.results), known.unreadable


def _mapped(part: Frozen, data: PreparedDataset) -> Tensor:
    # Copy-on-write, for torch wants memory it could write to.
    rows = torch.from_numpy(np.load(place(part, data), mmap_mode="c"))
    return rows.unflatten(0, (part.views, -1)) if part.views > 1 else rows


def place(part: Frozen, data: PreparedDataset) -> Path:
    """Where a part's results for some data are kept."""
    made_of = [part.name, part.identity, data.sha256, part.views]
    key = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:32]
    return models.home() / "cache" / "encoded" / f"{key}.npy"


class _InOrder(Sampler[list[tuple[int, int]]]):
    """Batches of (row, view), front to back; the view stands where training has the epoch."""

    def __init__(self, n: int, views: int) -> None:
        self.n, self.views = n, views

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        every = [(row, view) for view in range(self.views) for row in range(self.n)]
        yield from batched(every, BATCH)


def _noted(final: Path) -> Path:
    """The list of rows that could not be read, beside the results."""
    return final.with_suffix(".json")


def _encode(part: Frozen, data: PreparedDataset, workers: int, skip: bool, watch: Watch) -> None:
    samples = part.samples(data)
    final = place(part, data)
    with files.whole(final, durable=True) as draft:
        n = len(samples)
        batches = loader(Seeded(samples, 0, skip=skip), _InOrder(n, part.views), workers)
        problems = _fill(draft, part, data, batches, n, watch)
        files.write(_noted(final), json.dumps(problems), durable=True)


@torch.no_grad()
def _fill(
    draft: Path, part: Frozen, data: PreparedDataset, batches: Iterable[Read], n: int, watch: Watch
) -> list[tuple[int, str]]:
    rows, done, problems = None, 0, dict[int, str]()
    watch.progress(f"encode {part.name}", 0, part.views * n)
    for read in batches:
        if read.batch is None:
            raise read.lost or unreadable_error(data, *read.problems[0])
        problems.update(read.problems)  # their places hold the next sample's results, which are never read
        result = part.run(read.batch).detach().cpu().numpy()
        if rows is None:
            shape = (part.views * n, *result.shape[1:])
            rows = np.lib.format.open_memmap(draft, mode="w+", dtype=result.dtype, shape=shape)
        rows[done : done + len(result)] = result
        done += len(result)
        watch.progress(f"encode {part.name}", done, part.views * n)
    if rows is None:
        raise T2IError(f"'{data.place}' has no samples", "see the report: t2i prepare --check")
    rows.flush()
    return sorted(problems.items())


def unreadable_error(data: PreparedDataset, row: int, reason: str) -> T2IError:
    return T2IError(
        f"sample {name_of(data, row)} cannot be read: {reason}", "skip such samples with --on-bad-sample skip", code=1
    )


def name_of(data: PreparedDataset, row: int) -> str:
    """What the user calls a row: its key, where rows are the data's own."""
    return repr(data.key(row)) if row < len(data) else f"number {row}"
