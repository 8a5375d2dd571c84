"""`t2i rerank`: pictures sorted by how well they fit a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from t2icli.commands import show
from t2icli.commands.flag_groups import flag_groups
from t2icli.commands.options import (
    Audio,
    AudioEmbedder,
    BackendFlags,
    Force,
    JobFlags,
    PictureFlags,
    PrintFlags,
    named,
    named_path,
    output_folder,
)
from t2icli.engine.run import run
from t2icli.ground.errors import T2IError
from t2icli.pictures import prompts
from t2icli.registry import defaults, settings

if TYPE_CHECKING:
    from t2icli.engine.run import Ray
    from t2icli.pipelines.rerank import RankedPicture, Ranking, Scoring


@flag_groups
def rerank(
    context: typer.Context,
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="PROMPT IMAGES...",
            help="What the pictures should show, then files, folders or patterns; with --audio only the pictures.",
        ),
    ],
    ranker: Annotated[
        list[str] | None,
        named("ranker", "--ranker", "-r", help="Ranker, or several with weights: -r clip=2 -r brivl."),
    ] = None,
    audio: Audio = None,
    audio_embedder: AudioEmbedder = None,
    top: Annotated[int | None, typer.Option("--top", metavar="N", min=1, help="Show only the best N.")] = None,
    copy: Annotated[
        Path | None,
        typer.Option("--copy", parser=named_path, metavar="FOLDER", help="Copy the pictures there, named by rank."),
    ] = None,
    move: Annotated[
        Path | None,
        typer.Option("--move", parser=named_path, metavar="FOLDER", help="Move the pictures there, named by rank."),
    ] = None,
    link: Annotated[
        Path | None,
        typer.Option("--link", parser=named_path, metavar="FOLDER", help="Link the pictures there, named by rank."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            parser=named_path,
            metavar="FILE.jsonl",
            help="Write the scores to this file as they come; later runs score only pictures that are new or changed. "
            "With --engine a folder.",
        ),
    ] = None,
    job_flags: JobFlags = JobFlags(shard_rows=1000),
    backend: BackendFlags = BackendFlags(),
    printing: PictureFlags = PictureFlags(),
    force: Force = False,
) -> None:
    """Rank pictures by how well they fit a prompt or a sound, best first."""
    from t2icli.pipelines import image_files, mixture, models, output_file, scoring
    from t2icli.pipelines import rerank as work

    printing.check()
    filing = [(how, folder) for how, folder in (("copy", copy), ("move", move), ("link", link)) if folder is not None]
    if len(filing) > 1:
        raise T2IError("--copy, --move and --link cannot be combined")
    prompt, images = _prompt_and_images(words, audio)
    paths = image_files.find(images)
    engine = job_flags.engine
    on = job_flags.cluster()
    journal = (
        None if output is None or engine is not None else context.with_resource(output_file.locked(output, "rerank"))
    )
    options = backend.options(context)
    sound, listener = None, None
    if audio is not None:
        of_listener = settings.for_audio(options, alone=not ranker)
        sound = mixture.AudioFile.opened(audio)
        listener = mixture.choose_listener(audio_embedder, of_listener, **backend.limits)
    if listener is None or ranker:
        judges = scoring.chosen(ranker or [defaults.name("ranker")], options, **backend.limits)
    else:
        judges = {audio_embedder or listener.entry: (1.0, listener)}
    scorer = work.Scoring(prompt, judges, backend.batch_size, sound, listener)
    show.notes(models.stand_ins(each.model for _, each in judges.values()))
    if engine is not None:
        ranking = _by_engine(
            scorer, paths, images, output_folder(output), job_flags.shard_rows, on, top, plain=printing.plain
        )
    else:
        opened = scorer.open()
        if journal is not None:
            journal.begin(work.made_with(prompt, opened, scorer.audio_sha256), force=force)
        with show.watching(plain=printing.plain) as watch:
            advance = watch.counting("ranking", len(paths))
            ranking = work.rerank(
                prompt, paths, opened, top=top, at_once=backend.batch_size, output=journal, scored=advance
            )
    show.note(f"ranked by {', '.join(judges)}")
    best = ranking.ranked
    for how, folder in filing:
        show.note(f"{len(work.file(best, folder, how))} pictures in {folder}")
    _show(ranking, best, printing)
    if printing.show_pictures:
        show.pictures([each.path for each in best])
    if ranking.unreadable:
        raise typer.Exit(3)


def _by_engine(
    how: Scoring,
    paths: list[Path],
    words: list[str],
    output: Path,
    shard_rows: int,
    on: Ray | None,
    top: int | None,
    *,
    plain: bool,
) -> Ranking:
    from t2icli.pipelines import image_files
    from t2icli.pipelines import rerank as work

    rankings: list[Ranking] = []
    job = work.job(paths, image_files.sources(words), output, how, shard_rows)
    with show.watching(plain=plain) as watch:
        advance = watch.counting("ranking", len(paths))
        run(job, on, advance, lambda shards: rankings.append(work.joined(shards, paths, how, top)))
    return rankings[0]


def _prompt_and_images(words: list[str], audio: Path | None) -> tuple[str, list[str]]:
    if audio is not None:
        return prompts.heard_in(audio.name), words
    if len(words) < 2:
        raise T2IError("there are no pictures to rank", 'name them after the prompt: t2i rerank "a red bowl" pictures/')
    return prompts.clean(words[0]), words[1:]


def _show(ranking: Ranking, best: Sequence[RankedPicture], printing: PrintFlags) -> None:
    if printing.as_json:
        results = [each._asdict() for each in best]
        unreadable = [{"path": path, "reason": reason} for path, reason in ranking.unreadable.items()]
        show.json({"prompt": ranking.prompt, "results": results, "unreadable": unreadable})
        return
    if printing.is_plain:
        show.lines(each.path for each in best)
    else:
        _table(best)
    show.skipped(ranking.unreadable.values())


def _table(best: Sequence[RankedPicture]) -> None:
    names = list(best[0].scores) if len(best[0].scores) > 1 else []
    rows = [[each.rank, each.path, each.score, *(each.scores[name] for name in names), each.same_as] for each in best]
    show.table(rows, ["rank", "picture", "score", *names, "same as"])
