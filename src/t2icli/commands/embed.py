"""`t2i embed`: pictures, texts or sounds as shards of vectors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from t2icli import config
from t2icli.commands import show
from t2icli.commands.evaluate import Root
from t2icli.commands.flag_groups import flag_groups
from t2icli.commands.options import (
    BackendFlags,
    JobFlags,
    Json,
    data_path,
    named,
    named_path,
    output_folder,
)
from t2icli.engine.run import run
from t2icli.ground import runfile

if TYPE_CHECKING:
    from t2icli.pipelines.embed import Embedding
    from t2icli.pipelines.vector_index import Recall
    from t2icli.pipelines.vectors import Vectors

LISTED = 5
"""Rows without a vector, shown by name."""


@flag_groups
def embed(
    context: typer.Context,
    source: Annotated[
        Path,
        typer.Argument(
            parser=data_path,
            metavar="SOURCE",
            help="A prepared dataset or the address of one, a folder, CSV or JSONL, or a text file with a text in each "
            "line.",
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", parser=named_path, metavar="FOLDER", help="Folder of the vectors.")
    ] = None,
    of: Annotated[
        Literal["pictures", "texts", "sounds"] | None,
        typer.Option("--of", help="What to embed; if omitted, the lines of a text file, else pictures."),
    ] = None,
    model: Annotated[
        str | None, named("embedder", "--model", "-m", help="Embedder: a backend, model or folder.")
    ] = None,
    root: Root = None,
    index: Annotated[
        bool, typer.Option("--index", help="Also build an index, so that t2i search does not compare all vectors.")
    ] = False,
    job_flags: JobFlags = JobFlags(engine="here", shard_rows=1000),
    backend: BackendFlags = BackendFlags(),
    as_json: Json = False,
) -> int:
    """Turn pictures, texts or sounds into vectors in shards, for `t2i search`; a second run makes only what is missing.

    t2i embed data/ --output vectors/ -m brivl
    """
    from t2icli.pipelines import embed as work
    from t2icli.pipelines.vectors import Vectors

    output = output_folder(output)
    on = job_flags.cluster()
    of = of or ("texts" if source.suffix.lower() == ".txt" else "pictures")
    options = backend.options(context)
    how = work.Embedding.by(of, model, options, **backend.limits)
    job = work.job(work.read(source, of, root), source, output, how, job_flags.shard_rows)
    with show.watching() as watch:
        shards = run(job, on, watch.counting("embedding", job.settings["rows"]))
    resolved = config.resolved(
        context, how.embedder.tables, of=of, model=model or how.embedder.entry, batch_size=None, device=None
    )
    runfile.write(output, resolved)
    vectors = Vectors(output, job.settings)
    recall = _index(vectors, how) if index else None
    problems = list(vectors.problems())
    _show(output, job.settings["rows"], shards, problems, recall, as_json)
    return 3 if problems else 0


def _index(vectors: Vectors, how: Embedding) -> Recall | None:
    """Make the index; nothing where there is one, for the vectors never change."""
    from t2icli.pipelines import vector_index

    if vector_index.is_there(vectors):
        vector_index.open_index(vectors)
        return None
    captioned = vectors.of != "texts" and bool(vectors.captions(1))
    ask = how.embedder.open().thing.embed_texts if captioned else None
    with show.watching() as watch:
        advance = watch.counting("indexing", vectors.rows)
        return vector_index.build(vectors, ask and (lambda texts: ask(texts).numpy()), advance)


def _show(
    output: Path, rows: int, shards: int, problems: list[tuple[str, str]], recall: Recall | None, as_json: bool
) -> None:
    vectors = rows - len(problems)
    if as_json:
        reasons = [{"key": key, "reason": reason} for key, reason in problems]
        table = {"output": str(output), "vectors": vectors, "shards": shards, "unreadable": reasons}
        show.json({**table, **({"recall": recall.share} if recall else {})})
        return
    show.note(f"{vectors} vectors in {output}, shards: {shards}")
    if recall is not None:
        show.note(f"the index finds {recall.share:.1%} of the 10 nearest, asked for {recall.queries} {recall.of}")
    show.skipped(reason for _, reason in problems[:LISTED])
    if len(problems) > LISTED:
        show.warn(f"skipped in all: {len(problems)}")
