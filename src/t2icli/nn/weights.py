"""Weights between a module and a model folder."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from t2icli.contract.recipes import ParamGroup
from t2icli.ground.errors import T2IError
from t2icli.store.models import WEIGHTS, Model

M = TypeVar("M", bound=nn.Module)
P = ParamSpec("P")
Tensors = Mapping[str, Tensor]


def unfilled(build: Callable[P, M], *args: P.args, **kwargs: P.kwargs) -> M:
    """The module that `build` makes, without drawing most of the random numbers that weights will replace."""
    with _Undrawn():
        return build(*args, **kwargs)


class _Undrawn(TorchFunctionMode):
    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return given["tensor"] if "tensor" in given else args[0]
        return func(*args, **given)


def load(module: M, model: Model, name: str = WEIGHTS, *, rename: Callable[[Tensors], Tensors] | None = None) -> M:
    """Fill `module` with the weights of `model`, ready for inference; `rename` gives them the module's names."""
    try:
        tensors: Tensors = from_int8(load_file(model.file(name)))
    except SafetensorError as error:
        raise T2IError(f"{name!r} of model {model.name!r} cannot be read: {error}", code=1) from error
    fill(module, rename(tensors) if rename else tensors, f"model {model.name!r}")
    return module.eval().requires_grad_(False)


SCALE = ".scale"
"""Ends the name of the scales of a matrix in 8 bits."""


def to_int8(tensors: Tensors) -> dict[str, Tensor]:
    """The same in fewer bytes: the rows of matrices in whole numbers of 8 bits, each with a scale of its own.

    Of a convolution each output channel is a row.
    """
    smaller: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if tensor.ndim not in (2, 4) or not tensor.is_floating_point() or not tensor.isfinite().all():
            smaller[name] = tensor
            continue
        rows = tuple(range(1, tensor.ndim))
        scale = tensor.float().abs().amax(rows, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny) / 127
        smaller[name] = (tensor.float() / scale).round().clamp(-127, 127).to(torch.int8)
        smaller[name + SCALE] = scale
    return smaller


def from_int8(tensors: Tensors) -> dict[str, Tensor]:
    """What `to_int8` was given, nearly; other tensors as they are."""
    scales = {name.removesuffix(SCALE): scale for name, scale in tensors.items() if name.endswith(SCALE)}
    return {
        name: tensor.float() * scales[name] if tensor.dtype == torch.int8 and name in scales else tensor
        for name, tensor in tensors.items()
        if not (name.endswith(SCALE) and tensors.get(name.removesuffix(SCALE), tensor).dtype == torch.int8)
    }


def besides(parameters: Iterable[nn.Parameter], known: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    """Those that are not among `known`, in order: for groups that are optimised in different ways."""
    ids = set(map(id, known))
    return [p for p in parameters if id(p) not in ids]


def groups(parameters: Iterable[nn.Parameter], hidden: Sequence[nn.Parameter]) -> list[ParamGroup]:
    """The hidden layers' matrices, all other matrices, and single vectors, which do not decay."""
    others = besides(parameters, hidden)
    single = [p for p in others if p.ndim <= 1]
    return [ParamGroup(hidden, hidden=True), ParamGroup(besides(others, single)), ParamGroup(single, weight_decay=0.0)]


def go_on(module: M, start: Model | None) -> M:
    """Fill `module` with the weights of a model to train further; as it is, where there is none."""
    return module if start is None else load(module, start).requires_grad_(True).train()


def check_start(start: Model, trained: object, wanted: object, names: Iterable[str]) -> None:
    """Refuse to continue from a network other than the settings describe."""
    for name in names:
        if getattr(wanted, name) != getattr(trained, name):
            raise T2IError(
                f"cannot continue from {start.name!r}: its {name} is {getattr(trained, name)}, but "
                f"{getattr(wanted, name)} was requested",
                "omit the network's settings and parts: the model has its own",
            )


def fill(module: nn.Module, tensors: Tensors, origin: str) -> None:
    """Copy `tensors` into `module`; every name must have its match, of the same shape."""
    own = dict(module.state_dict())
    wrong = [f"missing: {name}" for name in own if name not in tensors]
    wrong += [f"left over: {name}" for name in tensors if name not in own]
    wrong += [
        f"shape: {name} is {tuple(tensors[name].shape)}, needed {tuple(own[name].shape)}"
        for name in own
        if name in tensors and tensors[name].shape != own[name].shape
    ]
    if wrong:
        shown = wrong[:12] + ([f"... and {len(wrong) - 12} more"] if len(wrong) > 12 else [])
        raise T2IError(f"the weights of {origin} do not fit", "\n  ".join(shown), code=1)
    module.load_state_dict(dict(tensors), assign=False)


def save(module: nn.Module, folder: Path, name: str = WEIGHTS) -> None:
    """Write the module's state beside a card to come; tensors that are shared are stored once each name."""
    tensors = {key: value.detach().contiguous().cpu().clone() for key, value in module.state_dict().items()}
    folder.mkdir(parents=True, exist_ok=True)
    try:
        save_file(tensors, folder / name)
    except SafetensorError as error:  # such as a full disk
        raise OSError(errno.EIO, f"cannot be written: {error}", str(folder / name)) from error
