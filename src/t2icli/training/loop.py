"""The one training loop. A recipe defines a step's loss; everything around it is here, in order."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from t2icli.contract.recipes import Captioned, Recipe
from t2icli.data.dataset import PreparedDataset
from t2icli.ground.errors import T2IError
from t2icli.ground.watch import Watch, unwatched
from t2icli.nn.devices import has_bf16
from t2icli.pictures.images import side_by_side
from t2icli.training.ahead import Ahead
from t2icli.training.cache import name_of, samples_of, unreadable_error
from t2icli.training.captions import check_captions
from t2icli.training.checkpoint import Keeper, Run
from t2icli.training.devices import World, complete, shard, spread
from t2icli.training.ema import Average
from t2icli.training.evaluate import PREVIEWS, HeldOut, evaluate, preview, to_device
from t2icli.training.finite import LossCheck, Place
from t2icli.training.interrupt import Abandoned, StopRequest, listening
from t2icli.training.log import Log
from t2icli.training.order import Pieces, Read, SampleOrder, Seeded, loader, seed_all
from t2icli.training.recompute import recompute
from t2icli.training.settings import LoopSettings
from t2icli.training.similar import Similar
from t2icli.training.turns import buffers_kept, interruptible, only, running


@dataclass(frozen=True)
class Outcome:
    """How a training ended."""

    step: int
    total: int
    figures: Mapping[str, float]
    """The last held-out figures, else the last ones of training."""
    interrupted: bool = False


def train(
    recipe: Recipe,
    data: PreparedDataset,
    held_out: PreparedDataset | None,
    settings: LoopSettings,
    folder: Path,
    world: World,
    *,
    strategy: str = "ddp",
    report_to: str = "auto",
    watch: Watch = unwatched,
    tell: Callable[[str], None] = lambda line: None,
) -> Outcome:
    """Train to the end, or until interrupted, from the newest checkpoint in `folder` or from the beginning."""
    training = Training(recipe, data, held_out, settings, folder, world, strategy, watch)
    training.resume()
    if training.step:
        tell(f"continues from step {training.step} of {training.total}")
    log = Log(folder, training.step, report_to) if world.is_first else None
    try:
        with listening(patient=world.size > 1) as interrupt, _explained():
            training.run_on(log, interrupt)
            training.keeper.wait()
    except BaseException:
        with contextlib.suppress(Exception):
            training.keeper.wait()
        raise
    finally:
        if log is not None:
            log.close()
    is_cut_short = training.step < training.total or bool(training.owed)
    return Outcome(training.step, training.total, training.figures, is_cut_short)


class Training:
    """Everything a training consists of at one moment. What of it must survive is in `state`."""

    def __init__(
        self,
        recipe: Recipe,
        data: PreparedDataset,
        held_out: PreparedDataset | None,
        settings: LoopSettings,
        folder: Path,
        world: World,
        strategy: str,
        watch: Watch,
    ) -> None:
        self.recipe, self.data, self.settings, self.world, self.watch = recipe, data, settings, world, watch
        self.run = Run(folder)
        self.samples, self.unreadable = self._samples(data, "train")
        self.order = _order(self.samples, settings, world)
        self.total = settings.max_steps or math.ceil(settings.epochs * self.order.n / settings.batch_size)
        seed_all(settings.seed, "start")
        self.model = recipe.model.to(world.device).train()
        self.is_sharded = strategy == "fsdp"
        if settings.grad_checkpointing:
            recompute(self.model)
        if self.is_sharded:
            shard(self.model, world)
        turns = recipe.turns()
        if settings.precision == "bf16" and world.device.type == "cpu" and not has_bf16(world.device):
            warnings.warn(
                "this processor has no bf16 instructions and is far slower in bf16 than in fp32: use --precision auto",
                UserWarning,
                stacklevel=2,
            )
        if self.is_sharded and settings.precision == "fp16":
            raise T2IError("precision 'fp16' cannot train in shards", "use --precision bf16, or --strategy ddp")
        if self.is_sharded and len(turns) > 1:
            raise T2IError("strategy 'fsdp' supports one optimizer, and this recipe has two", "use ddp")
        self.turns = running(turns, settings, self.total, world)
        if world.size == 1 and not settings.compile:
            interruptible(parameter for turn in self.turns for parameter in turn.parameters)
        self.average = Average(self.model, settings.ema)
        self.keeper = Keeper(
            self.run, world, settings.keep, is_sharded=self.is_sharded, in_background=settings.save_in_background
        )
        self.held_out = self._held_out(held_out)
        self.step, self.best, self.figures = 0, math.inf, dict[str, float]()
        self.turns_done = 0
        """Of the step that is being taken; above 0 in a checkpoint where the step was abandoned after some turns."""
        self.owed: list[str] = []
        """What is still to be done at this step besides training."""
        self.losses = LossCheck(settings, world, data, self.run)
        self.since_report: list[dict[str, Tensor]] = []
        self.reported_at = time.monotonic()

    def _samples(self, data: PreparedDataset, split: str) -> tuple[Any, Mapping[int, str]]:
        if split == "train":
            check_captions(self.recipe, data)  # before hours of encoding
        return samples_of(self.recipe, data, split, self.settings, self.world, self.watch)

    def _held_out(self, data: PreparedDataset | None) -> HeldOut:
        """Held-out samples; without any, previews show training samples and nothing is evaluated."""
        samples = self.samples if data is None else self._samples(data, "val")[0]
        return HeldOut(samples, self.settings, self.world, is_new=data is not None)

    def run_on(self, log: Log | None, interrupt: StopRequest) -> None:
        """Step by step to the end, or until someone asks to stop; what takes too long then is abandoned and saved."""
        if log is not None:
            self.watch.progress("train", self.step, self.total)
        try:
            if self.owed and self.follow_up(log, interrupt):
                return
            for reads in self.batches():
                self.take_step(reads, interrupt)
                self.owed = self._duties()
                if self.follow_up(log, interrupt):
                    return
        except Abandoned:
            self.save()

    def due(self, every: int, anyway: bool) -> bool:
        return anyway or (every > 0 and self.step % every == 0)

    def _duties(self) -> list[str]:
        """What this step is followed by, besides a checkpoint."""
        s, is_last = self.settings, self.step == self.total
        every = {"report": s.log_every, "evaluate": s.eval_every, "preview": s.preview_every}
        return [name for name, n in every.items() if self.due(n, is_last) and (n or name != "preview")]

    def follow_up(self, log: Log | None, interrupt: StopRequest) -> bool:
        """Do what the step is to be followed by; returns whether to stop."""
        stop = self.world.any(interrupt.to_stop)
        if log is not None:
            self.watch.progress("train", self.step, self.total)
        is_last = stop or self.step == self.total
        is_saved = self.due(self.settings.save_every, is_last)
        if self.owed or is_saved:
            self.losses.catch_up()
        while self.owed:
            if self.owed[0] == "report":
                self.report(log)
            else:
                (self.evaluate if self.owed[0] == "evaluate" else self.preview)(log, interrupt)
            self.owed.pop(0)
        if is_saved:
            self.save(is_last=is_last)
        return stop

    def batches(self) -> Iterator[list[Read]]:
        """For every step still to take, this process's pieces of its batch, on the device."""
        s, world = self.settings, self.world
        reader = Seeded(self.samples, s.seed, skip=s.on_bad_sample == "skip", unreadable=self.unreadable)
        pieces = Pieces(self.order, self.step, self.total, s.grad_accum, world.rank, world.size)
        reads = iter(loader(reader, pieces, s.workers, pin=world.device.type == "cuda"))
        with Ahead(self.data, self.order, self.step).following() as ahead:
            for ahead.step in range(self.step, self.total):
                yield [self._ready(next(reads)) for _ in range(s.grad_accum)]

    def _ready(self, read: Read) -> Read:
        if read.batch is None:
            raise read.lost or unreadable_error(self.data, *read.problems[0])
        for row, reason in read.problems:
            warnings.warn(f"skipped sample {name_of(self.data, row)}: {reason}", UserWarning, stacklevel=2)
        return dataclasses.replace(read, batch=to_device(read.batch, self.world.device, self.settings))

    def take_step(self, reads: list[Read], interrupt: StopRequest) -> None:
        """For each turn: loss, backward, clip, step."""
        pieces = [read.batch for read in reads]
        figures: dict[str, Tensor] = {}
        is_whole = self.turns_done == 0
        for turn in self.turns[self.turns_done :]:
            with only(turn, self.turns):
                with buffers_kept(self.model), interrupt.abandonable():
                    loss, turn_figures = turn.gradients(pieces, self.step)
                norm = turn.norm()
                figures.update(
                    turn_figures
                    if turn is self.turns[0]
                    else {f"{turn.turn.name}_loss": turn_figures.pop("loss"), **turn_figures}
                )
                self.keeper.before_change()
                place = Place(self.step + 1, turn.turn.name, [row for read in reads for row in read.rows])
                # With fp16 a gradient may overflow: the scaler leaves such a step out.
                if self.losses.passes(place, loss, None if turn.scaler.is_enabled() else norm):
                    turn.move(self.step)
                else:
                    turn.leave_out()
                turn.forget()
                self.turns_done += 1
        self.average.follow()
        self.step, self.turns_done = self.step + 1, 0
        if is_whole:
            self.since_report.append(figures)

    def report(self, log: Log | None) -> None:
        """The figures since the last report, averaged, to the log and to `watch`."""
        if not self.since_report:  # an abandoned step was the only one
            return
        names = list(self.since_report[-1])
        figures = [each[name].to(self.world.device).reshape(()) for each in self.since_report for name in names]
        rows = torch.stack(figures).cpu().view(-1, len(names))
        means = dict(zip(names, self.world.mean(rows.mean(0).to(self.world.device)).tolist(), strict=True))
        now, lr = time.monotonic(), self.turns[0].schedule.lr(self.step - 1)
        rate = len(self.since_report) * self.settings.batch_size / max(now - self.reported_at, 1e-9)
        self.since_report, self.reported_at = [], now
        self.figures = means
        if log is not None:
            scaler = self.turns[0].scaler
            scale = {"loss_scale": scaler.get_scale()} if scaler.is_enabled() else {}
            log.write(self.step, "train", **means, **scale, lr=lr, samples_per_second=round(rate, 2))
            self.watch.progress("train", self.step, self.total, {**means, "samples/s": rate})

    def evaluate(self, log: Log | None, interrupt: StopRequest) -> None:
        """Held-out figures; the best so far is kept as a model of its own."""
        if not self.held_out.is_new:
            return
        with self.average.in_place(), interrupt.abandonable():
            figures = evaluate(self.turns[0].turn, self.model, self.held_out, self.step)
        if not figures:
            return
        self.figures = {f"val_{name}": value for name, value in figures.items()}
        for turn in self.turns:
            turn.schedule.evaluated(figures["loss"])
        if log is not None:
            log.write(self.step, "val", **figures)
            self.watch.result("evaluate", self.step, self.total, self.figures)
        if figures["loss"] < self.best:
            self.best = figures["loss"]
            self._publish("best")

    def preview(self, log: Log | None, interrupt: StopRequest) -> None:
        """Pictures, in `previews/`; drawn by the first process, so only where it has the whole model."""
        if not self.is_sharded:
            self.world.first(lambda: self._draw(log, interrupt))

    def _draw(self, log: Log | None, interrupt: StopRequest) -> None:
        n = min(PREVIEWS, len(self.held_out.samples))
        with self.average.in_place(), interrupt.abandonable():
            images = preview(self.recipe, self.held_out.read(range(n)), self.settings)
        if images and log is not None:
            self.run.previews.mkdir(parents=True, exist_ok=True)
            sheet = side_by_side(images, PREVIEWS)
            sheet.save(self.run.previews / f"step-{self.step:09d}.png")
            log.picture(self.step, sheet)

    def save(self, *, is_last: bool = True) -> None:
        """A checkpoint and, from the same weights, the model; without it where training is not to wait for that."""
        self.losses.catch_up()
        self.keeper.save(self.state(), self.step)
        if not self.keeper.in_background or is_last:
            self.keeper.before_change()
            self._publish("model")

    def _publish(self, name: str) -> None:
        source = f"step {self.step} of a training on data {self.data.sha256[:12]}"
        with self.average.in_place(), complete(self.model):
            self.world.first(lambda: self.run.publish(name, self.recipe.save, source))

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {
            "step": self.step,
            "turns_done": self.turns_done,
            "owed": list(self.owed),
            "best": self.best,
            "data": self.data.sha256,
            "model": self.model.state_dict(),
            "average": self.average.state(),
            "turns": [turn.state() for turn in self.turns],
        }

    def resume(self) -> None:
        """Go on from the newest checkpoint, if there is one."""
        self.world.first(self.run.tidy)
        state = self.run.read()
        if state is None:
            return
        if state["data"] != self.data.sha256:
            raise T2IError("the data is not what this run was trained on", "use the same --train-data")
        self._spread(state)
        self.run.read_shards(state)
        self.model.load_state_dict(state["model"])
        self.average.load(state["average"])
        for turn, saved in zip(self.turns, state["turns"], strict=True):
            turn.load(saved)
        self.step, self.best = state["step"], state["best"]
        self.turns_done, self.owed = state.get("turns_done", 0), state.get("owed", [])
        if self.step == self.total:
            self._publish("model")  # in case it was killed between the last checkpoint and this

    def _spread(self, state: dict[str, Any]) -> None:
        """Cut the tensors of a checkpoint up as this process's own are."""
        for name, own in (("model", self.model.state_dict()), ("average", self.average.state())):
            state[name] = {key: spread(value, own[key]) for key, value in state[name].items()}
        for turn, saved in zip(self.turns, state["turns"], strict=True):
            turn.spread(saved)


def _order(samples: Any, settings: LoopSettings, world: World) -> SampleOrder:
    n, batch, parts = len(samples), settings.batch_size, settings.grad_accum * world.size
    if n == 0:
        raise T2IError("there is nothing to train on: the dataset is empty")
    if n < batch:
        fits = n // parts * parts
        hint = f"try --batch-size {fits}" if fits else f"try --batch-size {n} --grad-accum 1"
        raise T2IError(f"the data has {n} samples, fewer than one batch of {batch}", hint)
    if batch % parts:
        near = max(parts, batch // parts * parts)
        raise T2IError(
            f"a batch of {batch} cannot be divided among {world.size} processes with grad_accum {settings.grad_accum}",
            f"try --batch-size {near}",
        )
    if settings.similar == 1:
        return SampleOrder(settings.seed, n, batch, settings.shuffle_window)
    if settings.shuffle_window:
        raise T2IError("loop.similar and loop.shuffle_window cannot be combined", "set one of them")
    if not isinstance(samples, Captioned):
        raise T2IError("loop.similar is for recipes that contrast captions, such as clip and brivl", "omit it")
    similar = Similar(map(samples.captions_of, range(n)), settings.similar)
    return SampleOrder(settings.seed, n, batch, similar=similar)


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            message = " ".join(str(error).strip().splitlines()[:2])
            hint = "try -o loop.compile=false; it takes a C++ compiler and Python's headers, and not every model can be"
            raise T2IError(f"the step could not be compiled: {message}", hint, code=1) from error
        if isinstance(error, RuntimeError) and not isinstance(error, torch.OutOfMemoryError):
            if "allocate memory" not in str(error):
                raise
        raise T2IError(
            "out of memory in a training step",
            "try --batch-size with half of it, --grad-accum 4 to cut each batch into pieces, --grad-checkpointing, "
            "or --precision bf16",
            code=1,
        ) from error
