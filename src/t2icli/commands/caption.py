"""`t2i caption`: pictures described."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from t2icli import config
from t2icli.commands import show
from t2icli.commands.flag_groups import flag_groups
from t2icli.commands.options import (
    MOST,
    BackendFlags,
    Force,
    JobFlags,
    PrintFlags,
    Rerank,
    Seed,
    job_seed,
    named,
    named_path,
    output_folder,
    random_seed,
)
from t2icli.engine.run import Ray, run
from t2icli.ground import runfile
from t2icli.ground.errors import T2IError
from t2icli.registry import settings

if TYPE_CHECKING:
    from t2icli.engine.jobs import Job
    from t2icli.pipelines.caption import CaptionedFile, UnreadableFile
    from t2icli.pipelines.output_file import OutputFile


@flag_groups
def caption(
    context: typer.Context,
    images: Annotated[
        list[str],
        typer.Argument(metavar="IMAGES...", help="Files, folders or patterns, or a prepared dataset or its address."),
    ],
    n: Annotated[int, typer.Option("-n", metavar="N", min=1, max=MOST, help="Captions per picture.")] = 1,
    model: Annotated[
        str | None,
        named("captioner", "--model", "-m", help="Captioner: a backend, model or folder."),
    ] = None,
    rerank: Rerank = None,
    seed: Seed = None,
    backend: BackendFlags = BackendFlags(),
    text: Annotated[
        bool, typer.Option("--txt", help="Write each picture's captions to a .txt file beside it.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            parser=named_path,
            metavar="FILE.jsonl",
            help="Write the captions to this file as they come; the same command continues an unfinished one. With "
            "--engine a folder.",
        ),
    ] = None,
    job_flags: JobFlags = JobFlags(),
    printing: PrintFlags = PrintFlags(),
    force: Force = False,
) -> None:
    """Describe pictures."""
    from t2icli.pipelines import caption as work
    from t2icli.pipelines import image_files, models, output_file, scoring
    from t2icli.registry.open import Choice, choose

    on = job_flags.cluster()
    pictures = image_files.pictures(images)
    paths = [Path(picture.name) for picture in pictures]
    if text and any(picture.suffix for picture in pictures):
        raise T2IError("--txt needs pictures in files", "write the captions of a dataset to --output")
    options = backend.options(context)
    of_rankers = settings.take_table(options, "ranker")
    choice = Choice.of("captioner", *choose("captioner", model, options, **backend.limits))
    chosen_judges = scoring.chosen(rerank or (), of_rankers)
    used = {**choice.tables, "ranker": {name: dict(each.tables) for name, (_, each) in chosen_judges.items()} or None}
    show.notes(models.stand_ins([choice.model, *(each.model for _, each in chosen_judges.values())]))
    chosen: dict[str, Any] = {"model": model or choice.entry, "batch_size": None, "device": None}
    if job_flags.engine is not None:
        folder = output_folder(output)
        if text:
            work.check_text_files(paths, force=True)
        how = work.Captioning(choice, n, job_seed(seed, folder), chosen_judges)
        reads = image_files.sources(images)
        job = work.job(pictures, reads, folder, how, job_flags.shard_rows, backend.batch_size)
        tables = config.resolved(context, used, seed=how.seed, **chosen)
        _by_engine(job, on, tables, text=text, as_json=printing.as_json)
        return
    journal = None if output is None else context.with_resource(output_file.locked(output, "caption"))
    if journal is not None and seed is None and not force:
        seed = journal.seed()
    seed = random_seed() if seed is None else seed
    source, judges = choice.open(), scoring.opened(chosen_judges)
    report = _Report(text=text, journal=journal, plain=not printing.as_json and printing.is_plain)
    before: list[CaptionedFile | UnreadableFile] = []
    if journal is not None:
        journal.begin(config.resolved(context, used, seed=seed, **chosen), force=force)
        before = list(work.in_file(journal))
    if text:
        work.check_text_files(paths, force=force or (journal is not None and journal.is_continued))
    report.add(before, written=True)
    done = {each.path for each in before}
    rest = [(place, picture) for place, picture in enumerate(pictures) if Path(picture.name) not in done]
    with show.watching(plain=report.plain) as watch:
        advance = watch.counting(f"captioning with {source.name}", len(rest))
        for results in work.caption(
            rest, source.thing, n, seed=seed, judges=judges, at_once=backend.batch_size, done=advance
        ):
            report.add(results)
    if not report.described:
        raise T2IError(f"none of {len(paths)} files is a picture", next(iter(report.unreadable.values())))
    if text:
        show.note(f"{report.described} text files written")
    report.end(seed, as_json=printing.as_json)
    if report.unreadable:
        raise typer.Exit(3)


def _by_engine(job: Job, on: Ray | None, tables: Mapping[str, Any], *, text: bool, as_json: bool) -> None:
    from t2icli.pipelines import caption as work
    from t2icli.pipelines.output_file import OutputFile

    path = job.output / work.CAPTIONS

    def join(shards: Sequence[Path]) -> None:
        work.join(shards, path)
        runfile.write(job.output, tables)

    with show.watching() as watch:
        run(job, on, watch.counting("captioning", job.settings["pictures"]), join)
    described, unreadable = 0, []
    for each in work.in_file(OutputFile(path, "caption")):
        if isinstance(each, work.UnreadableFile):
            unreadable.append(each)
            continue
        described += 1
        if text:
            work.write_text(each)
    if as_json:
        reasons = [{"path": each.path, "reason": each.reason} for each in unreadable]
        show.json({"output": str(path), "seed": tables["seed"], "captioned": described, "unreadable": reasons})
    else:
        show.note(f"captions of {described} pictures in {path}")
        show.skipped(each.reason for each in unreadable)
    if unreadable:
        raise typer.Exit(3)


class _Report:
    """Writes and shows captions as they come; those for a table or JSON are kept until the end."""

    def __init__(self, *, text: bool, journal: OutputFile | None, plain: bool) -> None:
        self.text, self.journal, self.plain = text, journal, plain
        self.described = 0
        self.rows: list[CaptionedFile] = []
        self.unreadable: dict[Path, str] = {}

    def add(self, results: Sequence[CaptionedFile | UnreadableFile], *, written: bool = False) -> None:
        from t2icli.pipelines.caption import CaptionedFile, write_text

        captioned = [each for each in results if isinstance(each, CaptionedFile)]
        self.unreadable |= {each.path: each.reason for each in results if not isinstance(each, CaptionedFile)}
        self.described += len(captioned)
        for each in captioned if self.text and not written else ():
            write_text(each)
        if self.journal is not None and not written:
            self.journal.add(results)
        if self.plain:
            show.lines(f"{each.path}\t{caption}" for each in captioned for caption in each.captions)
        else:
            self.rows += captioned

    def end(self, seed: int, *, as_json: bool) -> None:
        if as_json:
            results = [{"path": each.path, "captions": each.captions, "scores": each.scores} for each in self.rows]
            reasons = [{"path": path, "reason": reason} for path, reason in self.unreadable.items()]
            show.json({"seed": seed, "results": results, "unreadable": reasons})
            return
        if not self.plain:
            rows = [
                [each.path, caption, each.scores[index] if each.scores else None]
                for each in self.rows
                for index, caption in enumerate(each.captions)
            ]
            show.table(rows, ["picture", "caption", "score"])
        show.skipped(self.unreadable.values())
