"""Lists of strangers, given to `t2i prepare`: what can be read is prepared, every other row has a reason."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from cases import Case, Ended
from kills import pictures

ZH = "一碗好吃的红烧牛肉面"
ROW = f"0000.png,{ZH}\n".encode()
HEAD = b"path,caption\n"


def rows(*middle: bytes) -> bytes:
    """A table whose first and last rows are good ones."""
    return HEAD + ROW * 40 + b"".join(middle) + b"0001.png,last\n"


CSV: dict[str, Callable[[Random], bytes]] = {
    "quotes in quotes": lambda r: rows(b'0002.png,"a""b""""\n', b'0003.png,"a" b\n', b'"0004.png"x,c\n'),
    "a quote that ends with the file": lambda r: rows() + b'0002.png,"' + b"x\n" * 3000,
    "10,000 open quotes": lambda r: rows(b'0002.png,"x\n' * 10_000),
    "100,000 cells": lambda r: rows(b"0002.png" + b",x" * 100_000 + b"\n"),
    "a cell of 3 MB": lambda r: rows(b"0002.png," + b"x" * 3_000_000 + b"\n"),
    "a line of 20 MB": lambda r: rows(b"x" * 20_000_000 + b"\n"),
    "100,000 columns": lambda r: b",".join([b"path", b"caption", *[b"c%d" % i for i in range(100_000)]]) + b"\n" + ROW,
    "one column twice": lambda r: b"path,caption,caption,path\n" + b"0000.png,a,b,0001.png\n",
    "no columns": lambda r: b"\n" * 5000,
    "only a head": lambda r: HEAD,
    "only CR": lambda r: rows().replace(b"\n", b"\r"),
    "all ends of line": lambda r: HEAD + b"0000.png,a\r\r\n0001.png,b\x0b0002.png,c\x0c\n\x850003.png,d\xe2\x80\xa8\n",
    "NUL everywhere": lambda r: rows(b"\0" * 100 + b"\n", b"0002\0.png,x\n"),
    "a BOM in the middle": lambda r: rows(b"\xef\xbb\xbf0002.png,\xef\xbb\xbfx\n"),
    "UTF-16 after UTF-8": lambda r: rows("0002.png,面条\n".encode("utf-16-le")),
    "UTF-7": lambda r: rows(b"0002.png,+keY-\n"),
    "overlong UTF-8": lambda r: rows(b"0002.png,\xc0\xaf\xe0\x80\xaf\n"),
    "surrogates in UTF-8": lambda r: rows(b"0002.png,\xed\xa0\x80\xed\xb0\x80\n"),
    "beyond Unicode": lambda r: rows(b"0002.png,\xf7\xbf\xbf\xbf\n"),
    "escapes": lambda r: rows(b"\x1b[2J.png,\x1b]0;x\x07\n", "\u202egnp.0002,x\n".encode()),
    "paths that lead out": lambda r: rows(
        b"../../../etc/passwd,x\n", b"/etc/passwd,x\n", b"/dev/zero,x\n", b"/proc/self/mem,x\n"
    ),
    "paths of users": lambda r: rows(
        b"~root/.ssh/id,x\n", b"$HOME/x,x\n", b"$(touch executed),x\n", b"|touch executed,x\n"
    ),
    "formulas": lambda r: rows(b"=cmd|'/c calc'!A1,=1+1\n"),
    "a path of 5,000 letters": lambda r: rows(b"a" * 5000 + b",x\n", b"a/" * 3000 + b",x\n"),
    "EUC-KR": lambda r: HEAD + "0000.png,맛있는 국수 한 그릇\n".encode("euc-kr") * 20,
    "Shift-JIS": lambda r: HEAD + "0000.png,美味しいラーメン\n".encode("shift-jis") * 20,
    "Big5": lambda r: HEAD + "0000.png,好吃的牛肉麵\n".encode("big5") * 20,
    "GBK with damage": lambda r: HEAD + f"0000.png,{ZH}\n".encode("gbk") * 20 + b"0001.png,\xff\xff\n",
    "HZ": lambda r: HEAD + f"0000.png,{ZH}\n".encode("hz"),
    "random bytes": lambda r: r.randbytes(100_000),
    "random letters of CSV": lambda r: bytes(r.choices(b'",\n\r\t\0ax\xe9\xff', k=50_000)),
    "one row 30,000 times": lambda r: HEAD + ROW * 30_000,
}
JSONL: dict[str, Callable[[Random], bytes]] = {
    "one key 200,000 times": lambda r: b"{" + b",".join([b'"image":"0000.png"'] * 200_000) + b"}\n",
    "a key of 10 MB": lambda r: b'{"' + b"k" * 10_000_000 + b'":1}\n',
    "numbers beyond numbers": lambda r: b'{"image":"0000.png","caption":1e999}\n{"image":-0,"caption":NaN}\n',
    "captions that are lists of lists": lambda r: b'{"image":"0000.png","caption":[[["x"]],null,{}]}\n',
    "200,000 captions": lambda r: json.dumps({"image": "0000.png", "caption": ["x"] * 200_000}).encode(),
    "one array of all": lambda r: b'[{"image":"0000.png","caption":"x"}]',
    "a sequence": lambda r: b'\x1e{"image":"0000.png","caption":"x"}\n\x1e{}\n',
    "damaged letters": lambda r: bytes(r.choices(b'{}[]":,\\u0041imagecpton\n', k=60_000)),
}


def parquet(columns: dict[str, object]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet

    stream = io.BytesIO()
    pyarrow.parquet.write_table(pa.table(columns), stream)
    return stream.getvalue()


def damaged(content: bytes, random: Random) -> bytes:
    changed = bytearray(content)
    for _ in range(20):
        changed[random.randrange(4, len(changed) - 4)] = random.randrange(256)
    return bytes(changed)


PARQUET: dict[str, Callable[[Random], bytes]] = {
    "damaged anywhere": lambda r: damaged(parquet({"path": ["0000.png"] * 99, "caption": ["x"] * 99}), r),
    "damaged anywhere, again": lambda r: damaged(parquet({"path": ["0000.png"] * 999, "caption": ["x"] * 999}), r),
    "a foot of 2 GB": lambda r: b"PAR1" + b"x" * 99 + (2**31 - 1).to_bytes(4, "little") + b"PAR1",
    "packed 1,000 times": lambda r: parquet({"path": ["0000.png"] * 10_000, "caption": ["x" * 5000] * 10_000}),
    "lists for paths": lambda r: parquet({"path": [["0000.png"]], "caption": ["x"]}),
    "dates for captions": lambda r: parquet({"path": ["0000.png"], "caption": [__import__("datetime").date.today()]}),
}


def tar(entries: list[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as made:
        for entry, content in entries:
            entry.size = len(content)
            made.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def entry(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, target
    return made


TARS: dict[str, Callable[[Random], bytes]] = {
    "links out": lambda r: tar([(entry("a.jpg", tarfile.SYMTYPE, "/etc/passwd"), b""), (entry("a.txt"), b"x")]),
    "devices": lambda r: tar([(entry("a.jpg", tarfile.CHRTYPE), b""), (entry("a.txt", tarfile.FIFOTYPE), b"")]),
    "names that lead out": lambda r: tar([(entry("../../executed.jpg"), b"x"), (entry("/tmp/executed.txt"), b"x")]),
    "a link to itself": lambda r: tar([(entry("a.jpg", tarfile.LNKTYPE, "a.jpg"), b"")]),
    "cut in half": lambda r: tar([(entry("a.jpg"), b"x" * 5000)])[:2000],
    "a size of 8 EB": lambda r: tar([(entry("a.jpg"), b"x")]).replace(b"00000000001\0", b"77777777777\0"),
    "20,000 names": lambda r: tar([(entry(f"{i}.txt"), b"x") for i in range(20_000)]),
}


def coco(annotations: object) -> bytes:
    return json.dumps({"images": [{"id": 1, "file_name": "0000.png"}], "annotations": annotations}).encode()


OTHERS: dict[str, tuple[list[str], Callable[[Path], None]]] = {
    "coco, captions of no image": (
        ["coco", "c"],
        lambda f: _into(f, "c/annotations/captions_train2017.json", coco([{"image_id": 7, "caption": 3}])),
    ),
    "coco, not a list": (["coco", "c"], lambda f: _into(f, "c/annotations/captions_train2017.json", coco({"x": 1}))),
    "coco, 100,000 deep": (["coco", "c"], lambda f: _into(f, "c/annotations/captions_train2017.json", b"[" * 100_000)),
    "flickr30k-cn, damaged bytes": (
        ["flickr30k-cn", "f"],
        lambda f: _into(f, "f/flickr30kzhc_train.txt", b"0000.jpg#0 \xff\xfe x\n" * 9),
    ),
    "wukong, damaged bytes": (
        ["wukong", "w.csv"],
        lambda f: _into(f, "w.csv", b"url,caption\nhttp://127.0.0.1/\xff,\xff\n"),
    ),
    "words that are no text": (
        ["csv", "t.csv", "-o", "rules.words=w.txt"],
        lambda f: (_into(f, "t.csv", rows()), _into(f, "w.txt", b"\xff\xfe\x80\n\0"))[0],
    ),
    "a zip for a folder": (["folder", "z"], lambda f: _into(f, "z/a.zip", _zip_bomb())),
}


def _into(folder: Path, name: str, content: bytes) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


def _zip_bomb() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("0000.png", b"\0" * 50_000_000)
    return stream.getvalue()


def tables(random: Random, shared: Path) -> Iterator[Case]:
    kinds = {"csv": (CSV, "csv", "csv"), "jsonl": (JSONL, "jsonl", "jsonl"), "parquet": (PARQUET, "parquet", "parquet")}
    kinds["webdataset"] = (TARS, "webdataset", "tar")
    for kind, (forms, name, suffix) in kinds.items():
        for about, content in forms.items():

            def write(folder: Path, content: Callable[[Random], bytes] = content, suffix: str = suffix) -> None:
                pictures(folder / "s", 5)
                (folder / f"s/t.{suffix}").write_bytes(content(random))

            words = ["prepare", name, f"s/t.{suffix}", "--output", "out", "-o", "fetch.tries=1"]
            yield Case(f"{kind}: {about}", words, write, (0, 1, 2, 3), _good_rows(about), seconds=60, megabytes=900)
    for about, (words, make) in OTHERS.items():
        yield Case(about, ["prepare", *words, "--output", "out", "-o", "fetch.tries=1"], make, (0, 1, 2, 3))


def _good_rows(about: str) -> Callable[[Ended], str] | None:
    """Of tables that start with a good row, that one must be stored."""
    source = CSV.get(about)
    if source is None or not source(Random(0)).startswith(HEAD + ROW):
        return None
    return lambda ended: "" if (ended.folder / "out/000000.tar").exists() else "the good rows were not prepared"
