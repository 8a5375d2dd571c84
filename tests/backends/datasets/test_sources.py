from __future__ import annotations

import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from t2icli import load
from t2icli.data.dataset import SourceRow
from t2icli.ground.errors import T2IError
from t2icli.registry import discovery
from t2icli.testing import check_dataset


def jpg() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (4, 3)).save(stream, "JPEG")
    return stream.getvalue()


def rows(name: str, source: Path, **options: Any) -> list[SourceRow]:
    return list(load("dataset", name, **options).rows(source))


def told(found: list[SourceRow]) -> list[tuple[Any, tuple[str, ...]]]:
    return [(row.extra.get("problem") or row.image, row.captions) for row in found]


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str | bytes], Path]:
    def write_file(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write_file


URL = "http://x/1.jpg"


@pytest.mark.parametrize(
    "content",
    [
        f"url,caption\n{URL},一碗面\n".encode(),
        f"\ufeffurl,caption\r\n{URL},一碗面\r\n".encode(),
        f"url,caption\n{URL},一碗面\n".encode("gbk"),
        f"url,caption\n{URL},一碗面\n".encode("utf-16"),
        f"0,1\n{URL},一碗面\n".encode(),
        f"{URL},一碗面\n".encode(),
        f'url,caption\n\n"{URL}","一碗面"'.encode(),
    ],
    ids=["plain", "bom and crlf", "gbk", "utf-16", "unnamed header", "no header", "quoted"],
)
def test_wukong_is_read_in_every_dress(write: Any, content: bytes) -> None:
    assert told(rows("wukong", write("a.csv", content))) == [(URL, ("一碗面",))]


def test_a_quoted_newline_is_part_of_the_caption(write: Any) -> None:
    found = rows("csv", write("a.csv", f'url,caption\n{URL},"两\n行"\n{URL},一行\n'))
    assert [row.captions for row in found] == [("两\n行",), ("一行",)]


def test_a_short_row_is_reported_and_the_rest_is_read(write: Any) -> None:
    found = rows("wukong", write("a.csv", f"url,caption\n{URL}\n{URL},面\n"))
    assert told(found) == [("missing-column", ()), (URL, ("面",))]


def test_many_files_are_read_in_the_order_of_their_names(write: Any, tmp_path: Path) -> None:
    for name in ("b", "a"):
        write(f"set/{name}.csv", f"url,caption\nhttp://x/{name},面\n")
    assert [row.image for row in rows("wukong", tmp_path / "set")] == ["http://x/a", "http://x/b"]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv", "picture,words\nx,y\n", "no image column: it has 'picture', 'words'"),
        ("a.csv", "url,words\nx,y\n", "no caption column"),
        ("a.csv", b"url,caption\xff\nhttp://x,ok\n" + "面\n".encode() * 9, "first row .* cannot be read: bad-encoding"),
        ("a.csv", '"url,caption\nx,y\n', "cannot be read: unclosed-quote"),
        ("a.csv", b"PK\x03\x04", "is an Excel workbook"),
        ("a.csv", gzip.compress(b"url,caption\n", mtime=0), "is compressed"),
        ("a.csv", b"PAR1", "is a parquet file"),
        ("a.csv", bytes(range(256)) + bytes(99), "of its first 355 bytes are 0"),
    ],
)
def test_a_table_that_cannot_be_read_names_the_row_or_column(write: Any, name: str, content: Any, says: str) -> None:
    with pytest.raises(T2IError, match=says):
        rows("csv", write(name, content))


def test_a_table_may_not_reach_out_of_its_folder(write: Any, tmp_path: Path) -> None:
    found = rows("csv", write("set/a.csv", "path,caption\n../secret.jpg,x\n/etc/passwd,x\nin.jpg,x\n"))
    assert [row.extra.get("problem") for row in found] == ["outside-root", "outside-root", None]


def test_tab_separated_captions_keep_their_quotation_marks(write: Any) -> None:
    assert told(rows("googlecc", write("Train.tsv", f'a 12" pizza\t{URL}\nx\n'))) == [
        (URL, ('a 12" pizza',)),
        ("missing-column", ("x",)),
    ]


def test_lines_that_are_no_json_are_reported_with_their_number(write: Any) -> None:
    path = write("a.jsonl", f'{{"url": "{URL}", "caption": "面"}}\n{{"url": \n[1]\n{{"x": 1}}\n')
    found = rows("jsonl", path)
    assert [row.extra.get("problem") for row in found] == [None, "bad-json", "bad-json", "missing-column"]
    assert found[1].extra["where"].endswith("a.jsonl:2")


def test_brivl_and_text2img_lines_are_read(write: Any, tmp_path: Path) -> None:
    write("d.jsonl", '{"image_path": "a.jpg", "sentences": "面"}\n')
    write(
        "b.jsonl",
        '{"image_id": "b.jpg", "sentences": [["sur_text", "汤"], ["alt_text", "soup"]], "bbox": [[0,0,9,9]]}\n',
    )
    assert told(rows("jsonl", tmp_path / "d.jsonl")) == [(tmp_path / "a.jpg", ("面",))]
    found = rows("jsonl", tmp_path / "b.jsonl")[0]
    assert found.captions == ("汤", "soup") and found.extra["bbox"] == [[0, 0, 9, 9]]


def test_folders_of_classes_give_their_names_as_captions(write: Any, tmp_path: Path) -> None:
    for place in ("noodles/1.jpg", "soup/1.jpg", "soup/.hidden.jpg", "soup/note.md"):
        write(f"set/{place}", jpg())
    assert [(row.key, row.captions) for row in rows("folder", tmp_path / "set")] == [
        ("noodles/1", ("noodles",)),
        ("soup/1", ("soup",)),
    ]


def test_images_of_one_name_and_two_formats_have_two_keys(write: Any, tmp_path: Path) -> None:
    for name in ("1.jpg", "1.png", "2.jpg"):
        write(f"set/{name}", jpg())
    assert [row.key for row in rows("folder", tmp_path / "set")] == ["1.jpg", "1.png", "2"]


def test_sources_keep_their_promises(write: Any, tmp_path: Path) -> None:
    write("set/a.jpg", jpg())
    write("t.csv", f"url,caption\n{URL},a\n{URL},b\n")
    check_dataset(discovery.find("dataset", "folder"), tmp_path / "set")
    check_dataset(discovery.find("dataset", "csv"), tmp_path / "t.csv")
    check_dataset(discovery.find("dataset", "imagenet"), tmp_path / "set")


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("year", ["2014", "2017"])
def test_coco_gives_one_row_an_image_with_all_its_captions(write: Any, tmp_path: Path, year: str, zipped: bool) -> None:
    told_of = {
        "images": [{"id": 2, "file_name": "b.jpg"}, {"id": 1, "file_name": "a.jpg"}],
        "annotations": [{"image_id": 1, "id": i, "caption": f"c{i} "} for i in range(5)],
    }
    write(f"annotations/captions_val{year}.json", json.dumps(told_of))
    if zipped:
        with zipfile.ZipFile(tmp_path / f"val{year}.zip", "w") as archive:
            archive.writestr(f"val{year}/a.jpg", jpg())
    else:
        write(f"val{year}/a.jpg", jpg())
    a, b = rows("coco", tmp_path)
    assert a.key == f"val{year}/a" and a.captions == ("c0", "c1", "c2", "c3", "c4") and a.extra == {"split": "val"}
    assert (a.image if zipped else a.image.read_bytes()) == jpg()  # type: ignore[union-attr]
    assert b.captions == () and b.extra.get("problem") == ("no-such-file" if zipped else None)


def test_coco_without_its_images_says_what_it_looked_for(write: Any, tmp_path: Path) -> None:
    write("captions_train2017.json", '{"images": [], "annotations": []}')
    with pytest.raises(T2IError, match="no images for 'train2017'"):
        rows("coco", tmp_path)
    write("train2017.zip", b"PK half a download")
    with pytest.raises(T2IError, match=r"'.*train2017.zip' is damaged"):
        rows("coco", tmp_path)
    write("captions_train2017.json", "{")
    with pytest.raises(T2IError, match=r"captions_train2017.json"):
        rows("coco", tmp_path)


def test_imagenet_knows_splits_and_classes_and_needs_no_captions(write: Any, tmp_path: Path) -> None:
    write("train/n01/a.JPEG", jpg())
    write("val/n02/b.JPEG", jpg())
    write("LOC_synset_mapping.txt", "n01 tench, Tinca tinca\n")
    assert [(row.captions, row.extra) for row in rows("imagenet", tmp_path)] == [
        ((), {"class": "n01", "split": "train"}),
        ((), {"class": "n02", "split": "val"}),
    ]
    assert rows("imagenet", tmp_path, captions="names")[0].captions == ("tench",)


def tar(path: Path, *members: tuple[str, bytes | str]) -> Path:
    """Members of bytes are files; of text: the type of something worse."""
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = (
                    {"link": tarfile.SYMTYPE, "hard": tarfile.LNKTYPE, "dev": tarfile.CHRTYPE}[content],
                    "/etc/passwd",
                )
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return path


def test_a_webdataset_is_read_and_half_members_are_reported(tmp_path: Path) -> None:
    path = tar(
        tmp_path / "00.tar",
        ("a.jpg", jpg()),
        ("a.txt", "面".encode()),
        ("b.jpg", jpg()),
        ("c.txt", b"alone"),
        ("d.jpg", jpg()),
        ("d.json", b'{"caption": "soup", "url": "http://x"}'),
        ("e.jpg", jpg()),
        ("e.json", b"{"),
    )
    found = rows("webdataset", path)
    assert [(row.key, row.extra.get("problem"), row.captions) for row in found] == [
        ("00/a", None, ("面",)),
        ("00/b", "no-caption-file", ()),
        ("00/c", None, ("alone",)),
        ("00/d", None, ("soup",)),
        ("00/e", "bad-caption-file", ()),
    ]
    assert found[2].image is None
    assert rows("webdataset", path, captions="optional")[1].extra == {}


@pytest.mark.parametrize(
    "member", [("../out.jpg", b"x"), ("/abs.jpg", b"x"), ("s.jpg", "link"), ("h.jpg", "hard"), ("d.jpg", "dev")]
)
def test_members_that_reach_out_of_a_tar_are_refused(tmp_path: Path, member: Any) -> None:
    found = rows("webdataset", tar(tmp_path / "x.tar", member, ("ok.jpg", jpg()), ("ok.txt", b"fine")))
    assert [row.extra.get("problem") for row in found] == ["unsafe-member", None]
    assert [path.name for path in tmp_path.iterdir()] == ["x.tar"]


def test_a_tar_that_was_cut_gives_what_it_has_and_a_reason(tmp_path: Path) -> None:
    whole = tar(tmp_path / "x.tar", *((f"{i}.jpg", bytes(5000)) for i in range(3)))
    whole.write_bytes(whole.read_bytes()[:9000])
    found = rows("webdataset", whole, captions="optional")
    assert found[0].image == bytes(5000) and found[-1].extra["problem"] == "truncated-tar"


def test_parquet_may_hold_addresses_or_the_images_themselves(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    parquet.write_table(pa.table({"url": [URL, None], "caption": ["面", "x"]}), tmp_path / "a.parquet")
    assert told(rows("parquet", tmp_path / "a.parquet")) == [(URL, ("面",)), (None, ("x",))]
    images = [{"bytes": jpg(), "path": "1.jpg"}]
    parquet.write_table(pa.table({"image": images, "text": [["a", "b"]]}), tmp_path / "b.parquet")
    assert told(rows("parquet", tmp_path / "b.parquet")) == [(jpg(), ("a", "b"))]


@pytest.mark.parametrize(
    "name", ["folder", "csv", "jsonl", "wukong", "googlecc", "coco", "imagenet", "webdataset", "parquet"]
)
def test_a_source_that_is_not_there_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(T2IError, match="nowhere"):
        rows(name, tmp_path / "nowhere")
