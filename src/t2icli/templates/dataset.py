"""A dataset: a CSV file with the columns `image` and `caption`, images beside it."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from t2icli import DatasetPreparer, Entry, hookimpl

if TYPE_CHECKING:
    from t2icli import SourceRow


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    image: Annotated[str, Meta(description="the column of the image's path or address")] = "image"
    caption: Annotated[str, Meta(description="the column of the text")] = "caption"


class Table:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def rows(self, source: Path) -> Iterator[SourceRow]:
        from t2icli import SourceRow

        with source.open(encoding="utf-8-sig", newline="") as lines:
            for number, row in enumerate(csv.DictReader(lines)):
                image = row[self.settings.image]
                place = image if "://" in image else source.parent / image
                yield SourceRow(f"{number:08}", place, (row[self.settings.caption],))


@hookimpl
def t2i_datasets() -> list[Entry[DatasetPreparer]]:
    return [Entry("sample", "a CSV file with images beside it", Settings, Table)]
