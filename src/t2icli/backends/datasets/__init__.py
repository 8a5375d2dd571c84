"""Where picture-text pairs come from: `t2i prepare NAME SOURCE`. One file per source; this one has their settings."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from t2icli.hookspecs import hookimpl
from t2icli.kinds import DatasetPreparer, Entry

Encoding = Annotated[str, Meta(description="of the text; auto knows UTF-8, UTF-16 and GBK apart")]
Column = Annotated[str | None, Meta(description="its column or field; none: the first of the usual names")]
Root = Annotated[str | None, Meta(description="folder that paths start from and must stay in; none: the file's own")]


class Folder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    captions: Annotated[
        Literal["auto", "txt", "class", "none"],
        Meta(description="a .txt beside each image (a line each), the folder's name, or none; auto: what is there"),
    ] = "auto"


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    image: Column = None
    caption: Column = None
    key: Column = None
    root: Root = None
    encoding: Encoding = "auto"


class Csv(Table, frozen=True, forbid_unknown_fields=True):
    delimiter: Annotated[str, Meta(description="between cells; auto: tab for .tsv, else comma")] = "auto"
    header: Annotated[bool, Meta(description="the first row names the columns; else they are called 0, 1, ...")] = True


def _entry(name: str, about: str, settings: type, module: str, maker: str) -> Entry[DatasetPreparer]:
    return Entry(name, about, settings, _loader(module, maker))


def _loader(module: str, maker: str) -> Callable[[Any], DatasetPreparer]:
    def load(settings: Any) -> DatasetPreparer:
        source: DatasetPreparer = getattr(import_module(f"{__name__}.{module}"), maker)(settings)
        return source

    return load


@hookimpl
def t2i_datasets() -> list[Entry[DatasetPreparer]]:
    return [
        _entry(
            "folder", "images with a .txt beside each, or in folders named by class", Folder, "folder", "FolderSource"
        ),
        _entry(
            "csv", "tables with an image and a caption column: .csv, .tsv, a folder of them", Csv, "tables", "CsvSource"
        ),
        _entry(
            "jsonl", "one JSON object a line: text2img's, BriVL's, or image and caption", Table, "jsonl", "JsonlSource"
        ),
    ]
