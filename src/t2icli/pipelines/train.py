"""The work behind `t2i train`: what is to be trained, on what, where; then the loop, in one process or several."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec

from t2icli import config, plugins, settings, toml
from t2icli.dataset import PreparedDataset
from t2icli.errors import T2IError
from t2icli.kinds import Fit, Recipe
from t2icli.pipelines.captions import captions
from t2icli.pipelines.models import stand_ins, within
from t2icli.pipelines.prepare import open_data
from t2icli.training import launch
from t2icli.training.progress import Watch, unwatched
from t2icli.training.settings import FREE_TO_CHANGE, LoopSettings

if TYPE_CHECKING:
    from t2icli.training.loop import Outcome

GROWING = ("constant", "plateau", "exponential")
"""Schedules that do not depend on the length of the training, so that it may be made longer."""


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A training, in values that a `settings.toml` holds; `option` are the recipe's settings, the loop's among them."""

    recipe: str
    train_data: str
    val_data: str | None = None
    device: str = "auto"
    devices: int = 1
    strategy: str = "ddp"
    report_to: str = "auto"
    option: dict[str, Any] = {}


def new_plan(asked: Mapping[str, Any]) -> Plan:
    """A plan from what was asked for, every setting resolved."""
    for name, flag in (("recipe", "RECIPE"), ("train_data", "--train-data DATA")):
        if not asked.get(name):
            raise T2IError(f"what to train {'on ' if name == 'train_data' else ''}is not said", f"add {flag}")
    entry, chosen = plugins.configure("recipe", asked["recipe"], asked.get("option"))
    if launch.speaks():
        for line in stand_ins(within(chosen)):
            warnings.warn(line, UserWarning, stacklevel=2)
    paths = {name: os.path.abspath(asked[name]) for name in ("train_data", "val_data") if asked.get(name)}
    return msgspec.convert({**asked, "recipe": entry.name, **paths, "option": settings.tables(chosen)}, Plan)


def continued_plan(folder: Path, asked: Mapping[str, Any]) -> Plan:
    """The plan of the run in `folder`, with what was asked for now; a change that would change the run is refused."""
    try:
        before = msgspec.convert(toml.read(folder / config.NAME), Plan)
    except msgspec.ValidationError as error:
        raise T2IError(f"'{folder / config.NAME}' is not the settings of a run: {error}") from error
    plan = new_plan(settings.merge(msgspec.structs.asdict(before), asked))
    changes = differences(before, plan)
    if changes and has_begun(folder):
        raise T2IError(f"the run in '{folder}' has other settings", "\n  ".join(changes))
    return plan


def has_begun(folder: Path) -> bool:
    """Whether a run in this folder got as far as its first step; before that nothing is lost by starting anew."""
    return (folder / "log.jsonl").is_file()


def differences(before: Plan, now: Plan) -> list[str]:
    """Every setting that would make the resumed run another one, with both values."""
    old, new = (_flat({"recipe": plan.recipe, **plan.option}) for plan in (before, now))
    free = {f"loop.{name}" for name in FREE_TO_CHANGE}
    if new.get("loop.schedule") in GROWING:
        free |= {"loop.epochs", "loop.max_steps"}
    keys = sorted((old.keys() | new.keys()) - free)
    return [f"{key}: {old.get(key)} then, {new.get(key)} now" for key in keys if old.get(key) != new.get(key)]


def _flat(tables: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tables.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{key}."))
        elif value is not None:
            flat[f"{prefix}{key}"] = value
    return flat


def train(asked: Mapping[str, Any], folder: Path, *, resume: bool = False, watch: Watch = unwatched) -> Outcome | None:
    """Train as asked, in `folder`; None when other processes were started to do it and have done it."""
    is_worker = int(os.environ.get("RANK", "0")) > 0
    with contextlib.nullcontext() if is_worker else _alone(folder):
        plan = _begin(asked, folder, resume=resume, may_write=not is_worker)
        if (fit := without_steps(plan)) is not None:
            fit.fit(captions(Path(plan.train_data)), folder / "model")
            return None
        if plan.devices > 1 and "WORLD_SIZE" not in os.environ:
            launch.launch(["-m", "t2icli", "train", "--resume", "--output", str(folder)], plan.devices)
            return None
        return _trained(plan, folder, watch)


def _begin(asked: Mapping[str, Any], folder: Path, *, resume: bool, may_write: bool) -> Plan:
    is_there = (folder / config.NAME).is_file()
    if has_begun(folder) and not resume and may_write:
        raise T2IError(f"there is a run in '{folder}' already", "continue it with --resume, or choose another --output")
    if resume and not (is_there or asked.get("train_data")):
        raise T2IError(f"there is no run in '{folder}' to go on with", "name its folder with --output")
    plan = continued_plan(folder, asked) if is_there and resume else new_plan(asked)
    if may_write:
        folder.mkdir(parents=True, exist_ok=True)
        config.write(folder, msgspec.to_builtins(plan))
    return plan


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Nobody else may train in this folder meanwhile."""
    from filelock import FileLock, Timeout

    if launch.follow_starter():  # who holds the lock
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout as error:
        raise T2IError(
            f"another process is training in '{folder}'", "wait for it, or choose another --output"
        ) from error


def open_parts(plan: Plan) -> tuple[PreparedDataset, PreparedDataset | None]:
    """What to train on and what to hold out: the validation data given, else the data's own validation split."""
    data = open_data(plan.train_data)
    if plan.val_data is not None:
        return data, open_data(plan.val_data)
    held_out = data.split("val")
    return (data.split("train"), held_out) if len(held_out) else (data, None)


def build(plan: Plan) -> tuple[Recipe, LoopSettings]:
    """The recipe with its first weights, which depend on the seed alone."""
    from t2icli.training.order import seed_all

    entry, chosen = plugins.configure("recipe", plan.recipe, plan.option)
    seed_all(chosen.loop.seed, "build")
    return cast(Recipe, entry.load(chosen)), chosen.loop


def without_steps(plan: Plan) -> Fit | None:
    """What is to be trained, if it is learnt in one go."""
    entry, chosen = plugins.configure("recipe", plan.recipe, plan.option)
    return cast(Fit, entry.load(chosen)) if "loop" not in chosen.__struct_fields__ else None


def _trained(plan: Plan, folder: Path, watch: Watch) -> Outcome:
    from t2icli.training.devices import joined
    from t2icli.training.loop import train as loop

    with joined(plan.device) as world:
        if world.is_first:
            open_parts(plan)
        world.wait()  # only one prepares
        data, held_out = open_parts(plan)
        recipe, chosen = build(plan)
        return loop(
            recipe, data, held_out, chosen, folder, world, strategy=plan.strategy, report_to=plan.report_to, watch=watch
        )


def preview(asked: Mapping[str, Any], folder: Path, *, resume: bool = False) -> list[tuple[str, str]]:
    """What would be trained: sizes, steps and the memory that weights, gradients and optimizer take."""
    from t2icli.training.samples import check_captions

    is_there = resume and (folder / config.NAME).is_file()
    plan = continued_plan(folder, asked) if is_there else new_plan(asked)
    if without_steps(plan) is not None:
        texts = sum(1 for _ in captions(Path(plan.train_data)))
        return [("recipe", plan.recipe), ("captions", str(texts)), ("run", str(folder))]
    data, held_out = open_parts(plan)
    recipe, chosen = build(plan)
    check_captions(recipe, data)
    sizes = {p: p.numel() for turn in recipe.turns() for group in turn.groups for p in group.parameters}
    trained = sum(sizes.values())
    steps = chosen.max_steps or -int(-chosen.epochs * len(data) // chosen.batch_size)
    copies = 4 + bool(chosen.ema)  # weights, gradients, two averages of Adam's
    return [
        ("recipe", plan.recipe),
        ("samples", f"{len(data)} to train on, {len(held_out) if held_out else 0} held out"),
        ("steps", f"{steps} of {chosen.batch_size} samples"),
        ("trained parameters", f"{trained / 1e6:.1f} million"),
        ("memory", f"{trained * 4 * copies / 2**30:.2f} GiB, and the activations of a batch"),
        ("run", str(folder)),
    ]
