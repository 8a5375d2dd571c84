"""The work behind `t2i train`: a planned training on its data, in one process or several."""

from __future__ import annotations

import contextlib
import os
import platform
import shlex
import socket
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import msgspec

from t2icli.contract.recipes import Recipe
from t2icli.data import places
from t2icli.data.dataset import PreparedDataset
from t2icli.ground import locks, runfile
from t2icli.ground.errors import T2IError
from t2icli.ground.watch import Watch, unwatched
from t2icli.pipelines import made
from t2icli.pipelines.captions import captions
from t2icli.pipelines.prepare import open_data
from t2icli.pipelines.training_plan import Configured, Tell, TrainingPlan, has_begun, planned, silent, written
from t2icli.registry import discovery
from t2icli.store import models
from t2icli.store.models import Card
from t2icli.training import launch
from t2icli.training.settings import LoopSettings

if TYPE_CHECKING:
    from t2icli.training.batch import Fitting
    from t2icli.training.devices import World
    from t2icli.training.loop import Outcome


def train(
    flags: Mapping[str, Any], folder: Path, *, resume: bool = False, watch: Watch = unwatched, tell: Tell = silent
) -> Outcome | None:
    """Train as asked, in `folder`; None when other processes were started to do it and have done it."""
    is_worker = int(os.environ.get("RANK", "0")) > 0
    with contextlib.nullcontext() if is_worker else _alone(folder):
        configured = _begin(flags, folder, tell, resume=resume, may_write=not is_worker)
        plan = configured.plan
        if not configured.has_steps:
            configured.fit().fit(captions(plan.train_data), folder / "model")
            return None
        if plan.devices > 1 and "WORLD_SIZE" not in os.environ:
            launch.launch(["-m", "t2icli", "train", "--resume", "--output", str(folder)], plan.devices)
            return None
        return _trained(configured, folder, watch, tell)


def _begin(flags: Mapping[str, Any], folder: Path, tell: Tell, *, resume: bool, may_write: bool) -> Configured:
    is_there = (folder / runfile.NAME).is_file()
    if has_begun(folder) and not resume and may_write:
        raise T2IError(f"there is already a run in '{folder}'", "continue it with --resume, or choose another --output")
    if resume and not (is_there or flags.get("train_data")):
        raise T2IError(f"there is no run to continue in '{folder}'", "name its folder with --output")
    configured = planned(flags, folder, resume=resume, tell=tell)
    if may_write:
        folder.mkdir(parents=True, exist_ok=True)
        _write(configured.plan, folder)
    return configured


def _write(plan: TrainingPlan, folder: Path) -> None:
    runfile.write(folder, msgspec.to_builtins(plan))


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Nobody else may train in this folder meanwhile."""
    if launch.follow_starter():  # who holds the lock
        yield
        return
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    taken = T2IError(f"another process is training in '{folder}'", "wait for it, or choose another --output")
    with locks.locked(folder / ".lock", taken=taken):
        try:
            yield
        finally:
            _remove_unused(folder, made)


def _remove_unused(folder: Path, made: Sequence[Path]) -> None:
    """A run that was refused before it wrote anything leaves no lock, and none of the folders `made` for it."""
    if made and [path.name for path in folder.iterdir()] == [".lock"]:
        (folder / ".lock").unlink()
        with contextlib.suppress(OSError):  # another process uses one by now
            for each in made:
                each.rmdir()


def open_parts(plan: TrainingPlan) -> tuple[PreparedDataset, PreparedDataset | None]:
    """What to train on and what to hold out: the validation data given, else the data's own validation split."""
    data = open_data(plan.train_data)
    if plan.val_data is not None:
        return data, open_data(plan.val_data)
    held_out = data.split("val")
    return (data.split("train"), held_out) if len(held_out) else (data, None)


def build(configured: Configured) -> tuple[Recipe, LoopSettings]:
    """The recipe with its first weights, which depend on the seed alone."""
    from t2icli.training.order import seed_all

    loop: LoopSettings = configured.settings.loop
    seed_all(loop.seed, "build")
    return configured.recipe(), loop


def _trained(configured: Configured, folder: Path, watch: Watch, tell: Tell) -> Outcome:
    from t2icli.training.devices import process_group
    from t2icli.training.loop import train as loop

    plan = configured.plan
    with process_group(plan.device, plan.dist_timeout) as world:
        check_hosts(world, folder)
        world.first(lambda: open_parts(plan))  # only one prepares
        data, held_out = open_parts(plan)
        configured = _with_vocabularies(configured, folder, data, world, tell)
        configured, fitting = _with_batch(configured, data, world, watch, tell)
        if world.is_first:
            _write(configured.plan, folder)
        recipe, chosen = build(configured)
        if plan.size is not None or fitting is not None:
            tell(_described(plan, chosen, parameters_of(recipe), fitting))
        return loop(
            recipe,
            data,
            held_out,
            chosen,
            folder,
            world,
            strategy=plan.strategy,
            report_to=plan.report_to,
            watch=watch,
            tell=tell,
        )


def check_hosts(world: World, folder: Path) -> None:
    """Every process must see the run's folder and have the versions of the first."""
    python = ".".join(platform.python_version_tuple()[:2])
    versions = {"Python": python, **{name: version(name) for name in ("t2icli", "torch")}}
    every = world.gathered((socket.gethostname(), versions, (folder / runfile.NAME).is_file()))
    first, expected, _ = every[0]
    for host, theirs, is_there in every:
        if not is_there:
            raise T2IError(f"{host} does not see the run's folder '{folder}'", "choose one that all hosts share")
        for name, each in theirs.items():
            if each != expected[name]:
                message = f"{host} has {name} {each}, and {first} has {expected[name]}"
                raise T2IError(message, "install the same on all hosts")


def _with_vocabularies(
    configured: Configured, folder: Path, data: PreparedDataset, world: World, tell: Tell
) -> Configured:
    """With the vocabularies that were still to be trained; the first process trains them, in `folder`."""
    learnt = {}
    for name in made.unlearnt(configured.entry, configured.settings):
        place = folder.absolute() / name
        world.first(partial(_learn, name, data, place, tell))
        learnt[name] = made.vocabulary(place)
    return configured.replace(**learnt)


def _learn(name: str, data: PreparedDataset, place: Path, tell: Tell) -> None:
    vocabulary = made.learn(data, place)
    tell(f"{name}: {vocabulary.card.about}, learnt from the captions")


def _with_batch(
    configured: Configured, data: PreparedDataset, world: World, watch: Watch, tell: Tell
) -> tuple[Configured, Fitting | None]:
    """With the batch that fits the data and the memory, where it was left open; and how that was decided."""
    if configured.plan.batch_size is None:
        return configured, None
    recipe, chosen = build(configured)
    fitting = _fitting(recipe, chosen, data, world, watch)
    if fitting.batch < chosen.batch_size:
        tell(f"batch size: {fitting.batch} instead of {chosen.batch_size}, limited by {fitting.bound}")
    fitted = configured.replace(loop=msgspec.structs.replace(chosen, batch_size=fitting.batch))
    return fitted.with_plan(batch_size=None), fitting


def _fitting(recipe: Recipe, chosen: LoopSettings, data: PreparedDataset, world: World, watch: Watch) -> Fitting:
    from t2icli.training.batch import fitting
    from t2icli.training.cache import samples_of
    from t2icli.training.captions import check_captions

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the run itself will say it
        check_captions(recipe, data)
    samples, _ = samples_of(recipe, data, "train", chosen, world, watch)
    return fitting(recipe, samples, chosen, world)


def _described(plan: TrainingPlan, loop: LoopSettings, parameters: int, fitting: Fitting | None) -> str:
    """`dalle, tiny: 2.1 million parameters, 16 samples a step, about 0.9 GB and 0.4 s a step`."""
    name = f"{plan.recipe}, {plan.size}" if plan.size else plan.recipe
    sizes = f"{name}: {parameters / 1e6:.1f} million parameters, {loop.batch_size} samples a step"
    if fitting is not None and fitting.memory is not None and fitting.seconds is not None:
        return f"{sizes}, about {fitting.memory / 1e9:.1f} GB of memory and {fitting.seconds:.2g} s a step"
    return sizes


def parameters_of(recipe: Recipe) -> int:
    """How many numbers are trained."""
    return sum(parameter.numel() for parameter in recipe.model.parameters() if parameter.requires_grad)


NEXT = {
    "generator": "t2i generate {caption} -m {run}",
    "captioner": "t2i caption PICTURES -m {run}",
    "embedder": "t2i rerank {caption} PICTURES -r {run}",
    "listener": "t2i search --audio SOUND PICTURES --audio-embedder {run}",
    "codec": "t2i train dalle --train-data {data} -o codec={run}",
    "tokenizer": "t2i train dalle --train-data {data} -o tokenizer={run}",
    "prior": "t2i train dalle2-decoder --train-data {data} -o prior={run}",
}
"""What a model of each kind is good for, as it is typed."""


def what_next(folder: Path) -> list[str]:
    """A line with the command that uses what was trained in `folder`."""
    plan = written(folder)
    card = models.open_model(folder / "model").card
    command = NEXT.get("listener" if _embeds_audio(card) else card.kind)
    if command is None:
        return []
    caption = next(iter(captions_of(plan)), "PROMPT") if "{caption}" in command else ""
    words = {"caption": caption, "run": str(folder), "data": places.shown(plan.train_data)}
    return [f"next: {command.format(**{name: shlex.quote(word) for name, word in words.items()})}"]


def _embeds_audio(card: Card) -> bool:
    return card.kind == "embedder" and discovery.find(card.kind, card.backend).embeds_audio


def captions_of(plan: TrainingPlan) -> Iterator[str]:
    """The captions that were trained on."""
    data, _ = open_parts(plan)
    for i in range(len(data)):
        yield from data.captions(i)


def preview(
    flags: Mapping[str, Any], folder: Path, *, resume: bool = False, tell: Tell = silent
) -> list[tuple[str, str]]:
    """What would be trained: sizes, steps and the memory that weights, gradients and optimizer take."""
    configured = planned(flags, folder, resume=resume, tell=tell)
    plan = configured.plan
    if not configured.has_steps:
        texts = sum(1 for _ in captions(plan.train_data))
        return [("recipe", plan.recipe), ("captions", str(texts)), ("run", str(folder))]
    data, held_out = open_parts(plan)
    chosen: LoopSettings = configured.settings.loop
    trained, need = _taken(configured, data)
    batch = min(chosen.batch_size, len(data)) if plan.batch_size else chosen.batch_size
    steps = chosen.max_steps or -int(-chosen.epochs * len(data) // batch)
    return [
        ("recipe", plan.recipe),
        *([("size", plan.size)] if plan.size else []),
        ("samples", f"{len(data)} to train on, {len(held_out) if held_out else 0} held out"),
        ("steps", f"{steps} of at most {batch} samples" if plan.batch_size else f"{steps} of {batch} samples"),
        ("trained parameters", f"{trained / 1e6:.1f} million"),
        ("memory", need),
        ("run", str(folder)),
    ]


def _taken(configured: Configured, data: PreparedDataset) -> tuple[int, str]:
    """How many numbers are trained, and the memory that takes: estimated by the recipe, or seen by building it."""
    from t2icli.training.captions import check_captioned, check_captions
    from t2icli.training.devices import process_group

    if configured.entry.estimate is not None:
        found = configured.entry.estimate(configured.settings)
        check_captioned(data, found.without_caption)
        parts = "; ".join(f"{name} {size / 1e9:.1f}" for name, size in found.memory.items())
        return found.trained, f"{sum(found.memory.values()) / 1e9:.1f} GB: {parts}"
    with TemporaryDirectory() as place, process_group("cpu") as world:
        recipe, chosen = build(_with_vocabularies(configured, Path(place), data, world, silent))
    check_captions(recipe, data)
    trained = parameters_of(recipe)
    copies = 4 + bool(chosen.ema)  # weights, gradients, two averages of Adam's
    return trained, f"{trained * 4 * copies / 2**30:.2f} GiB, and the activations of a batch"
