"""The work behind `t2i train`: what is to be trained, on what, where; then the loop, in one process or several."""

from __future__ import annotations

import contextlib
import os
import shlex
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal, cast

import msgspec

from t2icli.contract.kinds import Entry, Fit, Recipe
from t2icli.data.dataset import PreparedDataset
from t2icli.ground import runfile, toml
from t2icli.ground.errors import T2IError
from t2icli.pipelines import made, sizes
from t2icli.pipelines.captions import captions
from t2icli.pipelines.made import Tell
from t2icli.pipelines.models import stand_ins, within
from t2icli.pipelines.prepare import open_data
from t2icli.registry import configure, settings
from t2icli.store import models
from t2icli.training import launch
from t2icli.training.progress import Watch, unwatched
from t2icli.training.settings import FREE_TO_CHANGE, LoopSettings

if TYPE_CHECKING:
    from t2icli.training.batch import Fitting
    from t2icli.training.devices import World
    from t2icli.training.loop import Outcome

GROWING = ("constant", "plateau", "exponential")
"""Schedules that do not depend on the length of the training, so that it may be made longer."""


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A training, in values that a `settings.toml` holds; `option` are the recipe's settings, the loop's among them."""

    recipe: str
    train_data: str
    val_data: str | None = None
    size: str | None = None
    batch_size: Literal["auto"] | None = None
    """`auto` until the data and the memory have been looked at; then the batch stands among the loop's settings."""
    device: str = "auto"
    devices: int = 1
    strategy: str = "ddp"
    report_to: str = "auto"
    option: dict[str, Any] = {}


def silent(line: str) -> None:
    """For those who do not want to be told."""


def fresh_plan(asked: Mapping[str, Any], tell: Tell = silent) -> Plan:
    """The plan of a run that begins: size and batch are chosen by machine and data where they were not asked for."""
    is_said = "batch_size" in sizes.of_loop(asked.get("option") or {})
    return new_plan({"size": sizes.AUTO, "batch_size": None if is_said else "auto", **asked}, tell)


def new_plan(asked: Mapping[str, Any], tell: Tell = silent) -> Plan:
    """A plan from what was asked for, every setting resolved; without a size, it is the original's."""
    for name, flag in (("recipe", "RECIPE"), ("train_data", "--train-data DATA")):
        if not asked.get(name):
            raise T2IError(f"{flag.split()[0]} is missing", f"add {flag}")
    entry, _ = configure.resolve("recipe", asked["recipe"])
    option = _of_recipe(entry, asked.get("option") or {})
    size = sizes.pick(entry, asked.get("size"), option, asked.get("device") or "auto")
    option = made.filled(entry, sizes.under(entry, size, option), tell)
    chosen = configure.configure_entry("recipe", entry, option)
    if launch.speaks():
        for line in stand_ins(within(chosen)):
            warnings.warn(line, UserWarning, stacklevel=2)
    paths = {name: os.path.abspath(asked[name]) for name in ("train_data", "val_data") if asked.get(name)}
    resolved = {"recipe": entry.name, **paths, "size": size, "option": settings.tables(chosen)}
    if not _has_steps(entry):
        resolved["batch_size"] = None
    return msgspec.convert({**asked, **resolved}, Plan)


def _of_recipe(entry: Entry[Any], option: Mapping[str, Any]) -> dict[str, Any]:
    """What was asked for, without the loop's settings where there is no loop."""
    kept = dict(option)
    if "loop" in kept and not _has_steps(entry):
        names = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(sizes.of_loop(kept))) or "loop"
        del kept["loop"]
        told = f"recipe {entry.name!r} reads the data once and has no steps; ignored: {names}"
        warnings.warn(told, UserWarning, stacklevel=3)
    return kept


def _has_steps(entry: Entry[Any]) -> bool:
    return "loop" in settings.names(entry.settings)


def continued_plan(folder: Path, asked: Mapping[str, Any]) -> Plan:
    """The plan of the run in `folder`, with what was asked for now; a change that would change the run is refused."""
    try:
        before = msgspec.convert(toml.read(folder / runfile.NAME), Plan)
    except msgspec.ValidationError as error:
        raise T2IError(f"'{folder / runfile.NAME}' is not the settings of a run: {error}") from error
    known = msgspec.structs.asdict(before)
    if has_begun(folder) or "batch_size" in sizes.of_loop(asked.get("option") or {}):
        known["batch_size"] = None
        asked = {name: value for name, value in asked.items() if name != "batch_size"}
    if asked.get("size") == sizes.AUTO:
        asked = {name: value for name, value in asked.items() if name != "size"}
    plan = new_plan(settings.merge(known, asked))
    if before.size is not None and plan.size != before.size:
        hint = "leave --size out, or choose another --output"
        raise T2IError(f"the run in '{folder}' is of size {before.size!r}, not {plan.size!r}", hint)
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


def train(
    asked: Mapping[str, Any], folder: Path, *, resume: bool = False, watch: Watch = unwatched, tell: Tell = silent
) -> Outcome | None:
    """Train as asked, in `folder`; None when other processes were started to do it and have done it."""
    is_worker = int(os.environ.get("RANK", "0")) > 0
    with contextlib.nullcontext() if is_worker else _alone(folder):
        plan = _begin(asked, folder, tell, resume=resume, may_write=not is_worker)
        if (fit := without_steps(plan)) is not None:
            fit.fit(captions(Path(plan.train_data)), folder / "model")
            return None
        if plan.devices > 1 and "WORLD_SIZE" not in os.environ:
            launch.launch(["-m", "t2icli", "train", "--resume", "--output", str(folder)], plan.devices)
            return None
        return _trained(plan, folder, watch, tell)


def _begin(asked: Mapping[str, Any], folder: Path, tell: Tell, *, resume: bool, may_write: bool) -> Plan:
    is_there = (folder / runfile.NAME).is_file()
    if has_begun(folder) and not resume and may_write:
        raise T2IError(f"there is already a run in '{folder}'", "continue it with --resume, or choose another --output")
    if resume and not (is_there or asked.get("train_data")):
        raise T2IError(f"there is no run to continue in '{folder}'", "name its folder with --output")
    plan = continued_plan(folder, asked) if is_there and resume else fresh_plan(asked, tell)
    if may_write:
        folder.mkdir(parents=True, exist_ok=True)
        _write(plan, folder)
    return plan


def _write(plan: Plan, folder: Path) -> None:
    runfile.write(folder, msgspec.to_builtins(plan))


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Nobody else may train in this folder meanwhile."""
    from filelock import FileLock, Timeout

    if launch.follow_starter():  # who holds the lock
        yield
        return
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".lock", timeout=0):
            try:
                yield
            finally:
                _remove_unused(folder, made)
    except Timeout as error:
        raise T2IError(
            f"another process is training in '{folder}'", "wait for it, or choose another --output"
        ) from error


def _remove_unused(folder: Path, made: Sequence[Path]) -> None:
    """A run that was refused before it wrote anything leaves no lock, and none of the folders `made` for it."""
    if made and [path.name for path in folder.iterdir()] == [".lock"]:
        (folder / ".lock").unlink()
        with contextlib.suppress(OSError):  # somebody else uses one by now
            for each in made:
                each.rmdir()


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

    entry, chosen = configure.configure("recipe", plan.recipe, plan.option)
    seed_all(chosen.loop.seed, "build")
    return cast(Recipe, entry.load(chosen)), chosen.loop


def without_steps(plan: Plan) -> Fit | None:
    """What is to be trained, if it is learnt in one go."""
    entry, chosen = configure.configure("recipe", plan.recipe, plan.option)
    return cast(Fit, entry.load(chosen)) if "loop" not in chosen.__struct_fields__ else None


def _trained(plan: Plan, folder: Path, watch: Watch, tell: Tell) -> Outcome:
    from t2icli.training.devices import joined
    from t2icli.training.loop import train as loop

    with joined(plan.device) as world:
        if world.is_first:
            open_parts(plan)
        world.wait()  # only one prepares
        data, held_out = open_parts(plan)
        plan = _with_vocabularies(plan, folder, data, world, tell)
        plan, found = _with_batch(plan, data, world, watch, tell)
        if world.is_first:
            _write(plan, folder)
        recipe, chosen = build(plan)
        if plan.size is not None or found is not None:
            tell(_described(plan, chosen, parameters_of(recipe), found))
        return loop(
            recipe, data, held_out, chosen, folder, world, strategy=plan.strategy, report_to=plan.report_to, watch=watch
        )


def _with_vocabularies(plan: Plan, folder: Path, data: PreparedDataset, world: World, tell: Tell) -> Plan:
    """The plan with the vocabularies that were still to be learnt; the first process learns them, in `folder`."""
    entry, chosen = configure.configure("recipe", plan.recipe, plan.option)
    option = dict(plan.option)
    for name in made.unlearnt(entry, chosen):
        place = folder.absolute() / name
        if world.is_first:
            learnt = made.learn(data, place)
            tell(f"{name}: {learnt.card.about}, learnt from the captions")
        world.wait()
        option[name] = {"name": made.LEARNT_AS, "model": str(place)}
    _, chosen = configure.configure("recipe", plan.recipe, option)
    return msgspec.structs.replace(plan, option=settings.tables(chosen))


def _with_batch(
    plan: Plan, data: PreparedDataset, world: World, watch: Watch, tell: Tell
) -> tuple[Plan, Fitting | None]:
    """The plan with the batch that fits the data and the memory, where it was left open; and what was found out."""
    if plan.batch_size is None:
        return plan, None
    recipe, chosen = build(plan)
    found = _fitting(recipe, chosen, data, world, watch)
    if found.batch < chosen.batch_size:
        tell(f"batch size: {found.batch} in place of {chosen.batch_size}, for {found.bound} has no more")
    option = settings.merge(plan.option, {"loop": {"batch_size": found.batch}})
    return msgspec.structs.replace(plan, batch_size=None, option=option), found


def _fitting(recipe: Recipe, chosen: LoopSettings, data: PreparedDataset, world: World, watch: Watch) -> Fitting:
    from t2icli.training.batch import fitting
    from t2icli.training.cache import samples_of
    from t2icli.training.samples import check_captions

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the run itself will say it
        check_captions(recipe, data)
    samples, _ = samples_of(recipe, data, "train", chosen, world, watch)
    return fitting(recipe, samples, chosen, world)


def _described(plan: Plan, loop: LoopSettings, parameters: int, found: Fitting | None) -> str:
    """`dalle, tiny: 2.1 million parameters, 16 samples a step, about 0.9 GB and 0.4 s a step`."""
    name = f"{plan.recipe}, {plan.size}" if plan.size else plan.recipe
    sizes = f"{name}: {parameters / 1e6:.1f} million parameters, {loop.batch_size} samples a step"
    if found is not None and found.memory is not None and found.seconds is not None:
        return f"{sizes}, about {found.memory / 1e9:.1f} GB of memory and {found.seconds:.2g} s a step"
    return sizes


def parameters_of(recipe: Recipe) -> int:
    """How many numbers are trained."""
    return sum(parameter.numel() for parameter in recipe.model.parameters() if parameter.requires_grad)


NEXT = {
    "generator": "t2i generate {caption} -m {run}",
    "captioner": "t2i caption PICTURES -m {run}",
    "embedder": "t2i rerank {caption} PICTURES -r {run}",
    "codec": "t2i train dalle --train-data {data} -o codec={run}",
    "tokenizer": "t2i train dalle --train-data {data} -o tokenizer={run}",
    "prior": "t2i train dalle2-decoder --train-data {data} -o prior={run}",
}
"""What a model of each kind is good for, as it is typed."""


def what_next(folder: Path) -> list[str]:
    """A line with the command that uses what was trained in `folder`."""
    plan = msgspec.convert(toml.read(folder / runfile.NAME), Plan)
    command = NEXT.get(models.open_model(folder / "model").card.kind)
    if command is None:
        return []
    caption = next(iter(captions_of(plan)), "PROMPT") if "{caption}" in command else ""
    words = {"caption": caption, "run": str(folder), "data": os.path.relpath(plan.train_data)}
    return [f"next: {command.format(**{name: shlex.quote(word) for name, word in words.items()})}"]


def captions_of(plan: Plan) -> Iterator[str]:
    """The captions that were trained on."""
    data, _ = open_parts(plan)
    for i in range(len(data)):
        yield from data.captions(i)


def preview(
    asked: Mapping[str, Any], folder: Path, *, resume: bool = False, tell: Tell = silent
) -> list[tuple[str, str]]:
    """What would be trained: sizes, steps and the memory that weights, gradients and optimizer take."""
    from t2icli.training.devices import joined
    from t2icli.training.samples import check_captions

    is_there = resume and (folder / runfile.NAME).is_file()
    plan = continued_plan(folder, asked) if is_there else fresh_plan(asked, tell)
    if without_steps(plan) is not None:
        texts = sum(1 for _ in captions(Path(plan.train_data)))
        return [("recipe", plan.recipe), ("captions", str(texts)), ("run", str(folder))]
    data, held_out = open_parts(plan)
    with TemporaryDirectory() as place, joined("cpu") as world:
        recipe, chosen = build(_with_vocabularies(plan, Path(place), data, world, silent))
    check_captions(recipe, data)
    trained = parameters_of(recipe)
    batch = min(chosen.batch_size, len(data)) if plan.batch_size else chosen.batch_size
    steps = chosen.max_steps or -int(-chosen.epochs * len(data) // batch)
    copies = 4 + bool(chosen.ema)  # weights, gradients, two averages of Adam's
    return [
        ("recipe", plan.recipe),
        *([("size", plan.size)] if plan.size else []),
        ("samples", f"{len(data)} to train on, {len(held_out) if held_out else 0} held out"),
        ("steps", f"{steps} of at most {batch} samples" if plan.batch_size else f"{steps} of {batch} samples"),
        ("trained parameters", f"{trained / 1e6:.1f} million"),
        ("memory", f"{trained * 4 * copies / 2**30:.2f} GiB, and the activations of a batch"),
        ("run", str(folder)),
    ]
