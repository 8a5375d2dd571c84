"""Files that are not what `torch.save` or safetensors write, but nearly."""

from __future__ import annotations

import io
import itertools
import json
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from cases import Case
from pickles import RUNS, in_zip

EVIL = RUNS["os.system by name"]
MAGIC = 0x1950A86A20F9469CFC6C


def zipped(compression: int = zipfile.ZIP_STORED, **files: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as made:
        for name, content in files.items():
            made.writestr(name, content)
    return stream.getvalue()


def legacy(*programs: bytes) -> bytes:
    """The form of torch before 1.6: pickles one behind the other."""
    return pickle.dumps(MAGIC, 2) + pickle.dumps(1001, 2) + b"".join(programs)


def safetensors(head: object, body: bytes = b"") -> bytes:
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    return struct.pack("<Q", len(text)) + text + body


def tensor(shape: list[int], start: int, end: int, dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def tar(name: str, content: bytes) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as made:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        made.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def npy() -> bytes:
    return (
        b"\x93NUMPY\x01\x00v\x00"
        + b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(117)
        + b"\n"
        + EVIL
    )


FILES: dict[str, Callable[[], bytes]] = {
    "two programs in a zip": lambda: zipped(**{"a/data.pkl": b"\x80\x02}.", "b/data.pkl": EVIL}),
    "a path out of the zip": lambda: zipped(**{"a/data.pkl": EVIL, "../../../executed": b"x"}),
    "an absolute path in the zip": lambda: zipped(**{"a/data.pkl": EVIL, "/tmp/executed": b"x"}),
    "a compressed program": lambda: zipped(zipfile.ZIP_DEFLATED, **{"a/data.pkl": EVIL + b"\0" * 50_000_000}),
    "a zip without a program": lambda: zipped(**{"a/version": b"3"}),
    "TorchScript": lambda: zipped(**{"a/data.pkl": EVIL, "a/constants.pkl": EVIL, "a/code/__torch__.py": b"import os"}),
    "a program in constants alone": lambda: zipped(**{"a/constants.pkl": EVIL}),
    "a byte order that is none": lambda: zipped(**{"a/data.pkl": EVIL, "a/byteorder": b"\xff" * 99}),
    "a version of 5,000 digits": lambda: zipped(**{"a/data.pkl": EVIL, "a/version": b"9" * 5000, ".data/x": b"1"}),
    "a zip cut in half": lambda: in_zip(EVIL)[:-30],
    "a zip behind other bytes": lambda: b"\x80\x02}." + in_zip(EVIL),
    "a zip with a comment of 60 kB": lambda: in_zip(EVIL)[:-2] + struct.pack("<H", 60_000) + b"x" * 60_000,
    "a zip of 100,000 entries": lambda: zipped(**{f"a/{i}": b"" for i in range(100_000)}),
    "a zip that says 4 GB": lambda: in_zip(EVIL).replace(struct.pack("<I", len(EVIL)), b"\xff\xff\xff\xff"),
    "old torch": lambda: legacy(EVIL, EVIL),
    "old torch, system": lambda: legacy(b"\x80\x02}.", EVIL, b"\x80\x02]."),
    "old torch, storages of 10^18": lambda: (
        legacy(b"\x80\x02}.", b"\x80\x02}.", b"\x80\x02]X\x01\x00\x00\x000a.") + b"\xff" * 99
    ),
    "very old torch, a tar": lambda: tar("pickle", EVIL),
    "a tar that starts like torch": lambda: tar("\x80\x02", EVIL),
    "numpy's objects": npy,
    "numpy's zip": lambda: zipped(**{"a.npy": npy()}),
    "joblib": lambda: b"\x80\x03" + EVIL[2:],
    "safetensors with a head of 2^63": lambda: struct.pack("<Q", 1 << 63) + b"{}",
    "safetensors with a head of 90 MB": lambda: safetensors(b'{"a' + b"a" * 90_000_000 + b'":1}'),
    "safetensors that overlap": lambda: safetensors({"a": tensor([4], 0, 16), "b": tensor([4], 8, 24)}, b"\0" * 24),
    "safetensors beyond the end": lambda: safetensors({"a": tensor([1 << 40], 0, 1 << 42)}, b"\0" * 24),
    "safetensors of a negative shape": lambda: safetensors({"a": tensor([-1], 0, 4)}, b"\0" * 4),
    "safetensors that multiply over": lambda: safetensors({"a": tensor([1 << 32, 1 << 32, 16], 0, 0)}),
    "safetensors nested": lambda: safetensors(b'{"a":' + b"[" * 100_000),
    "safetensors of escapes": lambda: safetensors({"\x1b[31mred\x07": tensor([1], 0, 4)}, b"\0" * 4),
    "safetensors of 100,000 names": lambda: safetensors({f"{i}": tensor([0], 0, 0) for i in range(100_000)}),
    "safetensors of another type": lambda: safetensors({"a": tensor([1], 0, 4, "F\x00")}, b"\0" * 4),
    "a web page": lambda: b"<html>" + EVIL,
    "zeros": lambda: b"\0" * 10_000_000,
    "nothing": lambda: b"",
}
BACKENDS = ("vqgan", "vae", "dalle", "clip", "chinese-clip", "brivl", "clipgen", "clipcap", "dalle2", "perceptual")


def checkpoints(random: Random, shared: Path) -> Iterator[Case]:
    for about, content in FILES.items():
        for_backend = random.choice(BACKENDS)

        def write(folder: Path, content: Callable[[], bytes] = content) -> None:
            (folder / "a.pt").write_bytes(content())

        words = ["models", "import", "a.pt", "--as", for_backend, "--name", "x"]
        yield Case(f"{about}, as {for_backend}", words, write, (1, 2), seconds=60, megabytes=1300)
    for (about, make), command in itertools.product(FOLDERS.items(), ("show", "check")):
        yield Case(about, ["models", command, "m"], make, (0, 1, 2))


def _card(text: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        (folder / "m").mkdir()
        (folder / "m/model.toml").write_text(text)

    return make


FOLDERS = {
    "a card of another folder's files": _card('kind="codec"\nbackend="vqgan"\n[files]\n"../../etc/passwd"="00"\n'),
    "a card with escapes": _card('kind="\\u001b[31m"\nbackend="\\u001b[2J"\n'),
    "a card 1,000 deep": _card("x = " + "[" * 1000 + "]" * 1000),
    "a card of lists": _card("kind=[]\nbackend={}\nfiles=3\n"),
    "a part that is the model itself": _card('kind="generator"\nbackend="dalle"\n[parts]\ncodec="."\n'),
}
