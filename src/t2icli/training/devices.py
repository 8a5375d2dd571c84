"""One process or many: who I am among them, and how their gradients come together.

`torchrun` (or `t2i train --devices N`) sets RANK, WORLD_SIZE, LOCAL_RANK; without them there is one process.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
import torch.utils._pytree as trees
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from t2icli.contract.recipes import LossModel
from t2icli.ground import memory
from t2icli.ground.errors import T2IError
from t2icli.nn.devices import pick_device

BEAT = 1.0
"""Seconds between two signs of life of the first process while the others wait for it."""
LOST = re.compile("gloo|pair closure|closed by peer|reset by peer|broken pipe|socket closed|timed out waiting", re.I)
"""What gloo, which has no type for it, says of a process that is gone."""


@dataclass(frozen=True)
class World:
    """The processes that train together, seen from one of them."""

    device: torch.device
    rank: int = 0
    size: int = 1
    timeout: float = 600
    """Seconds after which a process that does not answer is lost."""

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def wait(self) -> None:
        if self.size > 1:
            dist.barrier()

    def first(self, work: Callable[[], object]) -> None:
        """Let the first process work, however long it takes; the others wait, and fail once it cannot be reached."""
        if self.size == 1:
            work()
        elif self.is_first:
            done = threading.Event()
            beat = threading.Thread(target=self._beat, args=[done], daemon=True)
            beat.start()
            try:
                work()
            finally:
                done.set()
                beat.join()
            self.any(True)
        else:
            while not self.any(False):
                pass

    def _beat(self, done: threading.Event) -> None:
        with contextlib.suppress(RuntimeError):  # a lost process is noticed by the next to speak with it
            while not done.wait(BEAT):
                self.any(False)

    def any(self, flag: bool) -> bool:
        """Whether it is so in any of the processes."""
        if self.size == 1:
            return flag
        flags = torch.tensor(float(flag), device=self.device)
        dist.all_reduce(flags, dist.ReduceOp.MAX)
        return bool(flags.item())

    def gathered(self, value: Any) -> list[Any]:
        """What every process says, by rank."""
        every = [value] * self.size
        if self.size > 1:
            dist.all_gather_object(every, value)
        return every

    def mean(self, values: Tensor) -> Tensor:
        """The average over all processes."""
        if self.size > 1:
            dist.all_reduce(values)
            values /= self.size
        return values


@contextlib.contextmanager
def process_group(device: str, timeout: float = 600) -> Iterator[World]:
    """Join the processes that the environment describes, or be the only one.

    One that does not answer for `timeout` seconds is lost, and the others end with an error.
    """
    size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    here = pick_device(device)
    if here.type == "cpu":
        memory.keep_freed()
    if size == 1:
        yield World(here)
        return
    if here.type == "cuda" and here.index is None:
        here = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(here)
    world = World(here, rank, size, timeout)
    backend = "nccl" if here.type == "cuda" else "gloo"
    try:
        dist.init_process_group(backend, timeout=timedelta(seconds=timeout))
        world.wait()
    except RuntimeError as error:
        raise _unreachable(error, backend) from error
    try:
        yield world
    except RuntimeError as error:
        if not is_loss(error):
            raise
        raise T2IError(
            f"another process of this training ended, or could not be reached for {timeout:.0f} seconds",
            "see its own message, if any, and the network; then continue with --resume",
            code=1,
        ) from error
    finally:
        dist.destroy_process_group()


def _unreachable(error: RuntimeError, backend: str) -> T2IError:
    interfaces = ", ".join(name for _, name in socket.if_nameindex() if name != "lo")
    reason = re.sub(r"\[/\S+\] ", "", str(error).strip().splitlines()[0])  # where in gloo's source
    return T2IError(
        f"the processes of this training could not reach each other: {reason}",
        f"if all of them run, name the network interface that the hosts share, on each host: "
        f"export {backend.upper()}_SOCKET_IFNAME=NAME; {socket.gethostname()} has {interfaces}",
        code=1,
    )


def is_loss(error: BaseException) -> bool:
    """Whether it says that another process is gone."""
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and bool(LOST.search(str(error))))


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
    return trees.tree_map_only(Tensor, _full, tree)


def _full(tensor: Tensor) -> Tensor:
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).detach().cpu()


def spread(full: Tensor, like: Tensor) -> Tensor:
    """A complete tensor cut up as `like` is; for one without values, room for them."""
    if not isinstance(like, DTensor) or full.shape != like.shape:
        return torch.empty(full.shape, dtype=full.dtype) if full.is_meta else full
    if full.is_meta:
        return torch.empty_like(like, dtype=full.dtype)
    return distribute_tensor(full.to(like.device), like.device_mesh, like.placements)


def reshard(model: nn.Module) -> None:
    """Let go of parameters gathered for the last forward: needed before the shards are read or written."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


@contextlib.contextmanager
def complete(model: nn.Module) -> Iterator[None]:
    """The first process's model with whole parameters in place of shards, to be saved; to be called by all."""
    reshard(model)
    is_first = not dist.is_initialized() or dist.get_rank() == 0
    shards = [
        (module, name, parameter)
        for module in model.modules()
        for name, parameter in module.named_parameters(recurse=False)
        if isinstance(parameter, DTensor)
    ]
    for module, name, parameter in shards:
        whole = _full(parameter)  # every process takes part, and one keeps it
        if is_first:
            module._parameters[name] = nn.Parameter(whole, requires_grad=False)
    try:
        yield
    finally:
        for module, name, parameter in shards:
            module._parameters[name] = parameter
