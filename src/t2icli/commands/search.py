"""`t2i search`: the pictures of a collection that fit a prompt best."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from t2icli import config
from t2icli.commands import complete, show
from t2icli.commands.evaluate import Cache, Data, Root
from t2icli.commands.options import BatchSize, Config, Device, Json, Options, Plain, named_path
from t2icli.pictures import prompts
from t2icli.registry import defaults

if TYPE_CHECKING:
    from t2icli.pipelines.evaluate.retrieval import Hit


def search(
    context: typer.Context,
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="What to look for.")],
    data: Data,
    ranker: Annotated[
        str | None,
        typer.Option(
            "--ranker", "-r", metavar="RANKER", help="Embedder to use.", autocompletion=complete.names("embedder")
        ),
    ] = None,
    top: Annotated[int, typer.Option("--top", metavar="N", min=1, help="How many to show.")] = 10,
    copy: Annotated[
        Path | None,
        typer.Option("--copy", parser=named_path, metavar="FOLDER", help="Copy the pictures there, named by rank."),
    ] = None,
    cache: Cache = None,
    root: Root = None,
    option: Options = None,
    config_file: Config = None,
    batch_size: BatchSize = None,
    device: Device = None,
    as_json: Json = False,
    plain: Plain = False,
    show_pictures: Annotated[bool, typer.Option("--show", help="Show them in the terminal.")] = False,
) -> None:
    """Find the pictures that fit a prompt best; with --cache, pictures are embedded only once."""
    from t2icli.pipelines import models
    from t2icli.pipelines.evaluate import embeddings, pairs, retrieval

    if show_pictures:
        show.check_pictures()
    options = config.options(context, option or ())
    found = pairs.read(data, root=root, captions=False)
    (source,) = embeddings.open_embedders([ranker or defaults.name("ranker")], options, batch=batch_size, device=device)
    show.notes(models.stand_ins([source.model]))
    with show.bar("embedding", len(found.pictures)) as advance:
        embedded = embeddings.embed(source, found, [prompts.clean(prompt)], cache, advance)
    hits = retrieval.hits(embedded, found, top)
    if copy is not None:
        show.note(f"{len(retrieval.file(hits, copy))} pictures in {copy}")
    _show(prompt, hits, as_json=as_json, plain=plain)
    if show_pictures:
        with tempfile.TemporaryDirectory() as folder:
            show.pictures(retrieval.file(hits, Path(folder)))
    for reason in embedded.unreadable.values():
        show.warn(f"skipped: {reason}")
    if embedded.unreadable:
        raise typer.Exit(3)


def _show(prompt: str, hits: Sequence[Hit], *, as_json: bool, plain: bool) -> None:
    if as_json:
        results = [
            {"rank": hit.rank, "picture": hit.picture.name, "score": hit.score, "captions": hit.picture.captions}
            for hit in hits
        ]
        show.json({"prompt": prompt, "results": results})
    elif show.is_plain(plain):
        show.lines(f"{hit.picture.name}\t{'; '.join(hit.picture.captions)}" for hit in hits)
    else:
        rows = [(hit.rank, Path(hit.picture.name), hit.score, "; ".join(hit.picture.captions)) for hit in hits]
        show.table(rows, ["rank", "picture", "score", "caption"])
