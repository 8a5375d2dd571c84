"""`t2i search`: the pictures of a collection that fit a prompt best."""

from __future__ import annotations

from typing import Annotated

import typer

from t2icli import config, defaults, prompts
from t2icli.commands import show
from t2icli.commands.evaluate import Cache, Data, Root
from t2icli.commands.options import BatchSize, Config, Device, Json, Options


def search(
    context: typer.Context,
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="What to look for.")],
    data: Data,
    ranker: Annotated[str | None, typer.Option("--ranker", "-r", metavar="RANKER", help="Whose eyes to use.")] = None,
    top: Annotated[int, typer.Option("--top", metavar="N", min=1, help="How many to show.")] = 10,
    cache: Cache = None,
    root: Root = None,
    option: Options = None,
    config_file: Config = None,
    batch_size: BatchSize = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Find the pictures that fit a prompt best; with --cache the collection is embedded once and then read in place."""
    from t2icli.pipelines import models
    from t2icli.pipelines.evaluate import embeddings, pairs, retrieval

    options = config.options(context, option or ())
    source = embeddings.load(ranker or defaults.name("ranker"), options, batch=batch_size, device=device)
    show.notes(models.stand_ins([source.model]))
    found = pairs.read(data, root=root, captions=False)
    with show.bar("embedding", len(found.pictures)) as advance:
        embedded = embeddings.embed(source, found, [prompts.clean(prompt)], cache, advance)
    nearest = retrieval.search(embedded.texts[0], embedded.images, top)
    rows = [(rank, found.pictures[row].name, score) for rank, (row, score) in enumerate(nearest, start=1)]
    if as_json:
        show.json({"prompt": prompt, "results": [{"rank": r, "picture": name, "score": s} for r, name, s in rows]})
    else:
        show.table(rows, ["rank", "picture", "score"])
    for reason in embedded.unreadable.values():
        show.warn(f"left out: {reason}")
    if embedded.unreadable:
        raise typer.Exit(3)
