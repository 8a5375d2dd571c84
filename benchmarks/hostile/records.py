"""What a PNG may say of how it was made, given to `t2i replay`: every word of it is a stranger's."""

from __future__ import annotations

import json
import random as randoms
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cases import PAYLOAD, Case
from kills import ended

CHANGES: dict[str, dict[str, Any]] = {
    "a model that is a device": {"settings": {"model": "/dev/zero"}},
    "a model by URL": {"settings": {"model": "http://127.0.0.1:1/x"}},
    "a model in another folder": {"settings": {"model": "../../../../../../etc"}},
    "a size of 10^9": {"settings": {"size": 10**9}},
    "a size below zero": {"settings": {"size": -8}},
    "a size of 1e308": {"settings": {"size": 1e308}},
    "settings that are not there": {"settings": {"__class__": "x", "size": 8}},
    "settings of code": {"settings": {"size": f"__import__('os').system({PAYLOAD!r})"}},
    "settings 900 deep": {"settings": {"size": json.loads("[" * 900 + "]" * 900)}},
    "a hundred thousand settings": {"settings": {f"a{i}": i for i in range(100_000)}},
    "a backend of escapes": {"backend": "\x1b[2J\x1b]0;x\x07\u202e"},
    "a backend that is a path": {"backend": "../noise"},
    "a backend of a megabyte": {"backend": "n" * 1_000_000},
    "a prompt of escapes": {"prompt": "\x1b[31m\u202e\x9b2J"},
    "a prompt of a megabyte": {"prompt": "面" * 350_000},
    "a seed of 2^64": {"seed": 2**64},
    "a seed of true": {"seed": True},
    "a seed of minus zero": {"seed": -0.0},
    "a hundred million threads": {"machine": {"threads": 100_000_000}},
    "threads of text": {"machine": {"threads": "2; " + PAYLOAD}},
    "variables of a shell": {
        "pixels": "0" * 64,
        "machine": {"instruction_set": f"AVX2 ONEDNN_MAX_CPU_ISA=$({PAYLOAD})"},
    },
    "versions of escapes": {"pixels": "0" * 64, "versions": {"torch": "\x1b[31m", "\x1b[2J": "1"}},
    "like a device": {"like": "/dev/zero"},
    "like a pipe": {"like": "/dev/stdin"},
    "like itself": {"like": "p.png"},
    "a plugin of code": {"plugin": f"$({PAYLOAD})", "backend": "gone"},
    "pixels that are a list": {"pixels": ["0"] * 1000},
    "a device of escapes": {"settings": {"device": "\x1b[31m"}},
    "null for everything": dict.fromkeys(("prompt", "seed", "backend", "settings", "pixels")),
}
TEXTS: dict[str, str] = {
    "100,000 brackets": "[" * 100_000,
    "one key 300,000 times": "{" + ",".join(['"seed":1'] * 300_000) + "}",
    "an integer of 10,000 digits": '{"seed":' + "9" * 10_000 + "}",
    "escapes for keys": '{"\\u001b[31m": 1, "seed": 1}',
    "half a surrogate": '{"prompt": "\\udc80", "seed": 1, "backend": "noise", "settings": {}, "pixels": ""}',
}


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def with_text(png: bytes, text: bytes, packed: bool = False) -> bytes:
    """`png` with another record, right behind its head."""
    start = 8 + 25
    body = zlib.compress(text, 9) if packed else text
    return png[:start] + chunk(b"iTXt", b"t2i\0" + bytes([packed, 0]) + b"\0\0" + body) + _without_text(png[start:])


def _without_text(chunks: bytes) -> bytes:
    kept, at = b"", 0
    while at < len(chunks):
        size = 12 + struct.unpack(">I", chunks[at : at + 4])[0]
        kept += chunks[at : at + size] * (chunks[at + 4 : at + 8] not in (b"iTXt", b"tEXt", b"zTXt"))
        at += size
    return kept


def record_of(png: bytes) -> dict[str, Any]:
    at = png.index(b"t2i\0\0\0\0\0")
    size = struct.unpack(">I", png[at - 8 : at - 4])[0]
    found: dict[str, Any] = json.loads(png[at + 8 : at + size])
    return found


def records(random: randoms.Random, shared: Path) -> Iterator[Case]:
    ended(["generate", "面", "-m", "noise", "-n", "1", "-o", "size=8", "--output", "o"], shared)
    png = (shared / "o/000.png").read_bytes()
    written = record_of(png)
    texts = {about: json.dumps({**written, **changes}).encode() for about, changes in CHANGES.items()}
    texts |= {about: text.encode() for about, text in TEXTS.items()}
    for index in range(5):
        damaged = bytearray(json.dumps(written).encode())
        for _ in range(4):
            damaged[random.randrange(len(damaged))] = random.randrange(32, 127)
        texts[f"damaged letters {index}"] = bytes(damaged)
    for about, text in texts.items():
        yield _case(about, with_text(png, text))
    yield _case("a record that unpacks to 400 MB", with_text(png, b'{"a":"' + b"x" * 400_000_000, packed=True))
    yield _case("a record that is not packed as it says", with_text(png, b"x").replace(b"t2i\0\0", b"t2i\0\1"))
    yield _case("a record of bytes", with_text(png, b"\xff\xfe\x80"))
    yield _case("two records", with_text(with_text(png, b"{}")[:-12] + chunk(b"tEXt", b"t2i\0{}") + png[-12:], b"[]"))
    own = json.dumps(written).encode()
    yield _case("the record as it was", with_text(png, own), codes=(0,))


def _case(about: str, content: bytes, codes: tuple[int, ...] = (0, 1, 2)) -> Case:
    def write(folder: Path) -> None:
        (folder / "p.png").write_bytes(content)

    return Case(about, ["replay", "p.png"], write, codes)
