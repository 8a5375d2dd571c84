"""Which size of a recipe is trained: what a machine can bear, or what was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from t2icli.contract.entries import Entry, Size
from t2icli.ground import machine
from t2icli.ground.errors import T2IError, did_you_mean
from t2icli.registry import settings

ORIGINAL = "original"
"""The recipe's defaults: what those who published it used."""
AUTO = "auto"
SIZES = (*get_args(Size), ORIGINAL)
MANY_CORES = 8


def pick(entry: Entry[Any], word: str | None, option: Mapping[str, Any], device: str) -> str | None:
    """The size to train; None for a recipe with only one. `auto` depends on the machine, except when training continues
    from existing weights, which already have a size."""
    if word not in (None, AUTO, *SIZES):
        raise T2IError(f"there is no size called {word!r}", did_you_mean(str(word), SIZES))
    if not entry.sizes:
        if word in (None, AUTO, ORIGINAL):
            return None
        raise T2IError(f"recipe {entry.name!r} has one size only", "leave --size out, and set what you want with -o")
    if word == AUTO:
        return ORIGINAL if settings.begins_from_weights(entry.settings, option) else by_machine(entry, device)
    if word in (None, ORIGINAL):
        return ORIGINAL
    if word not in entry.sizes:
        raise T2IError(f"recipe {entry.name!r} has no size {word!r}", f"it has: {', '.join([*entry.sizes, ORIGINAL])}")
    return word


def by_machine(entry: Entry[Any], device: str) -> Size:
    """tiny on few cores, small on many, base with a GPU; of sizes for GPUs the largest that there is memory for."""
    from t2icli.nn.devices import memory_of, pick_device

    chosen = pick_device(device)
    of_memory = [size for size in entry.sizes if size.endswith("gb")]
    if of_memory:
        there = memory_of(chosen) if chosen.type == "cuda" else 0
        return max((size for size in of_memory if _gigabytes(size) <= there), key=_gigabytes, default=of_memory[0])
    if chosen.type != "cpu":
        return "base"
    return "small" if machine.cores() >= MANY_CORES else "tiny"


def _gigabytes(size: str) -> float:
    """Bytes that a GPU of that size has at least: some tell less than is written on the box."""
    return 0.95e9 * int(size.removesuffix("gb"))


def of_loop(option: Mapping[str, Any]) -> Mapping[str, Any]:
    """The loop's settings as given; anything but a table is refused when it is read as settings."""
    loop = option.get("loop")
    return loop if isinstance(loop, Mapping) else {}


def under(entry: Entry[Any], size: str | None, option: Mapping[str, Any]) -> dict[str, Any]:
    """`option` with the size's values for all that is not set."""
    if size in (None, ORIGINAL):
        return dict(option)
    chosen = dict(entry.sizes[size])  # type: ignore[index]
    if entry.suited is not None:
        chosen = settings.merge(chosen, entry.suited(size, option))  # type: ignore[arg-type]
    if settings.begins_from_weights(entry.settings, option):
        chosen = {name: value for name, value in chosen.items() if name == "loop"}
    loop = of_loop(option)
    if "epochs" in loop and "max_steps" not in loop:
        chosen["loop"] = {name: value for name, value in chosen.get("loop", {}).items() if name != "max_steps"}
    whole = {name for name, words in option.items() if isinstance(words, Mapping) and "name" in words}
    return settings.merge({name: value for name, value in chosen.items() if name not in whole}, option)
