"""A recipe's turns while they are trained: each with its optimizer, its learning rate and its gradients."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from t2icli.contract.recipes import Turn
from t2icli.ground.errors import T2IError
from t2icli.nn.devices import pick_precision
from t2icli.training.devices import World, averaged, silent, spread
from t2icli.training.interrupt import Abandoned
from t2icli.training.muon import Muon
from t2icli.training.order import seed_all
from t2icli.training.schedule import Schedule
from t2icli.training.settings import LoopSettings


class RunningTurn:
    """One turn, with what the loop adds to it."""

    def __init__(self, turn: Turn, settings: LoopSettings, total: int, world: World) -> None:
        self.turn, self.settings, self.world = turn, settings, world
        self.parameters = [p for group in turn.groups for p in group.parameters]
        self.scales = [group.lr_scale for group in turn.groups]
        self.optimizer = _optimizer(turn, settings, world)
        self.schedule = Schedule(settings, total)
        self.scaler = torch.amp.GradScaler(world.device.type, enabled=settings.precision == "fp16")
        """Scales the loss, so that small gradients are not 0 in fp16; leaves out a step whose gradients overflow."""
        loss = torch.compile(turn.loss) if settings.compile else turn.loss
        self.loss = averaged(loss, self.parameters, world)

    def gradients(self, pieces: Sequence[Any], step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Differentiate the mean loss of a batch given in pieces; returns it, and the figures."""
        of_pieces: list[dict[str, Tensor]] = []
        for i, piece in enumerate(pieces):
            seed_all(self.settings.seed, "step", step, self.turn.name, i, self.world.rank)
            with silent(self.loss, i + 1 < len(pieces)):
                with autocast(self.settings, self.world):
                    loss, figures = self.loss(piece, step)
                self.scaler.scale(loss / len(pieces)).backward()
            of_pieces.append(_detached({"loss": loss, **figures}))
        means = _means(of_pieces)
        return means["loss"], means

    def norm(self) -> Tensor:
        """The length of the gradient, after which it is cut to `clip`."""
        self.scaler.unscale_(self.optimizer)
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        total = nn.utils.get_total_norm(gradients)
        total = total.full_tensor() if isinstance(total, DTensor) else total
        if self.settings.clip:
            nn.utils.clip_grads_with_norm_(self.parameters, self.settings.clip, total)
        return total

    def move(self, step: int) -> None:
        """One step of the optimizer."""
        for group, scale in zip(self.optimizer.param_groups, self.scales, strict=True):
            group["lr"] = self.schedule.lr(step) * scale
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.turn.after is not None:
            self.turn.after()

    def leave_out(self) -> None:
        """Take no step by these gradients."""
        self.scaler.update()

    def forget(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Any]:
        scaler = {"scaler": self.scaler.state_dict()} if self.scaler.is_enabled() else {}
        return {"optimizer": self.optimizer.state_dict(), "schedule": self.schedule.state(), **scaler}

    def spread(self, state: dict[str, Any]) -> None:
        """Cut what the optimizer knows of each parameter up as the parameter is."""
        for number, values in state["optimizer"]["state"].items():
            like = self.parameters[number]
            values.update({key: spread(value, like) for key, value in values.items() if isinstance(value, Tensor)})

    def load(self, state: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load(state["schedule"])
        if "scaler" in state:
            self.scaler.load_state_dict(state["scaler"])


@contextlib.contextmanager
def only(turn: RunningTurn, turns: Sequence[RunningTurn]) -> Iterator[None]:
    """While `turn` has its turn, the others' parameters take no gradients."""
    mine = set(map(id, turn.parameters))
    others = [p for other in turns for p in other.parameters if id(p) not in mine and p.requires_grad]
    for parameter in others:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in others:
            parameter.requires_grad_(True)


@contextlib.contextmanager
def buffers_kept(model: nn.Module) -> Iterator[None]:
    """If a turn is abandoned, averages and queues that its forward has moved already are put back."""
    before = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        yield
    except Abandoned:
        for buffer, value in before:
            buffer.copy_(value)
        raise


def running(turns: Iterable[Turn], settings: LoopSettings, total: int, world: World) -> list[RunningTurn]:
    """All turns of a recipe. With Muon, a turn without matrices for it, as an adversary's, is left to AdamW."""
    turns = list(turns)
    if settings.optimizer == "muon" and not any(group.hidden for turn in turns for group in turn.groups):
        raise T2IError("this recipe has no matrices for the optimizer 'muon'", "try: --optimizer adamw")
    return [RunningTurn(turn, settings, total, world) for turn in turns]


def interruptible(parameters: Iterable[nn.Parameter]) -> None:
    """Python handles signals between its own instructions, of which a backward pass has none; these are some."""
    for parameter in parameters:
        if parameter.requires_grad:
            parameter.register_hook(lambda gradient: None)


def autocast(settings: LoopSettings, world: World) -> torch.autocast:
    precision = pick_precision(settings.precision, world.device)
    dtype = torch.float16 if precision == "fp16" else torch.bfloat16
    return torch.autocast(world.device.type, dtype, enabled=precision != "fp32")


def _optimizer(turn: Turn, settings: LoopSettings, world: World) -> torch.optim.Optimizer:
    groups = [
        {
            "params": list(group.parameters),
            "weight_decay": settings.weight_decay if group.weight_decay is None else group.weight_decay,
        }
        for group in turn.groups
    ]
    if settings.optimizer == "muon":
        return _muon(turn, groups, settings)
    kinds: dict[str, Callable[..., torch.optim.Optimizer]] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    sharded = any(isinstance(p, DTensor) for group in turn.groups for p in group.parameters)
    fused = world.device.type in ("cpu", "cuda") and not sharded
    return kinds[settings.optimizer](
        groups, lr=settings.lr, betas=settings.betas, eps=settings.eps, fused=fused or None
    )


def _muon(turn: Turn, groups: list[dict[str, Any]], settings: LoopSettings) -> Muon:
    if any(isinstance(p, DTensor) for group in turn.groups for p in group.parameters):
        raise T2IError("the optimizer 'muon' cannot train in shards", "use --strategy ddp, or --optimizer adamw")
    marked = [{**values, "hidden": group.hidden} for values, group in zip(groups, turn.groups, strict=True)]
    return Muon(marked, lr=settings.lr, betas=settings.betas, eps=settings.eps)


def _detached(figures: dict[str, Any]) -> dict[str, Tensor]:
    return {name: torch.as_tensor(value, dtype=torch.float32).detach() for name, value in figures.items()}


def _means(of_pieces: Iterable[dict[str, Tensor]]) -> dict[str, Tensor]:
    listed = list(of_pieces)
    return {name: sum((figures[name] for figures in listed), torch.zeros(())) / len(listed) for name in listed[0]}
