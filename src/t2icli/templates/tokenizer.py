"""A tokenizer: the bytes of a text, so nothing is ever unknown."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from t2icli import Entry, Tokenizer, hookimpl

if TYPE_CHECKING:
    from torch import Tensor


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    lower: Annotated[bool, Meta(description="whether capitals are made small")] = False


class Bytes:
    vocabulary = 257
    padding = 256

    def __init__(self, settings: Settings) -> None:
        self.lower = settings.lower

    def encode(self, texts: Sequence[str], length: int) -> Tensor:
        import torch  # here, not at the top: `t2i --help` imports this module

        return torch.tensor([self._ids(text, length) for text in texts])

    def _ids(self, text: str, length: int) -> list[int]:
        ids = list((text.lower() if self.lower else text).encode())
        if len(ids) > length:
            warnings.warn(f"only {length} of {len(ids)} bytes were read: {text[:40]!r}...", UserWarning, stacklevel=3)
        return ids[:length] + [self.padding] * (length - len(ids))

    def decode(self, tokens: Tensor) -> list[str]:
        rows: list[list[int]] = tokens.tolist()
        return [bytes(i for i in row if i != self.padding).decode(errors="ignore") for row in rows]


@hookimpl
def t2i_tokenizers() -> list[Entry[Tokenizer]]:
    return [Entry("sample", "the bytes of a text", Settings, Bytes)]
