"""`t2i search`: the pictures of a collection that fit a prompt best."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from t2icli.commands import show
from t2icli.commands.evaluate import Cache, Root
from t2icli.commands.flag_groups import flag_groups
from t2icli.commands.options import (
    Audio,
    AudioEmbedder,
    BackendFlags,
    PictureFlags,
    data_path,
    named,
    named_path,
)
from t2icli.ground.errors import T2IError
from t2icli.pictures import prompts
from t2icli.registry import defaults, settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from t2icli.pipelines.evaluate.retrieval import Hit, RetrievedSentence
    from t2icli.pipelines.mixture import EmbeddedAudio
    from t2icli.pipelines.vectors import Vectors
    from t2icli.registry.open import Opened


NO_PICTURES = "omit --copy, --page and --show"


class _Filing(NamedTuple):
    """Where pictures that were found go, beside the list."""

    data: Path
    copy: Path | None
    page: Path | None


@flag_groups
def search(
    context: typer.Context,
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="PROMPT DATA",
            help="What to look for, then a prepared dataset or its address, a folder, CSV or JSONL, a text file with a "
            "sentence in each line, or the vectors of t2i embed; with --audio only the data.",
        ),
    ],
    audio: Audio = None,
    audio_embedder: AudioEmbedder = None,
    ranker: Annotated[
        str | None,
        named("embedder", "--ranker", "-r", help="Embedder to use."),
    ] = None,
    top: Annotated[int, typer.Option("--top", metavar="N", min=1, help="How many to show.")] = 10,
    copy: Annotated[
        Path | None,
        typer.Option("--copy", parser=named_path, metavar="FOLDER", help="Copy the pictures there, named by rank."),
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option("--page", parser=named_path, metavar="FILE.html", help="Write the pictures found as a web page."),
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Compare all vectors even if t2i embed built an index.")
    ] = False,
    cache: Cache = None,
    root: Root = None,
    backend: BackendFlags = BackendFlags(),
    printing: PictureFlags = PictureFlags(),
) -> None:
    """Find the pictures that fit a prompt or a sound best; with --cache, pictures are embedded only once.

    With a text file in place of pictures it ranks the lines: with --audio, by how well they describe the sound.
    """
    from t2icli.pipelines import mixture, models
    from t2icli.pipelines.evaluate import embeddings, pairs, retrieval
    from t2icli.pipelines.vectors import Vectors

    printing.check()
    options = backend.options(context)
    prompt, data = _prompt_and_data(words, audio)
    sound = None
    if audio is not None:
        tables = settings.for_audio(options, alone=ranker is None)
        sound = mixture.embed_sound(mixture.AudioFile.opened(audio), audio_embedder, tables, **backend.limits)
    stored, filing = Vectors.at(data), _Filing(data, copy, page)
    if stored is not None:
        if cache is not None:
            raise T2IError("--cache has no use for pictures that are embedded already", "omit it")
        lines, collection = [], None
    else:
        of_texts = data.suffix.lower() == ".txt"
        if of_texts and (copy or page or printing.show_pictures):
            raise T2IError(f"'{data}' has sentences, not pictures", NO_PICTURES)
        lines = prompts.read(data) if of_texts else []
        collection = None if of_texts else pairs.read(data, root=root, captions=False)
    source = _embedder(ranker, sound, stored, options, **backend.limits)
    show.notes(models.stand_ins([source.model]))
    query = (source.thing.embed_texts([prompt])[0] if sound is None else sound.vector).numpy()
    if stored is not None:
        _show_stored(stored, prompt, _nearest(stored, query, top, exact), filing, printing)
        return
    if collection is None:
        _show_sentences(prompt, retrieval.sentences(query, source.thing, lines, top), printing)
        return
    with show.watching(plain=printing.plain) as watch:
        advance = watch.counting("embedding", len(collection.pictures))
        embedded = embeddings.embed(source, collection, [], cache, advance)
    hits = retrieval.hits(query, embedded, collection, top)
    _show_hits(prompt, hits, filing, printing)
    show.skipped(embedded.unreadable.values())
    if embedded.unreadable:
        raise typer.Exit(3)


def _nearest(stored: Vectors, query: NDArray[np.float32], top: int, exact: bool) -> list[Hit]:
    """By the index, if there is one; else by comparing all vectors."""
    from t2icli.pipelines import vector_index

    indexed = vector_index.is_there(stored)
    if indexed and not exact and vector_index.is_usable():
        return stored.search(query, top, vector_index.open_index(stored).candidates(query, top))
    if indexed and not exact:
        show.warn("the index is not used, because faiss is not installed; run: t2i install 't2icli[search]'")
    elif not indexed and stored.rows > vector_index.EXACT:
        show.note(f"all of {stored.rows} vectors are compared; t2i embed --index builds an index")
    return stored.search(query, top)


def _embedder(
    ranker: str | None, sound: EmbeddedAudio | None, stored: Vectors | None, options: dict[str, Any], **flags: Any
) -> Opened[Any]:
    """That of the sound or of the stored vectors, unless another is named: one that can be compared with both."""
    from t2icli.pipelines import mixture
    from t2icli.pipelines.evaluate import embeddings

    if sound is not None and ranker is None:
        if stored is not None:
            stored.check(sound.listener.entry, sound.listener.settings)
        return sound.listener
    if stored is not None:
        source = stored.open_embedder(ranker, options, **flags)
    else:
        (source,) = embeddings.open_embedders([ranker or defaults.name("ranker")], options, **flags)
    if sound is not None:
        mixture.check_space(sound, source)
    return source


def _show_stored(stored: Vectors, prompt: str, hits: Sequence[Hit], filing: _Filing, printing: PictureFlags) -> None:
    from t2icli.pipelines.evaluate.retrieval import RetrievedSentence

    if stored.missing:
        show.warn(
            f"'{stored.folder}' is not finished: {stored.missing} shards are missing; run the same t2i embed again"
        )
    if stored.of == "pictures":
        _show_hits(prompt, hits, filing, printing)
        return
    if filing.copy or filing.page or printing.show_pictures:
        raise T2IError(f"'{stored.folder}' holds vectors of {stored.of}, not of pictures", NO_PICTURES)
    if stored.of == "texts":
        sentences = [RetrievedSentence(hit.rank, hit.picture.captions[0], hit.score) for hit in hits]
        _show_sentences(prompt, sentences, printing)
    else:
        _show(prompt, hits, printing)


def _show_hits(prompt: str, hits: Sequence[Hit], filing: _Filing, printing: PictureFlags) -> None:
    from t2icli.pipelines.evaluate import retrieval

    if filing.copy is not None:
        show.note(f"{len(retrieval.file(hits, filing.copy))} pictures in {filing.copy}")
    if filing.page is not None:
        show.note(f"page: {retrieval.write_page(hits, prompt, filing.data.name, filing.page)}")
    _show(prompt, hits, printing)
    if printing.show_pictures:
        with tempfile.TemporaryDirectory() as folder:
            show.pictures(retrieval.file(hits, Path(folder)))


def _prompt_and_data(words: list[str], audio: Path | None) -> tuple[str, Path]:
    if audio is not None:
        if len(words) != 1:
            raise T2IError("with --audio, search takes only the data", f"write: t2i search --audio {audio} DATA")
        return prompts.heard_in(audio.name), data_path(words[0])
    if len(words) != 2:
        raise T2IError("search takes a prompt and the data", 'write: t2i search "a red bowl" DATA')
    return prompts.clean(words[0]), data_path(words[1])


def _show_sentences(prompt: str, sentences: Sequence[RetrievedSentence], printing: PictureFlags) -> None:
    if printing.as_json:
        show.json({"prompt": prompt, "results": [dataclasses.asdict(each) for each in sentences]})
    elif printing.is_plain:
        show.lines(each.text for each in sentences)
    else:
        show.table([(each.rank, each.text, each.score) for each in sentences], ["rank", "sentence", "score"])


def _show(prompt: str, hits: Sequence[Hit], printing: PictureFlags) -> None:
    if printing.as_json:
        results = [
            {"rank": hit.rank, "picture": hit.picture.name, "score": hit.score, "captions": hit.picture.captions}
            for hit in hits
        ]
        show.json({"prompt": prompt, "results": results})
    elif printing.is_plain:
        show.lines(f"{hit.picture.name}\t{'; '.join(hit.picture.captions)}" for hit in hits)
    else:
        rows = [(hit.rank, Path(hit.picture.name), hit.score, "; ".join(hit.picture.captions)) for hit in hits]
        show.table(rows, ["rank", "picture", "score", "caption"])
