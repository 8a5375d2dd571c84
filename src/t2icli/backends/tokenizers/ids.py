"""Lists of ids as a padded table, with a word to the user where a text had to be cut."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from t2icli.ground.errors import T2IError

if TYPE_CHECKING:
    from tokenizers import Tokenizer as HuggingFace
    from torch import Tensor

PADDING = 0


class TextCutWarning(UserWarning):
    """A text is longer than the model reads."""


class UnknownWordWarning(UserWarning):
    """A text has words that the vocabulary lacks."""


class IdTokenizer:
    """A tokenizer from a function each way between one text and its ids."""

    padding = PADDING

    def __init__(
        self,
        to_ids: Callable[[str], list[int]],
        to_text: Callable[[list[int]], str],
        vocabulary: int,
        *,
        strict: bool = False,
    ) -> None:
        self.to_ids, self.to_text, self.vocabulary, self.strict = to_ids, to_text, vocabulary, strict

    def encode(self, texts: Sequence[str], length: int) -> Tensor:
        import torch

        table = torch.full((len(texts), length), PADDING, dtype=torch.int64)
        for row, text in zip(table, texts, strict=True):
            ids = self._cut(text, self.to_ids(text), length)
            row[: len(ids)] = torch.tensor(ids, dtype=torch.int64)
        return table

    def _cut(self, text: str, ids: list[int], length: int) -> list[int]:
        if len(ids) <= length:
            return ids
        message = f"{_short(text)!r} is {len(ids)} tokens long, the model takes {length}"
        text_read = self.to_text(ids[:length])
        if self.strict:
            raise T2IError(message, f"it would be cut after {_end(text_read)!r}: use fewer words")
        warnings.warn(f"{message}: cut after {_end(text_read)!r}", TextCutWarning, stacklevel=3)
        return ids[:length]

    def decode(self, tokens: Tensor) -> list[str]:
        return [self.to_text(_without_padding(ids)) for ids in tokens.tolist()]


def _without_padding(ids: list[int]) -> list[int]:
    """Padding is at the end; CLIP's id 0 elsewhere is an exclamation mark."""
    end = len(ids)
    while end and ids[end - 1] == PADDING:
        end -= 1
    return ids[:end]


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."


def _end(text: str) -> str:
    return text if len(text) <= 12 else "..." + text[-12:]


def of_hugging_face(tokenizer: HuggingFace, *, special: bool, strict: bool, drops_unknown: bool = False) -> IdTokenizer:
    """The `tokenizers` library's object as ours; its own padding and cutting are switched off."""
    tokenizer.no_padding()
    tokenizer.no_truncation()
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    unknown = vocabulary.get(getattr(tokenizer.model, "unk_token", None) or "") if drops_unknown else None

    def to_ids(text: str) -> list[int]:
        read = tokenizer.encode(text, add_special_tokens=special)
        if unknown is None or unknown not in read.ids:
            return list(read.ids)
        pairs = list(zip(read.ids, read.offsets, strict=True))
        lost = dict.fromkeys(text[start:end] for token, (start, end) in pairs if token == unknown)
        message = f"{_short(text)!r}: not in the vocabulary, ignored: {' '.join(lost)}"
        warnings.warn(message, UnknownWordWarning, stacklevel=3)
        return [token for token, _ in pairs if token != unknown]

    def to_text(ids: list[int]) -> str:
        return str(tokenizer.decode(ids, skip_special_tokens=True))

    return IdTokenizer(to_ids, to_text, max(vocabulary.values()) + 1, strict=strict)
