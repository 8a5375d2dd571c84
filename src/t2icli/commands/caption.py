"""`t2i caption`: pictures described."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    named_path,
    random_seed,
)
from t2icli.ground.errors import T2IError
from t2icli.registry import settings

if TYPE_CHECKING:
    from t2icli.pipelines.caption import CaptionResult, UnreadableFile
    from t2icli.pipelines.output_file import OutputFile


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
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            parser=named_path,
            metavar="FILE.jsonl",
            help="Write the captions to this file as they come; the same command continues an unfinished one.",
        ),
    ] = None,
    as_json: Json = False,
    plain: Plain = False,
    force: Force = False,
) -> None:
    """Describe pictures."""
    from t2icli.pipelines import caption as work
    from t2icli.pipelines import image_files, models, output_file, scoring
    from t2icli.registry.open import open_one

    paths = image_files.find(images)
    journal = None if output is None else context.with_resource(output_file.locked(output, "caption"))
    if journal is not None and seed is None and not force:
        seed = journal.seed()
    seed = random_seed() if seed is None else seed
    options = config.options(context, option or ())
    of_rankers = settings.take_table(options, "ranker")
    source = open_one("captioner", model, options, batch=batch_size, device=device)
    judges = scoring.judges(rerank or (), of_rankers)
    report = _Report(text=text, journal=journal, plain=not as_json and show.is_plain(plain))
    before: list[CaptionResult | UnreadableFile] = []
    if journal is not None:
        tables = {**source.tables, "ranker": {judge.name: judge.settings for judge in judges} or None}
        chosen: dict[str, Any] = {"seed": seed, "model": model or source.entry, "batch_size": None, "device": None}
        journal.begin(config.resolved(context, tables, **chosen), force=force)
        before = work.in_file(journal)
    if text:
        work.check_text_files(paths, force=force or (journal is not None and journal.is_continued))
    show.notes(models.stand_ins([source.model, *(judge.model for judge in judges)]))
    report.add(before, written=True)
    done = {each.path for each in before}
    rest = [path for path in paths if path not in done]
    with show.watching(plain=report.plain) as watch:
        advance = watch.counting(f"captioning with {source.name}", len(rest))
        for results in work.caption(
            rest, source.thing, n, seed=seed + report.described, judges=judges, at_once=batch_size, done=advance
        ):
            report.add(results)
    if not report.described:
        raise T2IError(f"none of {len(paths)} files is a picture", next(iter(report.unreadable.values())))
    if text:
        show.note(f"{report.described} text files written")
    report.end(seed, as_json=as_json)
    if report.unreadable:
        raise typer.Exit(3)


class _Report:
    """Writes and shows captions as they come; those for a table or JSON are kept until the end."""

    def __init__(self, *, text: bool, journal: OutputFile | None, plain: bool) -> None:
        self.text, self.journal, self.plain = text, journal, plain
        self.described = 0
        self.kept: list[CaptionResult] = []
        self.unreadable: dict[Path, str] = {}

    def add(self, results: Sequence[CaptionResult | UnreadableFile], *, written: bool = False) -> None:
        from t2icli.pipelines.caption import CaptionResult, write_text

        captioned = [each for each in results if isinstance(each, CaptionResult)]
        self.unreadable |= {each.path: each.reason for each in results if not isinstance(each, CaptionResult)}
        self.described += len(captioned)
        for each in captioned if self.text and not written else ():
            write_text(each)
        if self.journal is not None and not written:
            self.journal.add(results)
        if self.plain:
            show.lines(f"{each.path}\t{caption}" for each in captioned for caption in each.captions)
        else:
            self.kept += captioned

    def end(self, seed: int, *, as_json: bool) -> None:
        if as_json:
            results = [{"path": each.path, "captions": each.captions, "scores": each.scores} for each in self.kept]
            reasons = [{"path": path, "reason": reason} for path, reason in self.unreadable.items()]
            show.json({"seed": seed, "results": results, "unreadable": reasons})
            return
        if not self.plain:
            rows = [
                [each.path, caption, each.scores[index] if each.scores else None]
                for each in self.kept
                for index, caption in enumerate(each.captions)
            ]
            show.table(rows, ["picture", "caption", "score"])
        for reason in self.unreadable.values():
            show.warn(f"skipped: {reason}")
