"""One process or many: who I am among them, and how their gradients come together.

`torchrun` (or `t2i train --devices N`) sets RANK, WORLD_SIZE, LOCAL_RANK; without them there is one process.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from t2icli.contract.recipes import LossModel
from t2icli.ground.errors import T2IError
from t2icli.nn.devices import pick_device


@dataclass(frozen=True)
class World:
    """The processes that train together, seen from one of them."""

    device: torch.device
    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def wait(self) -> None:
        if self.size > 1:
            dist.barrier()

    def any(self, flag: bool) -> bool:
        """Whether it is so in any of the processes."""
        if self.size == 1:
            return flag
        heard = torch.tensor(float(flag), device=self.device)
        dist.all_reduce(heard, dist.ReduceOp.MAX)
        return bool(heard.item())

    def mean(self, values: Tensor) -> Tensor:
        """The average over all processes."""
        if self.size > 1:
            dist.all_reduce(values)
            values /= self.size
        return values


@contextlib.contextmanager
def process_group(device: str) -> Iterator[World]:
    """Be one of the processes that the environment speaks of, or the only one."""
    size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    here = pick_device(device)
    if size == 1:
        yield World(here)
        return
    if here.type == "cuda" and here.index is None:
        here = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(here)
    # The first process may encode the whole dataset while the others wait.
    dist.init_process_group("nccl" if here.type == "cuda" else "gloo", timeout=timedelta(days=1))
    try:
        yield World(here, rank, size)
    finally:
        dist.destroy_process_group()


Loss = Callable[[Any, int], tuple[Tensor, Any]]


class _Called(nn.Module):
    """A loss as a module that owns the parameters it trains: what DDP wants to wrap."""

    def __init__(self, loss: Loss, parameters: Sequence[nn.Parameter]) -> None:
        super().__init__()
        self.loss = loss
        self.trained = nn.ParameterList(parameters)

    def forward(self, batch: Any, step: int) -> tuple[Tensor, Any]:
        return self.loss(batch, step)


def averaged(loss: Loss, parameters: Sequence[nn.Parameter], world: World) -> Loss:
    """`loss`, with gradients averaged over the processes when it is differentiated."""
    if world.size == 1 or any(isinstance(parameter, DTensor) for parameter in parameters):
        return loss
    return DistributedDataParallel(_Called(loss, parameters), find_unused_parameters=True)


def silent(loss: Loss, yes: bool) -> contextlib.AbstractContextManager[None]:
    """While accumulating, only the last piece's backward needs to talk to the others."""
    return loss.no_sync() if yes and isinstance(loss, DistributedDataParallel) else contextlib.nullcontext()


def shard(model: nn.Module, world: World) -> None:
    """Split the model's parameters over the processes (FSDP2), block by block."""

    if world.size == 1:
        raise T2IError("strategy 'fsdp' shares a model between processes, but there is one", "add --devices 2")
    mesh = init_device_mesh(world.device.type, (world.size,))
    for blocks in [module for module in model.modules() if isinstance(module, nn.ModuleList)]:
        for block in blocks:
            if any(True for _ in block.parameters()):
                fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    if isinstance(model, LossModel):
        register_fsdp_forward_method(model, "loss")


def full_state(tree: Any) -> Any:
    """Every tensor of a state complete and on the CPU; to be called by all processes."""
    if isinstance(tree, Tensor):
        full = tree.full_tensor() if isinstance(tree, DTensor) else tree
        return full.detach().cpu()
    if isinstance(tree, dict):
        return {key: full_state(value) for key, value in tree.items()}
    return [full_state(value) for value in tree] if isinstance(tree, (list, tuple)) else tree


def spread(full: Tensor, like: Tensor) -> Tensor:
    """A complete tensor cut up as `like` is."""
    if not isinstance(like, DTensor) or isinstance(full, DTensor) or full.shape != like.shape:
        return full
    return distribute_tensor(full.to(like.device), like.device_mesh, like.placements)


def reshard(model: nn.Module) -> None:
    """Let go of parameters gathered for the last forward: needed before the shards are read or written."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


@contextlib.contextmanager
def complete(model: nn.Module) -> Iterator[None]:
    """The model with whole parameters in place of shards, to be saved; to be called by all processes."""
    reshard(model)
    shards = [
        (module, name, parameter)
        for module in model.modules()
        for name, parameter in module.named_parameters(recurse=False)
        if isinstance(parameter, DTensor)
    ]
    for module, name, parameter in shards:
        module._parameters[name] = nn.Parameter(full_state(parameter), requires_grad=False)
    try:
        yield
    finally:
        for module, name, parameter in shards:
            module._parameters[name] = parameter
