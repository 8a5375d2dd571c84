"""What a checkpoint of a sharded model costs: gathered, or written in parts, at once or in the background.

    OMP_NUM_THREADS=1 python benchmarks/shards.py [MEGABYTES]

Two processes share a model of so many megabytes and Adam's two averages of it.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from table import record
from torch import nn
from torch.multiprocessing import spawn

from t2icli.ground import memory
from t2icli.training.batch import peak_memory
from t2icli.training.checkpoint import STATE, Keeper, Run
from t2icli.training.devices import World, full_state, process_group, shard

PROCESSES = 2
LAYERS = 16
STEP = 0.5
"""CPU seconds of the gradients of a step."""
ABOUT = """\
`--strategy fsdp` with 2 processes on the CPU, {megabytes} MB of parameters and Adam's averages of them; the mean of
{saves} saves after a first one, for which memory is taken, and a step of {step:.1f} CPU s after each. In the background
a part is copied while the next step computes gradients, and written after that. What a save costs a step is the time
for which the training thread waits for it, up to the optimizer's change. Memory is the most that a process took beside
its own part. Gathered is how `t2i` did it at first: every process made the whole state, and the first wrote it.
A step shorter than the copy would wait for the rest of it."""
SAVES = 4


class Gathering(Keeper):
    """The way it was done before."""

    def save(self, state: dict[str, Any], step: int) -> None:
        whole = full_state(state)
        if self.world.is_first:
            self.run.keep(step, self.keep, lambda draft: torch.save(whole, draft / STATE))
        self.world.wait()


WAYS: dict[str, tuple[type[Keeper], bool]] = {
    "gathered": (Gathering, False),
    "in parts": (Keeper, False),
    "in the background": (Keeper, True),
}


def measure(rank: int, megabytes: int, way: str, port: int, folder: str) -> None:
    """One of the processes; the first leaves its figures in `folder`."""
    told = {"RANK": rank, "WORLD_SIZE": PROCESSES, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in told.items()})
    torch.set_num_threads(1)
    kind, in_background = WAYS[way]
    with process_group("cpu") as world:
        state = _state(megabytes, world)
        keeper = kind(Run(Path(folder) / way), world, 1, is_sharded=True, in_background=in_background)
        world.wait()
        with peak_memory(world.device) as peak:
            before = memory.in_use() or 0
            keeper.save(state, 0)
            keeper.wait()
        figures = torch.tensor([_saved(keeper, state, step) for step in range(1, SAVES + 1)]).mean(0).tolist()
        highest = max(world.gathered(peak.bytes - before))
        if world.is_first:
            with (Path(folder) / "figures").open("a") as lines:
                lines.write("\t".join(map(str, [way, *figures, highest / 1e6])) + "\n")


def _saved(keeper: Keeper, state: dict[str, Any], step: int) -> tuple[float, float, float, float]:
    """How long the training thread waits for a save, and computes for it; and the same for the save as a whole."""
    begun, cpu, all_cpu = time.monotonic(), time.thread_time(), time.process_time()
    keeper.save(state, step)
    waited, computed = time.monotonic() - begun, time.thread_time() - cpu
    _gradients()
    ready = time.monotonic()
    keeper.before_change()
    waited += time.monotonic() - ready
    keeper.wait()
    return waited, computed, time.monotonic() - begun, time.process_time() - all_cpu - STEP


def _gradients() -> None:
    """What a step computes before it changes anything."""
    begun, matrix = time.thread_time(), torch.ones(512, 512)
    while time.thread_time() - begun < STEP:
        matrix @ matrix


def _state(megabytes: int, world: World) -> dict[str, Any]:
    width = int((megabytes * 1e6 / 4 / LAYERS) ** 0.5)
    model = nn.Sequential(nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(LAYERS)))
    shard(model, world)
    parameters = dict(model.named_parameters())
    averages, squares = ({name: p.detach().clone() for name, p in parameters.items()} for _ in range(2))
    return {"model": model.state_dict(), "averages": averages, "squares": squares}


def main() -> None:
    megabytes = int(sys.argv[1]) if len(sys.argv) > 1 else 512
    with tempfile.TemporaryDirectory() as folder:
        for number, way in enumerate(WAYS):
            spawn(measure, (megabytes, way, 29477 + number, folder), nprocs=PROCESSES)
        lines = [line.split("\t") for line in (Path(folder) / "figures").read_text().splitlines()]
    rows = [(name, *(round(float(value), 3) for value in values)) for name, *values in lines]
    about = ABOUT.format(megabytes=megabytes, saves=SAVES, step=STEP)
    record(
        "Checkpoints of a sharded model",
        about,
        ("way", "s the step waits", "CPU s of its thread", "s until it is on the disk", "CPU s in all", "MB more"),
        rows,
    )


if __name__ == "__main__":
    main()
