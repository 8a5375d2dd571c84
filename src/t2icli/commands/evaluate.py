"""`t2i evaluate`: how good rankers, generators, codecs and captioners are, in figures, a chart and JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import msgspec
import typer

from t2icli.commands import show
from t2icli.commands.flag_groups import flag_groups
from t2icli.commands.options import (
    MOST,
    BackendFlags,
    JobFlags,
    Json,
    data_path,
    named,
    named_path,
    output_folder,
)
from t2icli.commands.tables import Percent
from t2icli.engine.jobs import Job
from t2icli.engine.run import Done, Ray, run
from t2icli.ground.errors import T2IError
from t2icli.registry import defaults, settings

if TYPE_CHECKING:
    from t2icli.pipelines.evaluate.generation import GenerationResult
    from t2icli.pipelines.evaluate.pictures import PicturesResult
    from t2icli.pipelines.evaluate.retrieval import RetrievalResult

app = typer.Typer(no_args_is_help=True, help="Measure rankers, generators, codecs and captioners.")

Data = Annotated[
    Path,
    typer.Argument(
        parser=data_path, metavar="DATA", help="A prepared dataset or the address of one, a folder, CSV or JSONL."
    ),
]
Plot = Annotated[
    Path | None, typer.Option("--plot", parser=named_path, metavar="FILE.png", help="Write the figures as a chart.")
]
Cache = Annotated[
    Path | None,
    typer.Option("--cache", parser=named_path, metavar="FOLDER", help="Cache embeddings in this folder."),
]
Root = Annotated[
    Path | None, typer.Option("--root", metavar="FOLDER", help="Folder that a table's image paths are relative to.")
]
Text = Annotated[str, typer.Option("--text", metavar="KIND", help="Which kind of BriVL sentence to use.")]
Limit = Annotated[int | None, typer.Option("--limit", metavar="N", min=1, help="Only the first N rows.")]
Output = Annotated[
    Path | None,
    typer.Option("--output", parser=named_path, metavar="FOLDER", help="Where --engine keeps its shards."),
]
T = TypeVar("T")


def _cluster(job_flags: JobFlags, output: Path | None, words: Sequence[str] | None = None) -> Ray | None:
    """Where the job of one model is done; None for this process, or where there is no job."""
    if output is not None and job_flags.engine is None:
        raise T2IError("--output is for a job", "add --engine here")
    if job_flags.engine is not None and len(words or ()) > 1:
        raise T2IError("--engine measures one model", "run it once for each, with an --output of its own")
    return job_flags.cluster()


def _measured(job: Job, on: Ray | None, done: Done, join: Callable[[Sequence[Path]], T]) -> T:
    """What all shards of a job come to."""
    results: list[T] = []
    run(job, on, done, lambda shards: results.append(join(shards)))
    return results[0]


@app.command()
@flag_groups
def retrieval(
    context: typer.Context,
    data: Data,
    ranker: Annotated[
        list[str] | None,
        named("embedder", "--ranker", "-r", help="What to measure; repeat to compare several."),
    ] = None,
    duplicates: Annotated[
        Literal["right", "wrong"],
        typer.Option(
            help="Whether duplicates of a picture or sentence count as correct; the originals counted them as wrong."
        ),
    ] = "right",
    audio: Annotated[
        bool,
        typer.Option("--audio", help="Evaluate the data's sounds too: retrieval of each one's sentence and picture."),
    ] = False,
    text: Text = "sur_text",
    root: Root = None,
    limit: Limit = None,
    cache: Cache = None,
    plot: Plot = None,
    output: Output = None,
    job_flags: JobFlags = JobFlags(),
    backend: BackendFlags = BackendFlags(),
    as_json: Json = False,
) -> None:
    """Retrieve each sentence's picture and each picture's sentence: recall and median rank.

    DATA may also be vectors of pictures, made by `t2i embed` here or on a cluster.
    """
    from t2icli.pipelines import embed, models
    from t2icli.pipelines.evaluate import embeddings, pairs
    from t2icli.pipelines.evaluate import retrieval as work
    from t2icli.pipelines.vectors import Vectors

    on = _cluster(job_flags, output, ranker)
    options = backend.options(context)
    stored = Vectors.at(data)
    if job_flags.engine is not None:
        if stored is not None or audio or cache is not None:
            raise T2IError("--engine embeds the pictures of data", "omit --audio and --cache, and name the data")
        measured = pairs.first(pairs.read(data, text=text, root=root), limit)
        how = embed.Embedding.by("pictures", (ranker or [defaults.name("ranker")])[0], options, **backend.limits)
        show.notes(models.stand_ins([how.embedder.model]))
        job = embed.of_pairs(measured, data, output_folder(output), how, job_flags.shard_rows)
        with show.watching() as watch:
            run(job, on, watch.counting("embedding", len(measured.pictures)))
        results = [Vectors(job.output, job.settings).measure_pairs(how.embedder.open(), measured, duplicates)]
    elif stored is not None:
        if audio or cache is not None or len(ranker or []) > 1:
            raise T2IError(f"'{data}' holds vectors of one model", "omit --audio and --cache, and all -r but one")
        source = stored.open_embedder(ranker[0] if ranker else None, options, **backend.limits)
        results = [stored.measure(source, duplicates, limit)]
    else:
        measured = pairs.first(pairs.read(data, text=text, root=root), limit)
        words = ranker or [defaults.name("ranker")]
        sources = embeddings.open_embedders(words, options, **backend.limits)
        show.notes(models.stand_ins(source.model for source in sources))
        with show.watching() as watch:
            advance = watch.counting("embedding", len(measured.pictures) * len(sources))
            results = work.evaluate(sources, measured, duplicates=duplicates, audio=audio, cache=cache, advance=advance)
    if plot is not None:
        _plot_retrieval(results, plot)
    _show_retrieval(results, as_json=as_json)
    if results[0].unreadable:
        raise typer.Exit(3)


def _show_retrieval(results: Sequence[RetrievalResult], *, as_json: bool) -> None:
    unreadable = results[0].unreadable
    if as_json:
        show.json({"results": [result.table() for result in results], "unreadable": dict(unreadable)})
        return
    rows: list[list[Any]] = []
    for result in results:
        for name, side in result.directions.items():
            rows.append([result.model, name.replace("_", " "), *map(Percent, side.recall.values()), side.median_rank])
    size = f"{results[0].images} pictures, {results[0].texts} sentences"
    show.table(rows, ["model", "direction", "R@1", "R@5", "R@10", "median rank"], size)
    show.skipped(unreadable.values())


def _plot_retrieval(results: Sequence[RetrievalResult], path: Path) -> None:
    from t2icli.pipelines.evaluate import charts

    groups = [f"{name} R@{k}" for name in ("image to text", "text to image") for k in (1, 5, 10)]
    series = {
        result.model: [*result.image_to_text.recall.values(), *result.text_to_image.recall.values()]
        for result in results
    }
    charts.save(charts.bars("Recall in percent", groups, series), path)
    show.note(f"chart: {path}")


@app.command()
@flag_groups
def generation(
    context: typer.Context,
    prompts: Annotated[
        Path,
        typer.Argument(parser=data_path, metavar="PROMPTS", help="A text file of prompts, or data with sentences."),
    ],
    model: Annotated[
        str | None,
        named("generator", "--model", "-m", help="Generator: a backend, model or folder."),
    ] = None,
    n: Annotated[int, typer.Option("-n", min=1, max=MOST, help="Candidates per prompt.")] = 16,
    ranker: Annotated[
        str | None,
        named("ranker", "--ranker", "-r", help="Ranker that chooses among the candidates."),
    ] = None,
    judge: Annotated[
        str | None,
        named("ranker", "--judge", help="Ranker that judges the choice; preferably another one."),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option("--reference", parser=data_path, metavar="DATA", help="Real pictures, for a Frechet distance."),
    ] = None,
    fid: Annotated[
        bool, typer.Option("--fid", help="FID and KID too, on the model inception/fid; needs --reference.")
    ] = False,
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate",
            help="Store the usual best scores in the model's card, by --ranker and --judge; t2i generate then "
            "warns about prompts that score less.",
        ),
    ] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**62, help="Random seed.")] = 0,
    limit: Limit = None,
    plot: Plot = None,
    output: Output = None,
    job_flags: JobFlags = JobFlags(),
    backend: BackendFlags = BackendFlags(),
    as_json: Json = False,
) -> None:
    """Draw candidates and measure the gain from keeping the best of 1, 4, 16, 64: scores, R-precision, FD-<judge>."""
    from t2icli.pipelines import models
    from t2icli.pipelines.evaluate import embeddings, pairs
    from t2icli.pipelines.evaluate import generation as work
    from t2icli.registry.open import Choice, choose

    if fid and reference is None:
        raise T2IError("--fid needs real pictures", "add --reference DATA")
    on = _cluster(job_flags, output)
    options = dict(backend.options(context))
    of_rankers = settings.take_table(options, "ranker")
    texts = work.prompts_in(prompts)[:limit]
    real = pairs.read(reference) if reference is not None else None
    chooser = ranker or defaults.name("ranker")
    decider = judge or chooser
    source = Choice.of("generator", *choose("generator", model, options, **backend.limits))
    rankers = {
        name: work.choose_ranker(name, of_rankers, **backend.limits) for name in dict.fromkeys((chooser, decider))
    }
    features = (
        {"distance": embeddings.choose_embedders([decider], of_rankers, **backend.limits)[0]}
        if real is not None
        else {}
    )
    if fid:
        features["inception"] = Choice.of("metric", *choose("metric", "inception", **backend.limits))
    show.notes(models.stand_ins([source.model, *(each.model for each in rankers.values())]))
    how = work.Measuring(source, rankers[chooser], rankers[decider], texts, n, seed, features)
    with show.watching() as watch:
        drawn = watch.counting("drawing", len(texts) * n)
        if job_flags.engine is None:
            judges = {name: work.judging(each.open()) for name, each in rankers.items()}
            distances = work.distances(features, real)
            result = work.evaluate(
                source.open(),
                texts,
                n,
                judges[chooser],
                judges[decider],
                seed=seed,
                **distances,
                drawn=drawn,
                watch=watch,
            )
        else:
            result = _measured(
                work.job(output_folder(output), how, job_flags.shard_rows),
                on,
                lambda rows: drawn(n * rows),
                lambda shards: work.joined(shards, how, work.distances(features, real)),
            )
    if calibrate:
        work.calibrate(source, rankers[chooser], rankers[decider], result)
        show.note(f"stored in the card of {source.name}")
    is_clip = rankers[decider].kind == "embedder"
    _show_generation(result, chooser, decider, plot, is_clip=is_clip, as_json=as_json)


def _show_generation(
    result: GenerationResult, chooser: str, judge: str, plot: Path | None, *, is_clip: bool, as_json: bool
) -> None:
    from t2icli.pipelines.evaluate import charts

    if plot is not None:
        series = {"R-precision, percent": [each.r_precision for each in result.curve]}
        title = f"{result.model}: best of n by {chooser}, judged by {judge}"
        charts.save(charts.curves(title, [each.n for each in result.curve], series, "candidates"), plot)
    if as_json:
        show.json({**result.table(), "ranker": chooser, "judge": judge})
        return
    rows = [[each.n, each.score, Percent(each.r_precision)] for each in result.curve]
    title = f"{result.model}, {result.prompts} prompts, chosen by {chooser}, judged by {judge}"
    show.table(rows, ["best of", "mean score", "R-precision"], title)
    if result.frechet is not None:
        show.line(f"FD-{judge}  {result.frechet:.4f}")
    if result.fid is not None and result.kid is not None:
        show.line(f"FID  {result.fid:.4f}")
        show.line(f"KID  {result.kid:.6f}")
    if is_clip:
        show.line(f"CLIPScore-{judge}  {result.clip_score:.4f}")
    if chooser == judge:
        show.note("the same ranker chooses and judges, so the gain is biased; use another with --judge")


@app.command()
@flag_groups
def pictures(
    context: typer.Context,
    data: Annotated[
        Path,
        typer.Argument(parser=data_path, metavar="DATA", help="Drawn pictures: a folder, a dataset, CSV or JSONL."),
    ],
    reference: Annotated[
        Path | None,
        typer.Option("--reference", parser=data_path, metavar="DATA", help="Real pictures, for FID and KID."),
    ] = None,
    ranker: Annotated[
        str | None,
        named("embedder", "--ranker", "-r", help="CLIP for CLIPScore of the pictures and their sentences."),
    ] = None,
    limit: Limit = None,
    root: Root = None,
    backend: BackendFlags = BackendFlags(),
    as_json: Json = False,
) -> None:
    """Compare drawn pictures with real ones, and with their sentences: FID, KID, CLIPScore."""
    from t2icli.pipelines.evaluate import pictures as work
    from t2icli.registry.open import open_one

    if reference is None and ranker is None:
        raise T2IError("nothing to compare the pictures with", "add --reference DATA, or --ranker clip, or both")
    options = dict(backend.options(context))
    of_ranker = settings.take_table(options, "ranker")
    drawn = work.read(data, root=root, captions=ranker is not None)[:limit]
    real = work.read(reference, captions=False)[:limit] if reference else ()
    network = open_one("metric", "inception", options, **backend.limits) if reference else None
    embedder = open_one("embedder", ranker, of_ranker, **backend.limits) if ranker else None
    read = len(real) + len(drawn) * ((network is not None) + (embedder is not None))
    with show.watching() as watch:
        result = work.evaluate(
            drawn,
            real,
            network=network.thing if network else None,
            embedder=embedder.thing if embedder else None,
            advance=watch.counting("reading pictures", read),
        )
    _show_pictures(result, ranker, as_json=as_json)


def _show_pictures(result: PicturesResult, ranker: str | None, *, as_json: bool) -> None:
    from t2icli.pipelines.evaluate.pictures import FEW

    if as_json:
        show.json({**msgspec.to_builtins(result), "ranker": ranker})
        return
    if result.fid is not None and result.kid is not None:
        show.line(f"FID  {result.fid:.4f}")
        show.line(f"KID  {result.kid:.6f}" + (f" ± {result.kid_deviation:.6f}" if result.kid_deviation else ""))
        if min(result.pictures, result.reference) < FEW:
            show.note(
                "FID is biased upwards for few pictures: compare only figures of the same number of pictures; KID "
                "is unbiased"
            )
    if result.clip_score is not None:
        show.line(f"CLIPScore-{ranker}  {result.clip_score:.4f}")


@app.command()
@flag_groups
def codec(
    context: typer.Context,
    data: Data,
    model: Annotated[
        list[str] | None,
        named("codec", "--model", "-m", help="What to measure; repeat to compare several."),
    ] = None,
    limit: Limit = 500,
    pictures: Annotated[
        Path | None,
        typer.Option(
            "--pairs", parser=named_path, metavar="FILE.png", help="Write pictures beside their reconstructions."
        ),
    ] = None,
    root: Root = None,
    output: Output = None,
    job_flags: JobFlags = JobFlags(),
    backend: BackendFlags = BackendFlags(),
    as_json: Json = False,
) -> None:
    """Encode and decode pictures: PSNR, SSIM, how many of the codes are used, and what they look like."""
    from t2icli.pipelines import models
    from t2icli.pipelines.evaluate import charts, pairs
    from t2icli.pipelines.evaluate import codec as work
    from t2icli.registry.open import Choice, choose

    on = _cluster(job_flags, output, model)
    options = backend.options(context)
    measured = pairs.first(pairs.read(data, root=root, captions=False), limit)
    results = []
    for word in model or (None,):
        how = work.Measuring(
            Choice.of("codec", *choose("codec", word, options, device=backend.device)), backend.batch_size or 16
        )
        show.notes(models.stand_ins([how.codec.model]))
        with show.watching() as watch:
            advance = watch.counting(how.codec.name, len(measured.pictures))
            if job_flags.engine is None:
                results.append(work.evaluate(how.codec.open(), measured, batch=how.batch, advance=advance))
                continue
            job = work.job(measured, data, output_folder(output), how, job_flags.shard_rows)
            results.append(_measured(job, on, advance, partial(work.joined, how=how, pairs=measured)))
    for number, result in enumerate(results):
        if pictures is not None:
            path = pictures if number == 0 else pictures.with_stem(f"{pictures.stem}-{number}")
            show.note(f"pairs of {result.model} in {charts.save(result.shown, path)}")
    if as_json:
        show.json({"results": [result.table() for result in results]})
        return
    rows = [each.row() for each in results]
    show.table(rows, ["codec", "PSNR", "SSIM", "codes used", "perplexity"], f"{len(measured.pictures)} pictures")


@app.command()
@flag_groups
def caption(
    context: typer.Context,
    data: Data,
    model: Annotated[
        list[str] | None,
        named("captioner", "--model", "-m", help="What to measure; repeat to compare several."),
    ] = None,
    n: Annotated[int, typer.Option("-n", min=1, max=MOST, help="Captions per picture.")] = 1,
    by: Annotated[
        Literal["character", "word"], typer.Option(help="Unit for Chinese text; Latin words are never split.")
    ] = "character",
    ranker: Annotated[
        list[str] | None,
        named("ranker", "--ranker", "-r", help="Ranker that scores captions and references."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**62, help="Random seed.")] = 0,
    root: Root = None,
    limit: Limit = None,
    output: Output = None,
    job_flags: JobFlags = JobFlags(),
    backend: BackendFlags = BackendFlags(),
    as_json: Json = False,
) -> None:
    """Caption pictures and compare with reference captions: BLEU-4, ROUGE-L, CIDEr-D and ranker scores."""
    from t2icli.pipelines import models, scoring
    from t2icli.pipelines.caption import Captioning
    from t2icli.pipelines.evaluate import caption as work
    from t2icli.pipelines.evaluate import pairs
    from t2icli.registry.open import Choice, choose

    on = _cluster(job_flags, output, model)
    options = dict(backend.options(context))
    measured = pairs.first(pairs.read(data, root=root), limit)
    chosen = scoring.chosen(ranker or (), settings.take_table(options, "ranker"))
    show.notes(models.stand_ins(judge.model for _, judge in chosen.values()))
    judges = scoring.opened(chosen) if job_flags.engine is None else []
    results = []
    for word in model or (None,):
        source = Choice.of("captioner", *choose("captioner", word, options, **backend.limits))
        show.notes(models.stand_ins([source.model]))
        with show.watching() as watch:
            advance = watch.counting(source.name, len(measured.pictures))
            if job_flags.engine is None:
                results.append(
                    work.evaluate(source.open(), measured, n, seed=seed, by=by, judges=judges, advance=advance)
                )
                continue
            how = Captioning(source, n, seed, chosen)
            job = work.job(measured, data, output_folder(output), how, job_flags.shard_rows)
            results.append(_measured(job, on, advance, partial(work.joined, how=how, pairs=measured, by=by)))
    if as_json:
        show.json({"results": [result.table() for result in results]})
        return
    names = list(chosen)
    rows = [
        [
            each.model,
            *each.figures.values(),
            Percent(100 * each.different),
            *(each.judged[name][0] for name in names),
        ]
        for each in results
    ]
    show.table(rows, ["model", *results[0].figures, "different", *names], f"{len(measured.pictures)} pictures, by {by}")
    for name in names:
        show.note(f"{name} scores the reference captions {results[0].judged[name][1]:.4f}")
