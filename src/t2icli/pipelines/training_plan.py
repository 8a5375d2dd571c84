"""What is to be trained: from flags, or from the settings of a run that continues, to a recipe that is configured."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from t2icli.contract.entries import Entry
from t2icli.contract.kinds import loaded
from t2icli.contract.recipes import Fit, Recipe
from t2icli.data import places
from t2icli.ground import runfile, toml
from t2icli.ground.errors import T2IError
from t2icli.pipelines import made, sizes
from t2icli.pipelines.models import stand_ins, within
from t2icli.pipelines.prepare import check_data
from t2icli.registry import configure, settings
from t2icli.training import boards, launch
from t2icli.training.settings import FREE_TO_CHANGE, LoopSettings

GROWING = ("constant", "plateau", "exponential")
"""Schedules that do not depend on the length of the training, so that it may be made longer."""
Tell = Callable[[str], None]


class TrainingPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A training, in values that a `settings.toml` holds; `option` are the recipe's settings, the loop's among them."""

    recipe: str
    train_data: str
    val_data: str | None = None
    size: str | None = None
    batch_size: Literal["auto"] | None = None
    """`auto` until the data and the memory have been looked at; then the batch is in the loop's settings."""
    device: str = "auto"
    devices: int = 1
    strategy: str = "ddp"
    dist_timeout: float = 600.0
    report_to: str = "auto"
    option: dict[str, Any] = {}


@dataclass(frozen=True)
class Configured:
    """A plan whose recipe is configured. A run does that once, and changes single settings from there on."""

    plan: TrainingPlan
    entry: Entry[Recipe] | Entry[Fit]
    settings: Any

    @property
    def has_steps(self) -> bool:
        """Whether the recipe is for the training loop; the others read the captions once."""
        return _has_steps(self.entry)

    def recipe(self) -> Recipe:
        """The recipe for the loop, with its first weights."""
        thing = loaded("recipe", self.entry, self.settings)
        if not isinstance(thing, Recipe):
            raise T2IError(f"recipe {self.entry.name!r} has settings for the loop, but no steps", code=1)
        return thing

    def fit(self) -> Fit:
        """The recipe that reads the captions once."""
        thing = loaded("recipe", self.entry, self.settings)
        if not isinstance(thing, Fit):
            raise T2IError(f"recipe {self.entry.name!r} has steps, but no setting 'loop'", code=1)
        return thing

    def replace(self, **changed: Any) -> Configured:
        """The same with some of the recipe's settings changed."""
        chosen = msgspec.structs.replace(self.settings, **changed)
        return Configured(msgspec.structs.replace(self.plan, option=settings.tables(chosen)), self.entry, chosen)

    def with_plan(self, **changed: Any) -> Configured:
        """The same with some other value of the plan changed."""
        return Configured(msgspec.structs.replace(self.plan, **changed), self.entry, self.settings)


def planned(requested: Mapping[str, Any], folder: Path, *, resume: bool, tell: Tell) -> Configured:
    """The training that was requested: a new one, or with `resume` the one that `folder` holds."""
    if resume and (folder / runfile.NAME).is_file():
        return _continued(folder, requested)
    has_batch = "batch_size" in sizes.of_loop(requested.get("option") or {})
    return _new({"size": sizes.AUTO, "batch_size": None if has_batch else "auto", **requested}, tell)


def _new(requested: Mapping[str, Any], tell: Tell) -> Configured:
    """Every setting resolved; without a size, it is the original's."""
    for name, flag in (("recipe", "RECIPE"), ("train_data", "--train-data DATA")):
        if not requested.get(name):
            raise T2IError(f"{flag.split()[0]} is missing", f"add {flag}")
    boards.names(requested.get("report_to") or "auto")
    paths = {name: places.absolute(requested[name]) for name in ("train_data", "val_data") if requested.get(name)}
    for path in paths.values():
        check_data(places.where(path))
    entry, _ = configure.resolve("recipe", requested["recipe"])
    option = _of_recipe(entry, requested.get("option") or {}, requested.get("model"))
    size = sizes.pick(entry, requested.get("size"), option, requested.get("device") or "auto")
    option = made.filled(entry, sizes.under(entry, size, option), tell)
    chosen = configure.configure_entry("recipe", entry, option)
    if launch.speaks():
        for line in stand_ins(within(chosen)):
            warnings.warn(line, UserWarning, stacklevel=2)
    resolved = {"recipe": entry.name, **paths, "size": size, "option": settings.tables(chosen)}
    if not _has_steps(entry):
        resolved["batch_size"] = None
    plan = {name: value for name, value in {**requested, **resolved}.items() if name != "model"}
    return Configured(msgspec.convert(plan, TrainingPlan), entry, chosen)


def _of_recipe(entry: Entry[Any], option: Mapping[str, Any], model: str | None) -> dict[str, Any]:
    """The settings as given, with the model to start from, and without the loop's where there is no loop."""
    options = dict(option)
    if model is not None:
        name = settings.origin(entry.settings)
        if name is None:
            raise T2IError(f"recipe {entry.name!r} does not start from a model", "omit -m")
        options[name] = model
    if "loop" in options and not _has_steps(entry):
        names = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(sizes.of_loop(options))) or "loop"
        del options["loop"]
        problem = f"recipe {entry.name!r} reads the data once and has no steps; ignored: {names}"
        warnings.warn(problem, UserWarning, stacklevel=3)
    return options


def _has_steps(entry: Entry[Any]) -> bool:
    return settings.has(entry.settings, "loop", LoopSettings)


def _continued(folder: Path, requested: Mapping[str, Any]) -> Configured:
    """The run in `folder`, with what is requested now; a change that would make it another run is refused."""
    before = written(folder)
    known = msgspec.structs.asdict(before)
    if has_begun(folder) or "batch_size" in sizes.of_loop(requested.get("option") or {}):
        known["batch_size"] = None
        requested = {name: value for name, value in requested.items() if name != "batch_size"}
    if requested.get("size") == sizes.AUTO:
        requested = {name: value for name, value in requested.items() if name != "size"}
    now = _new(settings.merge(known, requested), silent)
    if before.size is not None and now.plan.size != before.size:
        hint = "leave --size out, or choose another --output"
        raise T2IError(f"the run in '{folder}' is of size {before.size!r}, not {now.plan.size!r}", hint)
    changes = _differences(before, now.plan)
    if changes and has_begun(folder):
        raise T2IError(f"the run in '{folder}' has other settings", "\n  ".join(changes))
    return now


def written(folder: Path) -> TrainingPlan:
    """The plan of the run in `folder`."""
    try:
        return msgspec.convert(toml.read(folder / runfile.NAME), TrainingPlan)
    except msgspec.ValidationError as error:
        raise T2IError(f"'{folder / runfile.NAME}' is not the settings of a run: {error}") from error


def has_begun(folder: Path) -> bool:
    """Whether a run in this folder got as far as its first step; before that nothing is lost by starting over."""
    return (folder / "log.jsonl").is_file()


def _differences(before: TrainingPlan, now: TrainingPlan) -> list[str]:
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


def silent(line: str) -> None:
    """Ignores messages."""
