"""`t2i prepare`: picture-text pairs from anywhere as a dataset to train on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

from t2icli import config
from t2icli.commands import show
from t2icli.commands.options import Address, Config, Json, Options, data_path, named, named_path, output_folder
from t2icli.ground import runfile
from t2icli.ground.errors import T2IError
from t2icli.ground.watch import Watch
from t2icli.registry import settings

if TYPE_CHECKING:
    from t2icli.data.dataset import PreparedDataset
    from t2icli.pipelines.prepare import Preparation, Summary

DONE_IN_PART = 3
SHOWN = (0, 5, 10, 25, 50, 75, 90, 95, 100)
"""Percent of the rows, of which the scores are shown."""
REASONS = 6
"""Shown at a time, the commonest."""


def prepare(
    context: typer.Context,
    source: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME] SOURCE", help="The kind of source (t2i plugins dataset), and the file or folder."
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", parser=named_path, metavar="FOLDER", help="Folder of the dataset.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option("--preset", metavar="NAME", help="A predefined set of rules: wukong-food.")
    ] = None,
    option: Options = None,
    retry: Annotated[
        str | None,
        typer.Option("--retry", metavar="REASON,...", help="Redo rows with this status; all failed rows if omitted."),
    ] = None,
    filter_: Annotated[
        str | None,
        typer.Option(
            "--filter", metavar="CONDITION", help='Keep pairs whose score passes: "brivl > 0.3 and clip >= 0.2".'
        ),
    ] = None,
    score: Annotated[
        list[str] | None,
        named("ranker", "--score", help="Record each pair's score in its JSON and print the quantiles of the scores."),
    ] = None,
    dedup: Annotated[
        Path | None,
        typer.Option(
            "--dedup",
            metavar="VECTORS",
            help="Leave out near-duplicates, found by the vectors that t2i embed made of SOURCE.",
        ),
    ] = None,
    threshold: Annotated[
        float,
        typer.Option("--threshold", min=-1, max=1, help="Lowest cosine similarity of two near-duplicates."),
    ] = 0.95,
    allow_private: Annotated[
        bool, typer.Option("--allow-private", help="Also fetch from private and loopback addresses.")
    ] = False,
    val: Annotated[
        float, typer.Option("--val", min=0, max=1, help="Fraction of the rows for the validation split.")
    ] = 0.05,
    test: Annotated[float, typer.Option("--test", min=0, max=1, help="Fraction of the rows for the test split.")] = 0.0,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the random choice.")] = 0,
    shard_rows: Annotated[
        int, typer.Option("--shard-rows", min=1, help="Largest number of pictures in a shard.")
    ] = 5000,
    licence: Annotated[str, typer.Option("--licence", metavar="TEXT", help="The data's licence, for its card.")] = "",
    runner: Annotated[
        Literal["local", "ray"], typer.Option("--runner", help="This machine, or a Ray cluster.")
    ] = "local",
    address: Address = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count what the caption rules do; fetch and write nothing.")
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="Read every byte of a prepared dataset and compare.")] = False,
    show_rows: Annotated[int, typer.Option("--show", metavar="N", min=0, help="Show some rows of the dataset.")] = 0,
    report: Annotated[bool, typer.Option("--report", help="Write report.html about the dataset.")] = False,
    export: Annotated[
        Literal["openclip-csv", "dalle-jsonl", "brivl-jsonl", "clipcap"] | None,
        typer.Option("--export", help="Write the dataset in another trainer's format, into --output."),
    ] = None,
    config_file: Config = None,
    as_json: Json = False,
) -> int:
    """Make a dataset to train on from addresses, folders, tables or tars; a second run does only what failed.

    Rules for captions and pictures are set with -o rules.KEY=VALUE, limits of fetching with -o fetch.KEY=VALUE,
    rankers with -o ranker.KEY=VALUE, everything else with -o is the source's own. A prepared dataset as SOURCE can be
    checked, shown and exported, or cleaned into another one with --filter and --dedup.

    t2i prepare wukong lists/ --preset wukong-food -o rules.words=food.txt --output data/
    """
    from t2icli.pipelines import prepare as work

    name, path = _source(source or [])
    views = _Views(show_rows, report, export, output)
    cleaned = filter_ is not None or bool(score) or dedup is not None
    if name is None and work.is_prepared(path) and not cleaned:
        return _look(path, views, check=check, as_json=as_json)
    if check or (export and not output):
        raise T2IError(f"'{path}' is not a prepared dataset", "prepare it first, into an --output")
    options = config.options(context, option or ())
    tables = config.resolved(context, options)
    rules, limits = settings.take_table(options, "rules"), settings.take_table(options, "fetch")
    if allow_private:
        limits = {**limits, "allow_private": True}
    name = name or work.guess_source(path)
    before = work.card_of(name, path)
    words = [word for several in score or () for word in several.split(",") if word]
    scoring = work.scoring_of(filter_, words, settings.take_table(options, "ranker"), before)
    plan = work.plan_of(preset, rules, limits, shard_rows, scoring)
    if not dry_run:
        output_folder(output)
    own: dict[str, Any] = {"seed": seed, "val": val, "test": test, "licence": licence}
    if before is not None:  # what is not typed stays as it was, so that no row changes its split
        own |= {key: getattr(before, key) for key in own if not config.is_given(context, key)}
    job = work.Preparation(name, path, output or path, plan, options, **own, rankers=before.rankers if before else {})
    if dry_run:
        if cleaned:
            raise T2IError("--dry-run looks at captions alone", "omit --filter, --score and --dedup")
        return _try_out(job, as_json)
    if dedup is not None:
        job = replace(job, dedup=work.dedup_of(job, dedup, threshold))
    done = _run(job, retry, runner, address)
    runfile.write(job.output, tables)
    views_shown = _seen(done.data, views._replace(output=job.output / "exports" / (export or "")))
    _show_summary(job, done, views_shown, as_json)
    return DONE_IN_PART if done.of("failed") else 0


class _Views(NamedTuple):
    """What was asked for beside the dataset itself."""

    rows: int
    report: bool
    export: str | None
    output: Path | None
    """Where the export goes."""


def _look(path: Path, views: _Views, *, check: bool, as_json: bool) -> int:
    """A dataset that is prepared: is it whole, what is in it."""
    from t2icli.data.dataset import PreparedDataset

    data = PreparedDataset.open(path)
    if views.report and not data.place.is_writable:
        raise T2IError(
            f"a page cannot be written to the address '{data.place}'", "copy the dataset into a folder first"
        )
    if check:
        return _check(data, as_json)
    if not (seen := _seen(data, views)):
        _card(data, as_json)
    elif as_json:
        show.json(seen)
    else:
        _show(seen)
    return 0


def _source(words: list[str]) -> tuple[str | None, Path]:
    """`NAME SOURCE`, or SOURCE alone, whose kind is guessed from the file."""
    if len(words) not in (1, 2):
        raise T2IError("t2i prepare takes a kind of source and then the source", "t2i prepare folder photos/ ...")
    if len(words) == 1 and not data_path(words[0]).exists():  # a named source may take something else than a path
        raise T2IError(f"there is nothing at {words[0]!r}")
    return (words[0] if len(words) == 2 else None), data_path(words[-1])


class Counts:
    """The rows of a run by status, for its watch."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.rows: Counter[str] = Counter()
        self.bytes = 0

    def __call__(self, reason: str, rows: int, size: int) -> None:
        self.rows[reason] += rows
        self.bytes += size
        common = dict(self.rows.most_common(REASONS))
        self.watch.progress("rows", self.rows.total(), None, {**common, "MB": self.bytes / 1e6})


def _run(job: Preparation, retry: str | None, runner: str, address: str | None) -> Summary:
    from t2icli.pipelines.prepare import prepare as run

    reasons = frozenset(filter(None, map(str.strip, retry.split(",")))) if retry is not None else None
    with show.watching() as watch:
        progress = Counts(watch)
        compared = watch.counting("comparing", job.dedup.comparisons) if job.dedup else lambda n: None
        where = (address or "") if runner == "ray" else None
        return run(job, reasons, progress, cluster=where, compared=compared)


def _show_summary(job: Preparation, done: Summary, seen: dict[str, Any], as_json: bool) -> None:
    if as_json:
        counts = [{"status": status, "reason": reason, "rows": n} for (status, reason), n in done.counts.items()]
        summary = {"output": str(job.output), "rows": counts, "images": len(done.data), "sha256": done.data.sha256}
        scores = {name: {"rows": lie.rows, "quantiles": lie.below} for name, lie in done.scores.items()}
        show.json({**summary, **({"scores": scores} if scores else {}), **seen})
        return
    rows = [(status, reason, count) for (status, reason), count in done.counts.most_common()]
    show.table(rows, ("became", "because", "rows"), f"{len(done.data)} pictures in {job.output}")
    if done.scores:
        percents = [f"{percent} %" for percent in SHOWN]
        lies = [(name, lie.rows, *(lie.below[percent] for percent in SHOWN)) for name, lie in done.scores.items()]
        show.table(lies, ("score", "rows", *percents), "quantiles of the scores, including dropped rows")
    if failed := done.of("failed"):
        some = ", ".join(f"{name} ({reason})" for name, reason in done.failed)
        more = ", ..." * (failed > len(done.failed))
        show.note(f"rows that failed: {failed}: {some}{more}; run the same command again to try them once more")
    _show(seen)


def _try_out(job: Preparation, as_json: bool) -> int:
    from t2icli.pipelines.prepare import try_out

    trial = try_out(job)
    if as_json:
        show.json(
            {"counts": {reason or "ok": count for reason, count in trial.counts.items()}, "examples": trial.examples}
        )
        return 0
    rows = [(reason or "ok", count, " / ".join(trial.examples[reason])) for reason, count in trial.counts.most_common()]
    show.table(
        rows, ("caption", "rows", "for example"), f"{trial.counts.total()} rows in {job.path}; nothing was written"
    )
    return 0


def _seen(data: PreparedDataset, views: _Views) -> dict[str, Any]:
    """Write what was asked for beside the dataset, and tell of it; empty where nothing was."""
    seen: dict[str, Any] = {}
    if views.rows:
        seen["shown"] = list(_some(data, views.rows))
    if views.report:
        from t2icli.prepare.page import write_page

        seen["report"] = str(write_page(data))
    if views.export:
        from t2icli.prepare.export import export

        seen["exported"] = [str(path) for path in export(data, views.export, output_folder(views.output))]
    return seen


def _show(seen: dict[str, Any]) -> None:
    if rows := seen.get("shown"):
        listed = [(row["row"], row["key"], "{} x {}".format(*row["size"]), " / ".join(row["captions"])) for row in rows]
        show.table(listed, ("row", "key", "size", "captions"))
    for path in (*filter(None, [seen.get("report")]), *seen.get("exported", [])):
        show.line(path)


def _check(data: PreparedDataset, as_json: bool) -> int:
    from t2icli.prepare.check import problems

    damage = []
    for problem in problems(data):
        damage.append(problem)
        if not as_json:
            show.text(problem)
    shards = len(data.card.shards)
    if as_json:
        show.json({"images": len(data), "shards": shards, "problems": damage})
    elif not damage:
        show.text(f"{len(data)} pictures, all as the card says; shards: {shards}")
    return 1 if damage else 0


def _some(data: PreparedDataset, n: int) -> Iterator[dict[str, Any]]:
    """Rows from all over the dataset."""
    for i in (i * len(data) // min(n, len(data)) for i in range(min(n, len(data)))):
        yield {"row": i, "key": data.key(i), "size": data.size(i), "captions": data.captions(i)}


def _card(data: PreparedDataset, as_json: bool) -> None:
    card = data.card
    splits = {split: len(data.split(split)) for split in ("train", "val", "test")}
    facts = {
        "source": card.source,
        "licence": card.licence,
        **splits,
        "shards": len(card.shards),
        "sha256": data.sha256,
    }
    if as_json:
        show.json({**facts, "counts": card.counts, "rules": card.rules})
    else:
        show.table([*facts.items(), *card.counts.items()], ("", ""), str(data.place))
