"""A dataset that is prepared already, to be cleaned into another one."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from t2icli.backends.datasets import Prepared
from t2icli.data.dataset import PreparedDataset, SourceRow

MEASURED = {"key", "captions", "width", "height", "format", "sha256"}
"""What is found out about a row again."""


class PreparedSource:
    def __init__(self, settings: Prepared) -> None:
        pass

    def rows(self, source: Path) -> Iterator[SourceRow]:
        data = PreparedDataset.open(source.resolve())
        for i in range(len(data)):
            extra = {name: value for name, value in data.extra(i).items() if name not in MEASURED}
            audio = partial(_sound, data, i) if data.has_audio(i) else None
            yield SourceRow(data.key(i), partial(data.image_bytes, i), data.captions(i), extra, audio)


def _sound(data: PreparedDataset, i: int) -> bytes:
    return data.audio_bytes(i) or b""
