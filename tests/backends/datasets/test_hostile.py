"""Tables, lists and folders that are damaged or meant to harm: a bad row is one row with a reason."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from PIL import Image

from t2icli import load
from t2icli.backends.datasets import text
from t2icli.data.dataset import SourceRow
from t2icli.ground.errors import T2IError
from t2icli.pictures import images
from t2icli.pictures.album import Album
from t2icli.pipelines.prepare import Preparation, open_data, prepare
from t2icli.prepare import report

ZH = "一碗好吃的红烧牛肉面，配上青菜和葱花。"
HANT = "一碗好吃的紅燒牛肉麵，配上青菜和蔥花，圖書館裡的學生們"
FR = "L'été à la mer avec une crème brûlée\n" * 9


def rows(name: str, source: Path, **options: Any) -> list[SourceRow]:
    return list(load("dataset", name, **options).rows(source))


def told(found: list[SourceRow]) -> list[Any]:
    return [row.extra.get("problem") or row.extra.get("skip") or row.captions for row in found]


def fates(name: str, source: Path, output: Path, **options: Any) -> dict[str, str]:
    """What `t2i prepare` makes of each row, by its key."""
    prepare(Preparation(name, source, output, options=options))
    return {row.key: row.reason or row.status for row in report.every_row(output)}


def draw(path: Path, colour: str = "red") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), colour).save(path)
    return path


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (b"", "utf-8-sig"),
        (b"url,caption\n", "utf-8-sig"),
        (ZH.encode(), "utf-8-sig"),
        ((ZH * 40_000).encode()[: (1 << 20) + 500], "utf-8-sig"),
        (ZH.encode() + b"\xff\n", "utf-8-sig"),
        ("面条好吃".encode() + "面".encode()[:-1] + b"\n", "utf-8-sig"),
        (b"word " * 99 + "面".encode() + b"\xff\n", "utf-8-sig"),
        (ZH.encode("gbk"), "gb18030"),
        (HANT.encode("gb18030"), "gb18030"),
        ((b"x" + ZH.encode("gbk")) * 40_000, "gb18030"),
        ("联通".encode("gbk"), "gb18030"),
        (ZH.encode("gbk") * 5 + b"\xff\n", "gb18030"),
        (b"word " * 99 + ZH.encode("gbk"), "gb18030"),
        (ZH.encode("utf-16"), "utf-16"),
        (f"url,{ZH}\n".encode("utf-16-le"), "utf-16-le"),
        (f"url,{ZH}\n".encode("utf-16-be"), "utf-16-be"),
        (ZH.encode("utf-32"), "utf-32"),
    ],
)
def test_an_encoding_is_told_by_what_the_text_becomes(tmp_path: Path, content: bytes, encoding: str) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    assert text.guess_encoding(tmp_path / "a.csv") == encoding


@pytest.mark.parametrize("content", [FR, "a café table\n", "Grüße aus Köln\n", "“quoted” don’t\n"])
def test_a_western_letter_does_not_make_an_english_table_chinese(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.csv").write_bytes(f"url,caption\nhttp://x/1,{content}".encode("cp1252"))
    with pytest.warns(UserWarning, match="Windows-1252"):
        assert rows("csv", tmp_path / "a.csv")[0].captions == (content.split("\n")[0],)


@pytest.mark.parametrize(
    ("content", "encoding"), [(HANT, "big5"), ("一杯のラーメンと餃子", "shift-jis"), ("Привет", "cp1251")]
)
def test_an_encoding_that_is_not_known_is_asked_for(tmp_path: Path, content: str, encoding: str) -> None:
    (tmp_path / "a.csv").write_bytes(f"url,caption\nhttp://x/1,{content}\n".encode(encoding, "ignore"))
    with pytest.raises(T2IError, match=r"encoding of .* is neither") as caught:
        rows("csv", tmp_path / "a.csv")
    assert caught.value.hint is not None and "-o encoding=" in caught.value.hint
    assert rows("csv", tmp_path / "a.csv", encoding=encoding)[0].extra == {}


def test_korean_is_not_taken_for_chinese(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(
        "path,caption\na.jpg,따뜻한 국물에 파와 고기를 올린 맛있는 국수 한 그릇이 식탁 위에 있다\n".encode("euc-kr")
    )
    with pytest.raises(T2IError, match="EUC-KR or GBK") as caught:
        rows("csv", path)
    assert "encoding=euc-kr" in str(caught.value.hint)
    path.write_bytes(("path,caption\n" + "a.jpg,北京的菜\n" * 99).encode("gbk"))
    assert rows("csv", path)[0].captions == ("北京的菜",)


BAD_LINES = {
    "half": (b'{"image":', "bad-json"),
    "deep": (b'{"image": ' + b"[" * 100_000, "bad-json"),
    "deep and whole": (b'{"image": "a.png", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "bad-json"),
    "half a surrogate": (b'{"image": "a.png", "caption": "\\ud800"}', "bad-json"),
    "an endless number": (b'{"image": "a.png", "caption": "x", "bbox": [[' + b"9" * 5000 + b"]]}", "bad-json"),
    "a damaged byte": (b'{"image": "a.png", "caption": "\xff"}', "bad-encoding"),
    "a NUL": (b'{"image": "a.png", "caption": "a\0"}', "nul-character"),
    "an escaped NUL in a path": (b'{"image": "a\\u0000.png", "caption": "x"}', "bad-path"),
    "a list for a path": (b'{"image": ["a.png"], "caption": "x"}', "bad-json"),
    "null for a path": (b'{"image": null, "caption": "x"}', "no-image"),
    "no path": (b'{"caption": "x"}', "missing-column"),
    "no object": (b"[1]", "bad-json"),
    "an endless path": (b'{"image": "' + b"a/" * 5000 + b'", "caption": "x"}', "unreadable-file"),
    "another folder": (b'{"image": "../../etc/passwd", "caption": "x"}', "outside-root"),
}


@pytest.mark.parametrize("case", BAD_LINES)
def test_a_bad_line_of_json_is_one_row_and_the_others_are_prepared(tmp_path: Path, case: str) -> None:
    draw(tmp_path / "s/1.png")
    draw(tmp_path / "s/2.png", "blue")
    line, reason = BAD_LINES[case]
    good = [f'{{"image": "{i}.png", "caption": "面", "key": "{i}"}}'.encode() for i in (1, 2)]
    (tmp_path / "s/a.jsonl").write_bytes(b"\n".join([good[0], line, good[1]]))
    found = fates("jsonl", tmp_path / "s/a.jsonl", tmp_path / "out")
    assert sorted(found.values()) == sorted(["ok", "ok", reason])
    if reason.startswith("bad-json"):
        assert found["a.jsonl:2"] == reason


def test_only_plain_extras_of_a_line_are_kept(tmp_path: Path) -> None:
    deep = "[" * 500 + "]" * 500
    (tmp_path / "a.jsonl").write_text(f'{{"image": "a", "caption": "x", "bbox": {deep}, "split": {deep}}}\n')
    assert rows("jsonl", tmp_path / "a.jsonl")[0].extra == {}


def test_a_line_without_end_is_one_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "LONGEST", 1000)
    for name, line in (("jsonl", '{{"image": "{}", "caption": "x"}}'), ("csv", "{},x")):
        path = tmp_path / f"a.{name}"
        head = "image,caption\n" * (name == "csv")
        path.write_text(head + "".join(f"{line.format(image)}\n" for image in ("1", "x" * 9999, "3" * 990, "4")))
        assert told(rows(name, path))[:2] == [("x",), "line-too-long"]
        assert rows(name, path)[-1].image == tmp_path / "4"


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_a_bad_cell_of_a_table_is_one_row_and_the_others_are_prepared(tmp_path: Path, ends: str) -> None:
    for i, colour in enumerate(("red", "green", "blue", "white")):
        draw(tmp_path / f"s/{i}.png", colour)
    lines = [
        b"\xef\xbb\xbfpath,caption",
        "0.png,面".encode(),
        b"1.png,\xff\xfe",
        b'1.png,"open',
        '1.png,"一, 二"'.encode(),
        b"1\x00.png,x",
        b"1.png," + b"x" * 140_000,
        "2.png,汤".encode(),
        b"only-one-cell",
        "3.png,饭".encode(),
    ]
    (tmp_path / "s/a.csv").write_bytes(ends.encode().join(lines))
    prepare(Preparation("csv", tmp_path / "s/a.csv", tmp_path / "out"))
    assert [(row.reason or row.status) for row in report.every_row(tmp_path / "out")] == [
        "ok",
        "bad-encoding",
        "unclosed-quote",
        "ok",
        "nul-character",
        "field-too-long",
        "ok",
        "missing-column",
        "ok",
    ]
    keys = [row.key for row in report.every_row(tmp_path / "out") if row.reason]
    assert keys == [f"a.csv:{number}" for number in (3, 4, 6, 7, 9)]


def broken_parquet(path: Path, at: int, **how: Any) -> Path:
    """Three row groups of four rows; the pages of the second one are nonsense."""
    captions = [f"{'红烧牛肉面' * 9} {i}" for i in range(12)]
    table = pa.table({"url": [f"http://x/{i}" for i in range(12)], "caption": captions})
    parquet.write_table(table, path, row_group_size=4, use_dictionary=False, **how)
    start = parquet.ParquetFile(path).metadata.row_group(1).column(1).data_page_offset
    content = bytearray(path.read_bytes())
    content[start + at : start + at + 12] = b"\xff" * 12
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("at", "how"),
    [
        (0, {"compression": "snappy"}),
        (0, {"compression": "zstd"}),
        (400, {"compression": "none", "write_page_checksum": True}),
    ],
)
def test_a_corrupt_page_of_parquet_costs_its_row_group(tmp_path: Path, at: int, how: dict[str, Any]) -> None:
    found = rows("parquet", broken_parquet(tmp_path / "a.parquet", at, **how))
    assert [row.extra.get("problem", "") for row in found] == [""] * 4 + ["corrupt-parquet"] + [""] * 4
    assert found[4].key == "a.parquet:1:0" and found[4].extra["error"].startswith("4 rows from 0 on are lost")


def test_a_damaged_byte_in_parquet_is_one_row(tmp_path: Path) -> None:
    captions = pa.array([b"\xff" if i == 1 else f"面{i}".encode() for i in range(4)], pa.binary())
    damaged = pa.StringArray.from_buffers(4, captions.buffers()[1], captions.buffers()[2])
    parquet.write_table(
        pa.table({"url": [f"http://x/{i}" for i in range(4)], "caption": damaged}), tmp_path / "a.parquet"
    )
    assert told(rows("parquet", tmp_path / "a.parquet")) == [("面0",), "bad-encoding", ("面2",), ("面3",)]


@pytest.mark.timeout(60)
def test_what_is_no_picture_in_a_folder_is_one_row_each(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    draw(folder / "good.png")
    os.mkfifo(folder / "pipe.png")
    os.mkfifo(folder / "pipe.txt")
    (folder / "gone.png").symlink_to("nowhere")
    (folder / "circle.png").symlink_to("circle.png")
    (folder / "zero.png").symlink_to("/dev/zero")
    (folder / "page.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n")
    with (folder / "huge.png").open("wb") as stream:
        stream.truncate(images.MAX_BYTES + 1)
    draw(folder / "text.png", "blue").with_suffix(".txt").write_bytes(b"\xff\xfe\xff")
    draw(folder / "long.png").unlink()
    Image.new("1", (1, 20_000)).save(folder / "long.png")
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff.png")).write_bytes((folder / "good.png").read_bytes())
    assert fates("folder", folder, tmp_path / "out") == {
        "good": "ok",
        "pipe": "not-a-file",
        "gone": "no-such-file",
        "circle": "unreadable-file",
        "zero": "not-a-file",
        "page": "not-an-image",
        "huge": "too-many-bytes",
        "text": "bad-caption-file",
        "long": "aspect-ratio",
        "\\udcff": "not-unicode",
    }


@pytest.mark.timeout(60)
def test_a_folder_with_pipes_and_links_to_nowhere_is_prepared_on_the_way(tmp_path: Path) -> None:
    draw(tmp_path / "s/good.png")
    os.mkfifo(tmp_path / "s/pipe.png")
    (tmp_path / "s/gone.png").symlink_to("nowhere")
    (tmp_path / "s/circle.png").symlink_to("circle.png")
    with pytest.warns(
        UserWarning, match=r"3 of 4 rows .* are left out: no-such-file 1, not-a-file 1, unreadable-file 1"
    ):
        assert len(open_data(tmp_path / "s", tmp_path / "cache")) == 1


@pytest.mark.parametrize("name", ["folder", "imagenet"])
def test_a_folder_that_cannot_be_read_is_one_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for place in ("a/1.png", "b/2.png", "c/3.png"):
        draw(tmp_path / "s" / place, "red" if place[0] == "a" else "blue")
    scandir = os.scandir

    def guarded(path: Any) -> Any:
        if os.fspath(path).endswith("/b"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    found = {row.key: row.extra.get("problem") for row in rows(name, tmp_path / "s")}
    assert found == {"a/1": None, "b": "unreadable-folder", "c/3": None}


def test_our_own_pictures_bring_their_prompts_and_our_sheets_are_skipped(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    folder.mkdir()
    red = Image.new("RGB", (8, 8), "red")
    images.save_png(red, folder / "000.png", {"prompt": "红烧牛肉面", "seed": 1})
    images.save_png(red, folder / "renamed.png", {images.SHEET: 4})
    draw(folder / "old/grid.png")
    (folder / "old/results.jsonl").write_text("")
    draw(folder / "mine/grid.png")  # a picture that is merely called so
    expected = {"000": ("红烧牛肉面",), "renamed": "sheet", "old/grid": "sheet", "mine/grid": ()}
    found = rows("folder", folder)
    assert dict(zip([row.key for row in found], told(found), strict=True)) == expected
    (folder / "000.txt").write_text("by hand")
    assert told(rows("folder", folder))[0] == ("by hand",)
    assert told(rows("folder", folder, captions="none"))[0] == ()
    prepare(Preparation("folder", folder, tmp_path / "out"))
    assert {row.key: row.status for row in report.every_row(tmp_path / "out") if row.reason == "sheet"} == {
        "renamed": "dropped",
        "old/grid": "dropped",
    }


def test_an_album_is_prepared_without_its_grid_and_with_its_prompts(tmp_path: Path) -> None:
    row = {"rank": 1, "seed": 0, "score": None, "scores": {}, "model": "noise", "sha256": ""}
    rows_of_album = [(Image.new("RGB", (8, 8), c), {**row, "prompt": f"a {c} plate"}) for c in ("red", "blue")]
    with Album(tmp_path / "s").opened() as album:
        album.add(rows_of_album, {}, [])
        album.publish()
    (tmp_path / "s/grid.png").rename(tmp_path / "s/moved.png")
    (tmp_path / "s/results.jsonl").unlink()
    done = prepare(Preparation("folder", tmp_path / "s", tmp_path / "out"))
    assert [done.data.captions(i) for i in range(2)] == [("a red plate",), ("a blue plate",)]
    assert dict(done.counts) == {("ok", ""): 2, ("dropped", "sheet"): 1}


@pytest.mark.parametrize("record", ['{"prompt": 7}', '{"prompt": ["a"]}', "[" * 100_000, "7", '{"prompt": "\\ud800"}'])
def test_nonsense_in_a_pictures_record_is_no_caption(tmp_path: Path, record: str) -> None:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_itxt(images.CHUNK, record)
    (tmp_path / "s").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "s/a.png", pnginfo=info)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = fates("folder", tmp_path / "s", tmp_path / "out")
    assert found == {"a": "ok"}
