"""The word pieces of Chinese BERT: lower case, one token for each Chinese character, pieces for other words."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from t2icli.backends.tokenizers import ChineseSettings
from t2icli.backends.tokenizers.ids import IdTokenizer, of_hugging_face
from t2icli.contract.entries import Upstream
from t2icli.ground import files
from t2icli.ground.errors import T2IError
from t2icli.store import models, snapshots
from t2icli.store.models import Card

if TYPE_CHECKING:
    from tokenizers import Tokenizer as HuggingFace

FILE = "vocab.txt"
UNKNOWN = "[UNK]"
SPECIAL = ("[PAD]", UNKNOWN, "[CLS]", "[SEP]", "[MASK]")


def load(settings: ChineseSettings) -> IdTokenizer:
    if settings.vocabulary is not None:
        path = find(settings.vocabulary)
    elif settings.model is not None:
        path = settings.model.file(FILE)
    else:
        raise T2IError(
            "tokenizer 'chinese' has no vocabulary",
            "run: t2i models pull chinese/roberta, or name one: tokenizer.vocabulary=vocab.txt; "
            "in training, tokenizer=json learns one from the captions",
        )
    return of_hugging_face(word_pieces(path), special=False, strict=settings.strict)


def word_pieces(path: Path) -> HuggingFace:
    """BERT's tokenizer from its vocabulary: one token a line, the line's number is its id."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    tokens = _tokens(path)
    ids = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens([token for token in SPECIAL if token in ids])
    return tokenizer


def _tokens(path: Path) -> list[str]:
    tokens = files.read_text(path).split("\n")
    tokens = [token.rstrip("\r") for token in (tokens[:-1] if tokens[-1] == "" else tokens)]
    if UNKNOWN not in tokens:
        raise T2IError(f"'{path}' is not a BERT vocabulary: it has no {UNKNOWN}", "expected one token a line")
    return tokens


def find(word: str) -> Path:
    """The vocabulary a user names: a file, a folder with one, or a repository of the hub."""
    path = Path(word).expanduser()
    if path.is_dir():
        path = path / FILE
    if path.is_file():
        return path
    if path.exists() or path.suffix == ".txt" or word.count("/") != 1:
        raise T2IError(f"no vocabulary '{word}'", "name vocab.txt, its folder, or a repository of the hub")
    return _from_hub(word)


def _from_hub(repository: str) -> Path:
    try:
        return snapshots.fetch(repository, [FILE]) / FILE
    except T2IError as error:
        hint = "download vocab.txt on another machine and run: t2i models import vocab.txt --as chinese"
        raise T2IError(f"cannot get {FILE} of '{repository}': {error.message}", hint, code=1) from error


def convert(upstream: Upstream, folder: Path) -> None:
    """`vocab.txt` as a model folder."""
    if len(upstream.files) != 1:
        raise T2IError("a vocabulary is one file", "t2i models import vocab.txt --as chinese")
    path = find(str(upstream.files[0]))
    size = len(_tokens(path))
    shutil.copyfile(path, folder / FILE)
    card = Card(kind="tokenizer", backend="chinese", about=f"{size} word pieces", source=path.name)
    models.seal(folder, card)
