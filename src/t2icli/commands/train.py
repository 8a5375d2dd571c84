"""`t2i train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from t2icli import config
from t2icli.commands import complete, show
from t2icli.commands.flag_groups import setting_flags
from t2icli.commands.options import Config, Device, Options, named_path
from t2icli.registry import discovery, settings
from t2icli.training import launch
from t2icli.training.settings import LoopSettings

HOW_LONG = "Optimization"
WRITING = "Outputs"
WHERE = "Hardware"
FLAGS = {
    HOW_LONG: "lr epochs max_steps schedule warmup optimizer weight_decay clip ema precision grad_accum seed",
    WHERE: "workers grad_checkpointing",
    WRITING: "save_every keep eval_every preview_every log_every",
    "": "on_nan on_bad_sample",
}
"""Settings of the recipe's `loop` that are flags, beside --batch-size; its others are set with `-o loop.NAME=...`."""


@setting_flags(LoopSettings, FLAGS)
def train(
    context: typer.Context,
    recipe: Annotated[
        str | None,
        typer.Argument(
            help="Recipe to train; lists the recipes if omitted.",
            autocompletion=complete.names("recipe", models_too=False),
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            help="Model to continue from, or base model of a LoRA: a name or folder.",
            autocompletion=complete.model_names,
        ),
    ] = None,
    train_data: Annotated[
        str | None,
        typer.Option(
            help="A prepared dataset or its address, such as s3://bucket/set; a folder of pictures with .txt captions, "
            "CSV, JSONL or tars."
        ),
    ] = None,
    val_data: Annotated[
        str | None, typer.Option(help="Validation data; the dataset's own validation split if omitted.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", parser=named_path, help="Folder of the run; runs/RECIPE if omitted.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in that folder.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be trained, without training.")] = False,
    option: Options = None,
    config_file: Config = None,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="tiny, small, base, or original (the authors'); of a LoRA 8gb, 12gb, 24gb; by machine if omitted.",
            rich_help_panel=HOW_LONG,
        ),
    ] = None,
    batch_size: Annotated[
        str | None,
        typer.Option(
            metavar="N|auto",
            help="Samples per step, over all devices; if omitted, the recipe's, as far as data and memory allow.",
            rich_help_panel=HOW_LONG,
        ),
    ] = None,
    device: Device = None,
    devices: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Processes on this machine.", rich_help_panel=WHERE)
    ] = None,
    strategy: Annotated[
        Literal["ddp", "fsdp"] | None,
        typer.Option(help="ddp replicates the model; fsdp shards it.", rich_help_panel=WHERE),
    ] = None,
    dist_timeout: Annotated[
        float | None,
        typer.Option(
            min=1,
            metavar="SECONDS",
            help="Time without an answer after which a process counts as lost and the others end; 600 if omitted.",
            rich_help_panel=WHERE,
        ),
    ] = None,
    report_to: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="In addition to log.jsonl: tensorboard,wandb,swanlab, or none; TensorBoard if installed by default.",
            rich_help_panel=WRITING,
        ),
    ] = None,
    **of_the_loop: Any,
) -> None:
    """Train a model, to be used as `t2i generate -m runs/x` or in other commands.

    Ctrl-C saves within seconds; `t2i train --resume --output runs/x` continues as if it had not been interrupted.
    """
    from t2icli.pipelines import train as pipeline
    from t2icli.pipelines.training_plan import silent

    flags = _given_flags(context)
    if recipe is None and not (resume or flags.get("recipe")):
        show.table(([name, offer.entry.about] for name, offer in _recipes()), ("recipe", "trains"))
        return
    folder = output or Path("runs") / str(flags.get("recipe", recipe))
    if dry_run:
        show.table(pipeline.preview(flags, folder, resume=resume, tell=show.note), ("what", ""))
        return
    tell = show.note if launch.is_first() else silent
    with show.watching() as watch:
        outcome = pipeline.train(flags, folder, resume=resume, watch=watch, tell=tell)
    if outcome is not None and outcome.interrupted:
        if launch.speaks():
            show.note(f"saved at step {outcome.step} of {outcome.total}")
            show.note(f"continue with: t2i train --resume --output {folder}")
        raise typer.Exit(130)
    if launch.speaks():
        show.line(str(folder / "model"))
        show.notes(pipeline.what_next(folder))


def _given_flags(context: typer.Context) -> dict[str, Any]:
    """The flags that were given, wherever they came from; those of the loop join the recipe's settings."""
    from t2icli.pipelines.training_plan import TrainingPlan

    given = {name: value for name, value in context.params.items() if value is not None}
    of_the_loop = {
        name: given.pop(name) for name in LoopSettings.__struct_fields__ if given.get(name, "auto") != "auto"
    }
    option = config.options(context, given.pop("option", ()))
    planned = {name: given[name] for name in ("model", *TrainingPlan.__struct_fields__) if name in given}
    return {**planned, "option": settings.merge(option, {"loop": of_the_loop} if of_the_loop else {})}


def _recipes() -> Any:
    return sorted(discovery.installed().offers["recipe"].items())
