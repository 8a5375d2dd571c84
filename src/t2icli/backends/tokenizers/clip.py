"""CLIP's byte-pair encoding, from open_clip; without its start and end tokens, as DALLE-pytorch uses it."""

from __future__ import annotations

from t2icli.backends.tokenizers import ClipSettings
from t2icli.backends.tokenizers.ids import IdTokenizer


def load(settings: ClipSettings) -> IdTokenizer:
    import open_clip

    tokenizer = open_clip.SimpleTokenizer()
    return IdTokenizer(
        tokenizer.encode,
        lambda ids: str(tokenizer.decode(ids)).strip(),
        int(tokenizer.vocab_size),
        strict=settings.strict,
    )
