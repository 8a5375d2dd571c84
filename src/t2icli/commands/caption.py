"""`t2i caption`: pictures described."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from t2icli import config
from t2icli.commands import show
from t2icli.commands.options import (
    MOST,
    BatchSize,
    Config,
    Device,
    Force,
    Json,
    Options,
    Plain,
    Rerank,
    Seed,
    named,
    random_seed,
)
from t2icli.registry import settings

if TYPE_CHECKING:
    from t2icli.pipelines.caption import Captioned


def caption(
    context: typer.Context,
    images: Annotated[list[str], typer.Argument(metavar="IMAGES...", help="Files, folders or patterns.")],
    n: Annotated[int, typer.Option("-n", metavar="N", min=1, max=MOST, help="Captions per picture.")] = 1,
    model: Annotated[
        str | None,
        named("captioner", "--model", "-m", help="Captioner: a backend, model or folder."),
    ] = None,
    rerank: Rerank = None,
    seed: Seed = None,
    option: Options = None,
    config_file: Config = None,
    batch_size: BatchSize = None,
    device: Device = None,
    text: Annotated[
        bool, typer.Option("--txt", help="Write each picture's captions to a .txt file beside it.")
    ] = False,
    as_json: Json = False,
    plain: Plain = False,
    force: Force = False,
) -> None:
    """Describe pictures."""
    from t2icli.pipelines import caption as work
    from t2icli.pipelines import image_files, models, scoring
    from t2icli.registry.open import open_one

    paths = image_files.find(images)
    if text:
        work.check_text_files(paths, force=force)
    seed = random_seed() if seed is None else seed
    options = config.options(context, option or ())
    of_rankers = settings.take_table(options, "ranker")
    source = open_one("captioner", model, options, batch=batch_size, device=device)
    judges = scoring.judges(rerank or (), of_rankers)
    show.notes(models.stand_ins([source.model, *(judge.model for judge in judges)]))
    with show.bar(f"captioning with {source.name}", len(paths)) as advance:
        described, unreadable = work.caption(
            paths, source.thing, n, seed=seed, judges=judges, at_once=batch_size, done=advance
        )
    if text:
        work.write_texts(described)
        show.note(f"{len(described)} text files written")
    _show(described, unreadable, seed, as_json=as_json, plain=plain)
    if unreadable:
        raise typer.Exit(3)


def _show(
    described: Sequence[Captioned], unreadable: dict[Path, str], seed: int, *, as_json: bool, plain: bool
) -> None:
    if as_json:
        results = [{"path": each.path, "captions": each.captions, "scores": each.scores} for each in described]
        reasons = [{"path": path, "reason": reason} for path, reason in unreadable.items()]
        show.json({"seed": seed, "results": results, "unreadable": reasons})
        return
    rows = [
        [each.path, caption, each.scores[index] if each.scores else None]
        for each in described
        for index, caption in enumerate(each.captions)
    ]
    if show.is_plain(plain):
        show.lines(f"{path}\t{caption}" for path, caption, _ in rows)
    else:
        show.table(rows, ["picture", "caption", "score"])
    for reason in unreadable.values():
        show.warn(f"skipped: {reason}")
