"""`t2i embed`: pictures, texts or sounds as shards of vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from t2icli import config
from t2icli.commands import show
from t2icli.commands.evaluate import Root
from t2icli.commands.options import BatchSize, Config, Device, Json, Options, named, named_path
from t2icli.engine.run import Ray, run
from t2icli.ground import runfile
from t2icli.ground.errors import T2IError

LISTED = 5
"""Rows without a vector, shown by name."""


def embed(
    context: typer.Context,
    source: Annotated[
        Path,
        typer.Argument(help="A prepared dataset, a folder, CSV or JSONL, or a text file with a text in each line."),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", parser=named_path, metavar="FOLDER", help="Folder of the vectors.")
    ] = None,
    of: Annotated[
        Literal["pictures", "texts", "sounds"] | None,
        typer.Option("--of", help="What to embed; if omitted, the lines of a text file, else pictures."),
    ] = None,
    model: Annotated[
        str | None, named("embedder", "--model", "-m", help="Embedder: a backend, model or folder.")
    ] = None,
    shard_rows: Annotated[int, typer.Option("--shard-rows", min=1, help="Vectors in one shard.")] = 1000,
    root: Root = None,
    engine: Annotated[
        Literal["here", "ray"], typer.Option("--engine", help="This process, or workers of a Ray cluster.")
    ] = "here",
    address: Annotated[
        str | None,
        typer.Option("--address", help="Address of the Ray cluster; if omitted, one is started on this machine."),
    ] = None,
    workers: Annotated[
        int, typer.Option("--workers", metavar="N", min=1, help="Processes of the cluster, each with its own model.")
    ] = 1,
    gpus_per_worker: Annotated[
        float, typer.Option("--gpus-per-worker", min=0, max=1, help="GPUs of each worker: 0.5 lets two share one.")
    ] = 0,
    option: Options = None,
    config_file: Config = None,
    batch_size: BatchSize = None,
    device: Device = None,
    as_json: Json = False,
) -> int:
    """Turn pictures, texts or sounds into vectors in shards, for `t2i search`; a second run makes only what is missing.

    t2i embed data/ --output vectors/ -m brivl
    """
    from t2icli.pipelines import embed as work
    from t2icli.pipelines.vectors import Vectors

    if output is None:
        raise T2IError("--output is missing", "add --output FOLDER")
    if engine == "here" and (address is not None or workers > 1 or gpus_per_worker):
        raise T2IError("--address, --workers and --gpus-per-worker are for a cluster", "add --engine ray")
    of = of or ("texts" if source.suffix.lower() == ".txt" else "pictures")
    options = config.options(context, option or ())
    how = work.Embedding.by(of, model, options, batch=batch_size, device=device)
    job = work.job(work.read(source, of, root), source, output, how, shard_rows)
    with show.watching() as watch:
        advance = watch.counting("embedding", job.settings["rows"])
        on = Ray(address, workers, gpus_per_worker) if engine == "ray" else None
        run(job, on, lambda number: advance(len(job.chunks[number])))
    runfile.write(
        output, config.resolved(context, how.tables, of=of, model=model or how.entry, batch_size=None, device=None)
    )
    problems = list(Vectors(output, job.settings).problems())
    _show(output, job.settings["rows"], len(job.chunks), problems, as_json)
    return 3 if problems else 0


def _show(output: Path, rows: int, shards: int, problems: list[tuple[str, str]], as_json: bool) -> None:
    vectors = rows - len(problems)
    if as_json:
        reasons = [{"key": key, "reason": reason} for key, reason in problems]
        show.json({"output": str(output), "vectors": vectors, "shards": shards, "unreadable": reasons})
        return
    show.note(f"{vectors} vectors in {output}, shards: {shards}")
    for _, reason in problems[:LISTED]:
        show.warn(f"skipped: {reason}")
    if len(problems) > LISTED:
        show.warn(f"skipped in all: {len(problems)}")
