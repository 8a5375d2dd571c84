"""`t2i generate`: prompts to a folder of pictures."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from t2icli import config
from t2icli.commands import show
from t2icli.commands.flag_groups import flag_groups
from t2icli.commands.options import (
    MOST,
    Audio,
    AudioEmbedder,
    BackendFlags,
    Force,
    JobFlags,
    PictureFlags,
    PrintFlags,
    Rerank,
    Seed,
    job_seed,
    named,
    named_path,
    output_folder,
)
from t2icli.engine.jobs import FOLDER, PLAN
from t2icli.engine.run import run
from t2icli.ground import runfile
from t2icli.ground.errors import T2IError
from t2icli.pictures import prompts
from t2icli.registry import defaults, settings

if TYPE_CHECKING:
    from t2icli.engine.jobs import Job
    from t2icli.engine.run import Ray
    from t2icli.pictures.album import Album, ResultRows
    from t2icli.pipelines.drawing import Drawing


@flag_groups
def generate(
    context: typer.Context,
    prompt: Annotated[
        list[str] | None,
        typer.Argument(metavar="PROMPT...", help="What to draw, each in quotes; - reads lines from standard input."),
    ] = None,
    prompts_file: Annotated[
        Path | None, typer.Option("--prompts", metavar="FILE", help="More prompts, one a line.")
    ] = None,
    like: Annotated[
        Path | None,
        typer.Option("--like", metavar="IMAGE", help="Draw pictures similar to this one instead of from a prompt."),
    ] = None,
    source_image: Annotated[
        Path | None, typer.Option("--from", metavar="IMAGE", help="Picture to start from, for generators that can.")
    ] = None,
    mask: Annotated[
        Path | None, typer.Option("--mask", metavar="IMAGE", help="White where the picture of --from may change.")
    ] = None,
    audio: Audio = None,
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            metavar="PART=W,...",
            help="Mix the prompt with --like and --audio: words=0.7,audio=0.3; if omitted, these replace the prompt.",
        ),
    ] = None,
    audio_embedder: AudioEmbedder = None,
    n: Annotated[
        int, typer.Option("-n", metavar="N", min=1, max=MOST, help="Pictures per prompt; picture i uses seed + i.")
    ] = 4,
    model: Annotated[
        str | None,
        named("generator", "--model", "-m", help="Generator: a backend, model or folder."),
    ] = None,
    rerank: Rerank = None,
    top: Annotated[
        int | None,
        typer.Option("--top", metavar="N", min=1, help="Keep only the best N of each prompt; of equal pictures one."),
    ] = None,
    seed: Seed = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", parser=named_path, metavar="FOLDER", help="Output folder; pictures/PROMPT if omitted."
        ),
    ] = None,
    job_flags: JobFlags = JobFlags(),
    shards: Annotated[
        bool, typer.Option("--shards", help="With --engine: keep only the WebDataset shards and make no album.")
    ] = False,
    backend: BackendFlags = BackendFlags(),
    printing: PictureFlags = PictureFlags(),
    open_gallery: Annotated[bool, typer.Option("--open", help="Open the gallery in the browser.")] = False,
    force: Force = False,
) -> None:
    """Draw pictures of prompts, best first, with a gallery of them."""
    from t2icli.pictures.album import Album
    from t2icli.pipelines import conditions, doubts, mixture, models, scoring
    from t2icli.pipelines import drawing as drawings
    from t2icli.pipelines import generate as work
    from t2icli.registry.open import Choice, choose

    printing.check()
    engine = job_flags.engine
    on = job_flags.cluster()
    _check_job(output, engine, shards=shards, force=force)
    work.check_top(top, n, judged=bool(rerank))
    streamed = prompts_file if engine is not None else None
    others = None if streamed is not None else prompts_file
    wanted = _prompts(prompt or [], others, like, audio, judged=bool(rerank)) if prompt or streamed is None else []
    has_words = bool(prompt or prompts_file)
    mixed = mixture.parse_weights(weights, has_words=has_words) if weights is not None else None
    examples = conditions.opened(audio=audio, weights=mixed, like=like, source=source_image, mask=mask)
    seed = job_seed(seed, output if engine else None)
    options = backend.options(context)
    of_rankers, of_listener = (settings.take_table(options, name) for name in ("ranker", "audio"))
    word = model or defaults.name("generator", examples.needed)
    source = Choice.of("generator", *choose("generator", word, options, **backend.limits))
    judges = scoring.chosen(rerank or (), of_rankers)
    how = drawings.Drawing(source, n, seed, judges, top, examples, audio_embedder, of_listener, has_words)
    used = {**source.tables, "ranker": {name: dict(each.tables) for name, (_, each) in judges.items()} or None}
    used_models = [source.model, *(each.model for _, each in judges.values())]
    chosen = {"seed": seed, "model": model or source.entry}
    if engine is not None and output is not None:
        show.notes(models.stand_ins(used_models))
        job = drawings.job(partial(_stream, wanted, streamed), output, how, job_flags.shard_rows)
        album = None if shards else Album(output)
        tables = config.resolved(context, used, **chosen, prompt=wanted if prompt else None)
        count = _by_engine(job, how, on, album, tables, plain=printing.plain)
        if album is None:
            _show_shards(output, seed, count, as_json=printing.as_json)
            return
        rows, doubtful, drawn = album.everything(), [], job.settings["prompts"]
    else:
        plan = how.open(wanted)
        album = Album(output or Path("pictures") / (prompts.slug(wanted[0]) or f"{datetime.date.today()}"))
        with album.opened(force=force):
            sound = plan.examples.mixture.sound if plan.examples.mixture is not None else None
            used_models.insert(1, sound.listener.model if sound is not None else None)
            show.notes(models.stand_ins(used_models))
            tables = config.resolved(context, used, **chosen, prompt=wanted if has_words else None, prompts=None)
            kept_settings = album.keep_settings(tables)
            try:
                with show.watching(plain=printing.plain) as watch:
                    advance = watch.counting(f"drawing with {source.name}", n * len(wanted))
                    rows = work.generate(plan, album, kept_settings, lambda candidate: advance(1), watch)
            finally:
                show.note(f"drawn with {source.name}, seed {seed}; gallery: {album.folder / 'index.html'}")
        doubtful = doubts.lines(source.model, plan.judges, rows) if like is None and audio is None else []
        drawn = len(wanted)
    _show(album.folder, seed, rows, doubtful, printing)
    _warn_of_duplicates(rows, None if top is None else top * drawn)
    show.notes(doubtful)
    if open_gallery:
        show.page(album.folder / "index.html")
    if printing.show_pictures:
        show.pictures([album.folder / row["file"] for row in rows if row["file"] is not None])


def _check_job(output: Path | None, engine: str | None, *, shards: bool, force: bool) -> None:
    if engine is None and shards:
        raise T2IError("--shards is for a job", "add --engine here")
    if engine is None and output is not None and (output / PLAN).is_file():
        raise T2IError(f"'{output}' holds a job of --engine", "add --engine here, or choose another --output")
    if engine is not None and force:
        raise T2IError("--force is not for a job", "to start over, delete its folder")
    if engine is not None:
        output_folder(output)


def _stream(typed: list[str], file: Path | None) -> Iterator[str]:
    """The prompts typed and those in a file, as they are needed."""
    yield from typed
    if file is not None:
        yield from prompts.stream(file)


def _by_engine(
    job: Job, how: Drawing, on: Ray | None, album: Album | None, tables: Mapping[str, Any], *, plain: bool
) -> int:
    """Draw in shards and make the album of them; returns how many shards there are."""
    from t2icli.pipelines import drawing

    pictures = how.n * job.settings["prompts"]
    with show.watching(plain=plain) as watch:

        def join(paths: Sequence[Path]) -> None:
            runfile.write(job.output, tables)
            if album is None:
                return
            album.path.touch()  # by which the settings are an album's
            with album.opened():
                drawing.file(paths, album, watch.counting("filing", pictures))

        drawn = watch.counting(f"drawing with {how.generator.name}", pictures)
        return run(job, on, lambda rows: drawn(how.n * rows), join)


def _show_shards(output: Path, seed: int, count: int, *, as_json: bool) -> None:
    if as_json:
        show.json({"folder": str(output), "seed": seed, "shards": count})
    else:
        show.note(f"{count} shards in {output / FOLDER}, seed {seed}")


def _prompts(words: list[str], file: Path | None, like: Path | None, audio: Path | None, *, judged: bool) -> list[str]:
    """The prompts typed, piped in and read from a file, in this order; a picture or a sound to go by needs none."""
    if words == ["-"]:
        texts = prompts.from_lines(sys.stdin.read().splitlines(), "standard input")
    else:
        texts = [prompts.clean(word) for word in words]
    texts += prompts.read(file) if file is not None else []
    if not texts and audio is not None:
        return [prompts.heard_in(audio.name)]
    if not texts and like is not None:
        if judged:
            raise T2IError("--rerank needs a prompt", "add a prompt that says what the picture shows")
        return [f"like {like.name}"]
    if not texts:
        raise T2IError("there is no prompt", 'say what to draw: t2i generate "a red bowl"')
    return texts


def _warn_of_duplicates(rows: ResultRows, wanted: int | None) -> None:
    from t2icli.pictures.album import distinct

    different, files = distinct(rows), sum(row["file"] is not None for row in rows)
    if different < len(rows):
        show.note(f"{different} of {len(rows)} pictures are distinct")
    if wanted is not None and files < wanted:
        show.warn(
            f"{files} pictures are kept instead of {wanted}: the others are copies of these; a larger -n draws more"
        )


def _show(folder: Path, seed: int, rows: ResultRows, doubts: list[str], printing: PrintFlags) -> None:
    from t2icli.pictures.album import distinct

    best = ((folder / row["file"], row) for row in rows if row["file"] is not None)
    if printing.as_json:
        results = list(rows)
        about = {"folder": str(folder), "seed": seed, "distinct": distinct(results)}
        show.json({**about, "results": results, "doubts": doubts})
    elif printing.is_plain:
        show.lines(path for path, _ in best)
    else:
        shown = [[path, row["score"], row["seed"], row["same_as"], prompts.short(row["prompt"])] for path, row in best]
        show.table(shown, ["picture", "score", "seed", "same as", "prompt"])
