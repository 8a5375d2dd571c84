"""Pictures that are none, are damaged, or are far larger than their files, given to `t2i rerank`."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from cases import PAYLOAD, Case
from PIL import Image
from records import chunk

FORMATS = (
    "JPEG",
    "PNG",
    "WEBP",
    "GIF",
    "BMP",
    "TIFF",
    "AVIF",
    "PPM",
    "ICO",
    "TGA",
    "PCX",
    "SGI",
    "JPEG2000",
    "DDS",
    "PDF",
    "EPS",
)
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def made(form: str, size: tuple[int, int] = (16, 12), **how: object) -> bytes:
    stream = io.BytesIO()
    Image.effect_noise(size, 60).convert("RGB").save(stream, form, **how)
    return stream.getvalue()


def png(width: int, height: int, data: bytes, *extra: bytes, colour: int = 0, depth: int = 8, laced: int = 0) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, laced))
    return SIGNATURE + head + b"".join(extra) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def packed(size: int, byte: bytes = b"\0") -> bytes:
    """`size` equal bytes, packed about a thousandfold."""
    packer = zlib.compressobj(9)
    block = byte * (1 << 20)
    parts = [packer.compress(block) for _ in range(size >> 20)] + [packer.compress(byte * (size & 0xFFFFF))]
    return b"".join(parts) + packer.flush()


def text_bomb(kind: bytes) -> bytes:
    body = packed(300_000_000, b"x")
    content = {b"zTXt": b"a\0\0", b"iTXt": b"t2i\0\1\0\0\0", b"iCCP": b"a\0\0"}[kind] + body
    return png(8, 8, zlib.compress(bytes(9 * 8)), chunk(kind, content))


def jpeg_with(marker: int, content: bytes, times: int = 1) -> bytes:
    segment = struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content
    plain = made("JPEG")
    return plain[:2] + segment * times + plain[2:]


def tiff(*tags: tuple[int, int, int, int], tail: bytes = b"") -> bytes:
    """Tags as (number, type, count, value)."""
    fields = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + fields + struct.pack("<I", 0) + tail


def tiff_of(width: int, height: int, compression: int = 1, extra: tuple[tuple[int, int, int, int], ...] = ()) -> bytes:
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, compression), (262, 3, 1, 1)]
    return tiff(*tags, (273, 4, 1, 200), (278, 4, 1, height), (279, 4, 1, 100), *extra, tail=b"\0" * 400)


def frames(count: int) -> bytes:
    """A GIF of so many frames."""
    plain = made("GIF", (8, 8))
    start = plain.index(b"\x2c")
    return plain[:start] + plain[start:-1] * count + b"\x3b"


def ended_early(form: str) -> bytes:
    whole = made(form, (64, 64))
    return whole[: len(whole) * 2 // 3]


FILES: dict[str, Callable[[Random], bytes]] = {
    "PNG 60,000 x 60,000": lambda r: png(60_000, 60_000, packed(1000)),
    "PNG of 2^31 a side": lambda r: png(2**31 - 1, 2**31 - 1, b""),
    "PNG of no side": lambda r: png(0, 8, b""),
    "PNG 8,000 x 8,000, laced": lambda r: png(8000, 8000, packed(64_008_000), laced=1),
    "PNG 8,000 x 7,999, 64 bits": lambda r: png(8000, 7999, packed(8000 * 7999 * 8 + 7999), colour=6, depth=16),
    "PNG 900 x 80,000": lambda r: png(900, 80_000, packed(72_080_000)),
    "PNG 79 x 7,999": lambda r: png(79, 7999, packed(80 * 7999)),
    "PNG with data of 300 MB": lambda r: png(8, 8, packed(300_000_000)),
    "zTXt of 300 MB": lambda r: text_bomb(b"zTXt"),
    "iTXt of 300 MB": lambda r: text_bomb(b"iTXt"),
    "iCCP of 300 MB": lambda r: text_bomb(b"iCCP"),
    "60 zTXt of a megabyte": lambda r: png(
        8, 8, zlib.compress(bytes(72)), *[chunk(b"zTXt", b"a\0\0" + packed(1 << 20))] * 60
    ),
    "200,000 chunks": lambda r: png(8, 8, zlib.compress(bytes(72)), *[chunk(b"aaAa", b"")] * 200_000),
    "a chunk of 2 GB": lambda r: SIGNATURE + b"\x7f\xff\xff\xffIHDR" + b"\0" * 99,
    "ICC in ICC": lambda r: made("PNG", icc_profile=made("PNG", icc_profile=made("PNG", icc_profile=b"\0" * 500))),
    "ICC of random bytes": lambda r: made("JPEG", icc_profile=r.randbytes(200_000)),
    "ICC of a wrong count": lambda r: jpeg_with(0xE2, b"ICC_PROFILE\0\xff\x01" + b"x" * 60_000, 200),
    "EXIF of offsets into itself": lambda r: jpeg_with(0xE1, b"Exif\0\0" + tiff((34665, 4, 1, 8), (274, 3, 1, 6))),
    "EXIF that says 4 GB": lambda r: jpeg_with(0xE1, b"Exif\0\0" + tiff((270, 2, 0xFFFFFFFF, 8), (274, 3, 1, 99))),
    "EXIF of 10 MB": lambda r: jpeg_with(0xE1, b"Exif\0\0" + b"MM\0*" * 15_000, 170),
    "XMP of entities": lambda r: jpeg_with(
        0xE1, b"http://ns.adobe.com/xap/1.0/\0<!DOCTYPE x [<!ENTITY a 'a'>]><x>&a;</x>", 50
    ),
    "comments of escapes": lambda r: jpeg_with(0xFE, b"\x1b[2J\x07"),
    "JPEG 65,000 x 65,000": lambda r: _sized(made("JPEG"), 65_000, 65_000),
    "JPEG of 2,000 scans": lambda r: _scans(made("JPEG", progressive=True), 2000),
    "GIF of 100,000 frames": lambda r: frames(100_000),
    "GIF 60,000 x 60,000": lambda r: made("GIF")[:6] + struct.pack("<HH", 60_000, 60_000) + made("GIF")[10:],
    "WebP of 16,383 a side": lambda r: _webp(16_383, 16_383),
    "TIFF 60,000 x 60,000": lambda r: tiff_of(60_000, 60_000),
    "TIFF of strips beyond the end": lambda r: tiff_of(16, 12, extra=((273, 4, 1, 2**31),)),
    "TIFF by another program": lambda r: tiff_of(16, 12, compression=34_712),
    "TIFF whose pages form a circle": lambda r: tiff_of(16, 12)[:-404] + struct.pack("<I", 8) + b"\0" * 400,
    "TIFF of 65,535 tags": lambda r: b"II*\0\x08\0\0\0\xff\xff" + b"\xff" * 800_000,
    "BMP 2^31 high": lambda r: made("BMP")[:18] + struct.pack("<ii", 16, -(2**31)) + made("BMP")[26:],
    "BMP of runs": lambda r: made("BMP")[:30] + struct.pack("<I", 1) + made("BMP")[34:],
    "PPM of a large number": lambda r: b"P6 " + b"9" * 5000 + b" 1 255\n",
    "PPM 7,000 x 7,000 of nothing": lambda r: b"P6 7000 7000 255\n",
    "PostScript called .png": lambda r: (
        f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n(%pipe%{PAYLOAD}) (r) file\n".encode()
    ),
    "SVG": lambda r: b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
    "ImageMagick's language": lambda r: f"push graphic-context\nimage over 0,0 0,0 '|{PAYLOAD}'\n".encode(),
    "random bytes behind a head": lambda r: made("WEBP")[:30] + r.randbytes(5000),
}


def _sized(jpeg: bytes, width: int, height: int) -> bytes:
    at = jpeg.index(b"\xff\xc0")
    return jpeg[: at + 5] + struct.pack(">HH", height, width) + jpeg[at + 9 :]


def _scans(jpeg: bytes, count: int) -> bytes:
    start = jpeg.index(b"\xff\xda")
    end = jpeg.find(b"\xff\xda", start + 2)
    scan = jpeg[start : end if end > 0 else -2]
    return jpeg[:start] + scan * count + jpeg[start:]


def _webp(width: int, height: int) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (64, 64)).save(stream, "WEBP", lossless=True)
    content = bytearray(stream.getvalue())
    at = content.index(b"VP8L") + 9
    bits = (width - 1) | (height - 1) << 14
    content[at : at + 4] = ((int.from_bytes(content[at : at + 4], "little") >> 28 << 28) | bits).to_bytes(4, "little")
    return bytes(content)


def pictures(random: Random, shared: Path) -> Iterator[Case]:
    """Beside each lies a good one, which must be ranked."""
    forms = dict(FILES)
    for form in FORMATS:
        forms[f"{form}, whole"] = lambda r, form=form: made(form)
    for form in FORMATS[:8]:
        forms[f"{form}, cut"] = lambda r, form=form: ended_early(form)
        forms[f"{form}, damaged"] = lambda r, form=form: _damaged(made(form, (64, 64)), r)
    for about, content in forms.items():

        def write(folder: Path, content: Callable[[Random], bytes] = content) -> None:
            (folder / "bad.png").write_bytes(content(random))
            (folder / "good.png").write_bytes(made("PNG"))

        words = ["rerank", "红", "good.png", "bad.png", "-r", "colours"]

        def check(ended: object) -> str:
            return "" if "good.png" in ended.text else "the good picture was not ranked"  # type: ignore[attr-defined]

        yield Case(about, words, write, (0, 3), check, seconds=60, megabytes=1500)


def _damaged(content: bytes, random: Random) -> bytes:
    changed = bytearray(content)
    for _ in range(12):
        changed[random.randrange(10, len(changed))] = random.randrange(256)
    return bytes(changed)
