"""`t2i evaluate`: how good rankers, generators and codecs are, in figures, a chart and JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from t2icli import config, defaults
from t2icli.commands import show
from t2icli.commands.options import BatchSize, Config, Device, Json, Options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from t2icli.pipelines.evaluate.retrieval import Result

app = typer.Typer(no_args_is_help=True, help="Measure rankers, generators and codecs.")

Data = Annotated[Path, typer.Argument(metavar="DATA", help="A prepared data set, a folder, CSV or JSONL.")]
Plot = Annotated[Path | None, typer.Option("--plot", metavar="FILE.png", help="Write the figures as a chart.")]
Cache = Annotated[
    Path | None, typer.Option("--cache", metavar="FOLDER", help="Keep embeddings there and use those that are there.")
]
Root = Annotated[Path | None, typer.Option("--root", metavar="FOLDER", help="Where a table's pictures are looked for.")]
Text = Annotated[str, typer.Option("--text", metavar="KIND", help="Which of BriVL's kinds of sentence counts.")]
Limit = Annotated[int | None, typer.Option("--limit", metavar="N", min=1, help="Only the first N rows.")]


@app.command()
def retrieval(
    context: typer.Context,
    data: Data,
    ranker: Annotated[
        list[str] | None,
        typer.Option("--ranker", "-r", metavar="RANKER", help="Who is measured; give several to compare."),
    ] = None,
    duplicates: Annotated[
        Literal["right", "wrong"],
        typer.Option(help="The same picture or sentence twice: right, or wrong as the originals counted."),
    ] = "right",
    text: Text = "sur_text",
    root: Root = None,
    limit: Limit = None,
    cache: Cache = None,
    plot: Plot = None,
    option: Options = None,
    config_file: Config = None,
    batch_size: BatchSize = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Find each sentence's picture among all, and each picture's sentence: recall and median rank."""
    from t2icli.pipelines.evaluate import embeddings, pairs
    from t2icli.pipelines.evaluate import retrieval as work

    words = [word for given in ranker or [defaults.name("ranker")] for word in given.split(",")]
    options = config.options(context, option or ())
    sources = [embeddings.load(word, options, batch=batch_size, device=device) for word in words]
    found = pairs.first(pairs.read(data, text=text, root=root), limit)
    with show.bar("embedding", len(found.pictures) * len(sources)) as advance:
        results = work.evaluate(sources, found, duplicates=duplicates, cache=cache, advance=advance)
    if plot is not None:
        _plot_retrieval(results, plot)
    _show_retrieval(results, as_json=as_json)
    if results[0].unreadable:
        raise typer.Exit(3)


def _show_retrieval(results: Sequence[Result], *, as_json: bool) -> None:
    unreadable = results[0].unreadable
    if as_json:
        show.json({"results": [result.table() for result in results], "unreadable": dict(unreadable)})
        return
    rows: list[list[Any]] = []
    for result in results:
        for name, side in (("image to text", result.image_to_text), ("text to image", result.text_to_image)):
            rows.append([result.model, name, *(round(value, 2) for value in side.recall.values()), side.median_rank])
    size = f"{results[0].images} pictures, {results[0].texts} sentences"
    show.table(rows, ["model", "direction", "R@1", "R@5", "R@10", "median rank"], size)
    for reason in unreadable.values():
        show.warn(f"left out: {reason}")


def _plot_retrieval(results: Sequence[Result], path: Path) -> None:
    from t2icli.pipelines.evaluate import charts

    groups = [f"{name} R@{k}" for name in ("image to text", "text to image") for k in (1, 5, 10)]
    series = {
        result.model: [*result.image_to_text.recall.values(), *result.text_to_image.recall.values()]
        for result in results
    }
    charts.save(charts.bars("Recall in percent", groups, series), path)
    show.note(f"chart in {path}")
