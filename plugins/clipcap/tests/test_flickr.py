from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from t2i_clipcap import FlickrSettings
from t2i_clipcap.flickr import FlickrSource, parse
from t2icli.data.dataset import PreparedDataset
from t2icli.ground.errors import T2IError
from t2icli.prepare.report import every_row
from t2icli.registry import discovery
from t2icli.testing import check_dataset


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for name, colour in (("17", "red"), ("23", "blue")):
        Image.new("RGB", (8, 8), colour).save(tmp_path / f"images/{name}.jpg")
    lines = ["17\t一个人", "17\t两个人", "23\t一只狗", "17 没有制表符", "23\t", "", "99\t不存在的图片"]
    (tmp_path / "flickr_caption.txt").write_text("\n".join(lines), encoding="utf-8")
    return tmp_path / "flickr_caption.txt"


def test_published_lines_are_read_as_the_original_read_them(golden: Callable[[str], Path]) -> None:
    known = json.loads(golden("clipcap/process_caption.json").read_text(encoding="utf-8"))
    for form in known.values():
        assert [parse(line) for line in form["raw_lines"]] == [tuple(pair) for pair in form["out"]]


@pytest.mark.usefixtures("fake")
def test_flickr30k_cn_keeps_a_data_sets_promises(source: Path) -> None:
    check_dataset(discovery.find("dataset", "flickr30k-cn"), source)


def test_captions_are_gathered_by_image_and_bad_lines_named(source: Path) -> None:
    rows = {row.key: row for row in FlickrSource(FlickrSettings()).rows(source)}
    assert rows["17"].captions == ("一个人", "两个人")
    assert rows["17"].image == source.parent / "images/17.jpg"
    assert rows["23"].extra["lines"] == ["flickr_caption.txt:3"]
    assert rows["flickr_caption.txt:4"].extra["problem"] == "missing-tab"
    assert rows["flickr_caption.txt:5"].extra["problem"] == "empty-caption"
    assert len(rows) == 5


def test_prepare_reports_every_bad_line_and_unknown_image(fake: Any, source: Path, tmp_path: Path) -> None:
    told = fake.run("prepare", "flickr30k-cn", source, "--output", tmp_path / "data", "--val", 0, "--json")
    assert told.code == 3
    data = PreparedDataset.open(tmp_path / "data")
    assert sorted(data.key(i) for i in range(len(data))) == ["17", "23"]
    bad = {row.key: (row.reason, row.caption) for row in every_row(tmp_path / "data") if row.status == "failed"}
    assert bad == {
        "flickr_caption.txt:4": ("missing-tab", "17 没有制表符"),
        "flickr_caption.txt:5": ("empty-caption", "23"),
        "flickr_caption.txt:7": ("no-such-file", "不存在的图片"),
    }


def test_an_image_that_comes_later_is_taken_up_by_a_second_run(fake: Any, source: Path, tmp_path: Path) -> None:
    words = ("prepare", "flickr30k-cn", source, "--output", tmp_path / "data", "--val", 0)
    fake.fails(*words, code=3)
    Image.new("RGB", (8, 8), "green").save(source.parent / "images/99.jpg")
    fake.fails(*words, code=3)
    data = PreparedDataset.open(tmp_path / "data")
    assert {data.key(i): data.captions(i) for i in range(len(data))}["99"] == ("不存在的图片",)


def test_the_parts_of_the_published_lists_become_the_splits(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    for part, line in (("test", "3#zhm#0 狗:n 跑:v"), ("train", "1#zhb#0 两个 人"), ("val", "2#zhb#0 一 只 猫")):
        (tmp_path / f"flickr_caption-{part}.txt").write_text(line + "\n", encoding="utf-8")
        (tmp_path / f"pictures/{line[0]}.jpg").touch()
    rows = list(FlickrSource(FlickrSettings(images=tmp_path / "pictures")).rows(tmp_path))
    assert [(row.key, row.captions, row.extra["split"]) for row in rows] == [
        ("1", ("两个人",), "train"),
        ("2", ("一只猫",), "val"),
        ("3", ("狗跑",), "test"),
    ]
    assert rows[0].image == tmp_path / "pictures/1.jpg"


def test_a_place_without_a_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(T2IError, match="there is no caption list in"):
        list(FlickrSource(FlickrSettings()).rows(tmp_path))


def test_a_damaged_byte_costs_one_line_and_another_encoding_is_said(tmp_path: Path) -> None:
    path = tmp_path / "flickr_caption.txt"
    path.write_bytes("1.jpg#0\t一\n".encode() + b"2.jpg#0\t\xff\n" + "3.jpg#0\t三\n".encode())
    rows = list(FlickrSource(FlickrSettings()).rows(path))
    assert [row.extra.get("problem") for row in rows if row.extra.get("problem") != "no-such-file"] == ["bad-encoding"]
    assert [row.captions for row in rows[1:]] == [("一",), ("三",)]
    path.write_bytes("1.jpg#0\t红烧牛肉面\n".encode("gbk") * 3)
    with pytest.raises(T2IError, match="is not UTF-8"):
        list(FlickrSource(FlickrSettings()).rows(path))
