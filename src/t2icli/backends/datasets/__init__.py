"""Where picture-text pairs come from: `t2i prepare NAME SOURCE`. One file per source; this one has their settings."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from t2icli.contract.entries import Entry, lazily
from t2icli.contract.hookspecs import hookimpl
from t2icli.contract.kinds import DatasetPreparer

Encoding = Annotated[str, Meta(description="of the text; auto distinguishes UTF-8, UTF-16, GBK and Western European")]
Column = Annotated[str | None, Meta(description="column or field name; none tries the usual names")]
Root = Annotated[str | None, Meta(description="folder that paths start from and must stay in; none: the file's own")]


class Folder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    captions: Annotated[
        Literal["auto", "txt", "class", "none"],
        Meta(
            description="a .txt beside each image (a line each), else the prompt in a PNG that t2i drew; the folder's "
            "name; or none; auto: whichever exists"
        ),
    ] = "auto"


class TableSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    image: Column = None
    caption: Column = None
    key: Column = None
    audio: Annotated[
        str | None, Meta(description="column or field with the path of a sound; none: audio, if it is there")
    ] = None
    root: Root = None
    encoding: Encoding = "auto"


class Csv(TableSettings, frozen=True, forbid_unknown_fields=True):
    delimiter: Annotated[str, Meta(description="separator of cells; auto: as in the first line")] = "auto"
    header: Annotated[
        bool, Meta(description="whether the first row has the names of the columns; else they are 0, 1, ...")
    ] = True


class Jsonl(TableSettings, frozen=True, forbid_unknown_fields=True):
    text: Annotated[
        str | None, Meta(description="which kind of BriVL's sentences, such as sur_text, are captions; none: all kinds")
    ] = None


class Wukong(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    encoding: Encoding = "auto"
    notebook: Annotated[
        bool,
        Meta(description="split and parse rows exactly as text2img's notebook did, mistakes included, for comparison"),
    ] = False


class GoogleCc(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    encoding: Encoding = "auto"


class WebDataset(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    captions: Annotated[Literal["required", "optional"], Meta(description="report images without a caption file")] = (
        "required"
    )


class Prepared(msgspec.Struct, frozen=True, forbid_unknown_fields=True): ...


class Parquet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    image: Column = None
    caption: Column = None
    key: Column = None
    root: Root = None


class Coco(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    year: Annotated[Literal["any", "2014", "2017"], Meta(description="which annotations, if there are several")] = "any"


class ImageNet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    captions: Annotated[
        Literal["none", "names"], Meta(description="none, or each class's first name from LOC_synset_mapping.txt")
    ] = "none"


class AudioFolder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    captions: Annotated[
        Literal["txt", "class"],
        Meta(description="a .txt beside each sound, a line each; or else the folder's name too"),
    ] = "txt"


class AudioTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    root: Annotated[str | None, Meta(description="folder with the sounds, cut out; none: the table's own")] = None


def _entry(name: str, about: str, settings: type, place: str) -> Entry[DatasetPreparer]:
    return Entry(name, about, settings, lazily(f"{__name__}.{place}"))


@hookimpl
def t2i_datasets() -> list[Entry[DatasetPreparer]]:
    return [
        _entry("folder", "images with a .txt beside each, or in folders named by class", Folder, "folder:FolderSource"),
        _entry(
            "csv", "tables with an image and a caption column: .csv, .tsv, a folder of them", Csv, "tables:CsvSource"
        ),
        _entry("jsonl", "one JSON object a line: text2img's, BriVL's, or any", Jsonl, "jsonl:JsonlSource"),
        _entry("wukong", "address lists of Wukong: CSV files of url,caption", Wukong, "addresses:WukongSource"),
        _entry("googlecc", "Conceptual Captions: TSV of caption, address", GoogleCc, "addresses:GoogleCcSource"),
        _entry("coco", "MS COCO captions 2014 and 2017, images in folders or zips", Coco, "coco:CocoSource"),
        _entry("imagenet", "ImageNet's folders, images without sentences", ImageNet, "imagenet:ImageNetSource"),
        _entry("webdataset", "tars of key.jpg, key.txt, key.json", WebDataset, "tars:WebDatasetSource"),
        _entry(
            "audio-folder",
            "sounds with a .txt beside each, and a picture if there is one",
            AudioFolder,
            "audio:AudioFolderSource",
        ),
        _entry("vggsound", "VGGSound's table of video, second, label, split", AudioTable, "audio:VggSoundSource"),
        _entry("audiocaps", "AudioCaps' tables of sounds and captions", AudioTable, "audio:AudioCapsSource"),
        _entry("prepared", "a dataset that t2i prepare has made, to be cleaned", Prepared, "prepared:PreparedSource"),
        _entry("parquet", "parquet files of addresses, paths or image bytes", Parquet, "parquet:ParquetSource"),
    ]
