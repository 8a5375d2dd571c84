"""Any tokenizer that the `tokenizers` library wrote as one JSON file."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t2icli.backends.tokenizers import JsonSettings
from t2icli.backends.tokenizers.ids import IdTokenizer, of_hugging_face
from t2icli.contract.entries import Upstream
from t2icli.ground.errors import T2IError
from t2icli.store import models
from t2icli.store.models import Card

if TYPE_CHECKING:
    from tokenizers import Tokenizer as HuggingFace

FILE = "tokenizer.json"


def load(settings: JsonSettings) -> IdTokenizer:
    if settings.file is not None:
        path = settings.file / FILE if settings.file.is_dir() else settings.file
    elif settings.model is not None:
        path = settings.model.file(FILE)
    else:
        raise T2IError(
            "tokenizer 'json' has no file",
            "name one with tokenizer.file=tokenizer.json, import one, or train one: t2i train tokenizer",
        )
    return of_hugging_face(
        read(path), special=settings.special, strict=settings.strict, drops_unknown=settings.unknown == "drop"
    )


def read(path: Path) -> HuggingFace:
    from tokenizers import Tokenizer

    if not path.is_file():
        raise T2IError(f"no file '{path}'")
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise T2IError(f"'{path}' is not a tokenizer: {str(error).splitlines()[0]}") from error


def convert(upstream: Upstream, folder: Path) -> None:
    """`tokenizer.json` as a model folder."""
    if len(upstream.files) != 1:
        raise T2IError("a tokenizer is one file", "t2i models import tokenizer.json --as json")
    shutil.copyfile(upstream.files[0], folder / FILE)
    seal(folder, source=upstream.files[0].name)


def seal(folder: Path, *, source: str, **settings: Any) -> None:
    """Make a folder with `tokenizer.json` in it a model."""
    size = read(folder / FILE).get_vocab_size()
    card = Card(kind="tokenizer", backend="json", about=f"{size} tokens", source=source, settings=settings)
    models.seal(folder, card)
