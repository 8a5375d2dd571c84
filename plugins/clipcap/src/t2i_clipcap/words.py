"""Captions to ids and back, by the tokenizer file in the model folder: Chinese word pieces or GPT-2's bytes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from t2icli.ground.errors import T2IError
from t2icli.ground.files import read_text

if TYPE_CHECKING:
    from tokenizers import Tokenizer

FILE = "tokenizer.json"
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
LATIN = re.compile(r"[A-Za-z0-9]$")


class Words:
    """Ids of words. A caption ends with `stop`, which is not part of it."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self.tokenizer = tokenizer
        self.size = tokenizer.get_vocab_size()
        self.is_pieces = tokenizer.token_to_id("[SEP]") is not None
        stop = tokenizer.token_to_id("[SEP]" if self.is_pieces else "<|endoftext|>")
        if stop is None:
            raise T2IError("the tokenizer has no token that ends a caption", "it needs [SEP] or <|endoftext|>")
        self.stop: int = stop
        names = SPECIAL if self.is_pieces else ("<|endoftext|>",)
        self.special = frozenset(id for name in names if (id := tokenizer.token_to_id(name)) is not None)
        unknown = tokenizer.token_to_id("[UNK]") if self.is_pieces else None
        self.forbidden = () if unknown is None else (unknown,)

    def encode(self, captions: Sequence[str]) -> list[list[int]]:
        """Ids of each caption, `stop` at the end."""
        encodings = self.tokenizer.encode_batch(list(captions), add_special_tokens=False)
        return [[*one.ids, self.stop] for one in encodings]

    def decode(self, ids: Iterable[int]) -> str:
        """The caption up to `stop`, the pieces as text."""
        ordinary = []
        for id in ids:
            if id == self.stop:
                break
            if id not in self.special:
                ordinary.append(id)
        if self.is_pieces:
            return as_text(self.tokenizer.id_to_token(id) or "" for id in ordinary)
        return " ".join(str(self.tokenizer.decode(ordinary)).split())


def as_text(pieces: Iterable[str]) -> str:
    """Chinese characters stand side by side, `##` continues a word, two Latin words keep a space between them."""
    text = ""
    for piece in pieces:
        if piece.startswith("##") and len(piece) > 2:
            text += piece[2:]
        else:
            text += " " + piece if LATIN.search(text) and LATIN.search(piece) else piece
    return text


def open_words(path: Path) -> Words:
    """From a tokenizer.json, a BERT vocabulary (.txt), vocab.json beside merges.txt, or a folder with one."""
    from tokenizers import Tokenizer

    if path.is_dir():
        path = _in_folder(path)
    if path.suffix == ".txt":
        return Words(_pieces(path))
    if path.name == "vocab.json":
        return Words(_bytes(path))
    return Words(Tokenizer.from_file(str(path)))


def _in_folder(folder: Path) -> Path:
    for name in (FILE, "vocab.txt", "vocab.json"):
        if (folder / name).is_file():
            return folder / name
    raise T2IError(f"there is no tokenizer in '{folder}'", "it needs a tokenizer.json, vocab.txt or vocab.json")


def _pieces(vocabulary: Path) -> Tokenizer:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    lines = read_text(vocabulary).split("\n")
    words = {line.rstrip("\r"): i for i, line in enumerate(lines) if line.strip()}
    if "[SEP]" not in words or "[UNK]" not in words:
        raise T2IError(f"'{vocabulary}' is not a BERT vocabulary: it has no [SEP] and [UNK]", "give one word a line")
    tokenizer = Tokenizer(models.WordPiece(words, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def _bytes(vocabulary: Path) -> Tokenizer:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    merges = vocabulary.with_name("merges.txt")
    if not merges.is_file():
        raise T2IError(f"'{merges.name}' is missing beside '{vocabulary}'", "GPT-2's tokenizer is both files")
    known = json.loads(vocabulary.read_text(encoding="utf-8"))
    pairs = [line.split(" ") for line in merges.read_text(encoding="utf-8").split("\n") if line[:1] not in ("", "#")]
    tokenizer = Tokenizer(models.BPE(known, [(a, b) for a, b in pairs]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer
