"""Pickles that ask for more memory or time than their size allows."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch

from t2icli.ground.errors import T2IError
from t2icli.store import bounded, unpickle, upstream

EIGHT_GB = 8_000_000_000
U8 = EIGHT_GB.to_bytes(8, "little")
U4 = (2**31 - 2).to_bytes(4, "little")


def doubled(levels: int, end: bytes) -> bytes:
    """A tuple of one tuple twice, of one tuple twice, ...: some bytes a level, and every level doubles it."""
    return b"\x80\x04)" + b"2\x86" * levels + end


def colliding(keys: Iterable[bytes]) -> bytes:
    """A dictionary of these keys, each of which is compared with all before it."""
    return b"\x80\x02cbuiltins\ncomplex\nq\x000cbuiltins\nfrozenset\nq\x010}" + b"".join(k + b"Ns" for k in keys) + b"."


BOMBS = {
    "a long string": b"\x80\x04\x8d" + U8,
    "long bytes": b"\x80\x04\x8e" + U8,
    "a long bytearray": b"\x80\x05\x96" + U8,
    "a long number": b"\x80\x02\x8b" + U4,
    "a long old string": b"\x80\x02X" + U4,
    "long old bytes": b"\x80\x03B" + U4,
    "a long frame": b"\x80\x04\x95" + U8,
    "a bytearray of 8 GB": b"\x80\x02c__builtin__\nbytearray\nI%d\n\x85R." % EIGHT_GB,
    "a set of a doubled tuple": doubled(60, b"\x85c__builtin__\nset\n2R."),
    "a doubled key": b"\x80\x04}" + doubled(60, b"")[2:] + b"K\x01s.",
    "a doubled member": b"\x80\x04\x8f(" + doubled(60, b"")[2:] + b"\x90.",
    "text of a list": b"\x80\x04c__builtin__\nstr\n]\x85R.",
    "copies of a long text": b"\x80\x02cbuiltins\nlist\nq\x00X\x00\x00\x01\x00"
    + b"a" * 65536
    + b"q\x01"
    + b"h\x00h\x01\x85R" * 60_000
    + b".",
    "integers of one hash": colliding(
        b"\x8a\x20" + (i * ((1 << 61) - 1)).to_bytes(32, "little") for i in range(40_000)
    ),
    "complex numbers of one hash": colliding(
        b"h\x00" + struct.pack(">cdcd", b"G", -1_000_003.0 * i, b"G", i) + b"\x86R" for i in range(40_000)
    ),
    "sets of one hash": colliding(
        b"h\x01(\x8a\x20" + (i * ((1 << 61) - 1)).to_bytes(32, "little") + b"l\x85R" for i in range(40_000)
    ),
    "a hundred thousand classes": b"\x80\x02" + b"".join(b"ca\nb%d\n" % i for i in range(100_000)) + b".",
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", BOMBS)
def test_a_small_pickle_cannot_ask_for_much(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.pkl").write_bytes(BOMBS[name])
    with pytest.raises(T2IError, match=r"damaged .* (more than its file can hold|of an unexpected object)"):
        upstream.read(tmp_path / "a.pkl")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("place", [2**31 - 2, 2**32 - 1])
def test_a_far_place_in_the_memo_takes_no_memory(tmp_path: Path, place: int) -> None:
    (tmp_path / "a.pkl").write_bytes(b"\x80\x02K\x07r" + place.to_bytes(4, "little") + b".")
    assert upstream.read(tmp_path / "a.pkl").data == 7


def test_what_is_long_and_there_is_read(tmp_path: Path) -> None:
    shared = ("a" * 1000, (1, 2), ((3, 4), 5))
    data = {"text": "x" * 100_000, "raw": b"y" * 100_000, "array": bytearray(b"z" * 100_000), shared: {shared, 1}}
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        (tmp_path / "a.pkl").write_bytes(pickle.dumps(data, protocol))
        assert upstream.read(tmp_path / "a.pkl").data == data


def rewritten(path: Path, change: Callable[[str, bytes], bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    """A torch zip with other contents."""
    with zipfile.ZipFile(path) as old:
        contents = {name: change(name, old.read(name)) for name in old.namelist()}
    with zipfile.ZipFile(path, "w", compression) as new:
        for name, content in contents.items():
            new.writestr(name, content)
    return path


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.save({"w": torch.arange(200.0)}, tmp_path / "a.pt")
    return tmp_path / "a.pt"


def test_a_program_of_many_megabytes_is_refused_unread(checkpoint: Path) -> None:
    long = b"\x80\x02" + b"N0" * (bounded.PROGRAM // 2) + b"N."
    rewritten(checkpoint, lambda name, content: long if name.endswith("data.pkl") else content)
    with pytest.raises(T2IError, match="bytes of instructions, more than its file can hold"):
        upstream.read(checkpoint)


def test_compressed_records_are_refused_unread(checkpoint: Path) -> None:
    rewritten(checkpoint, lambda name, content: content, zipfile.ZIP_DEFLATED)
    with pytest.raises(T2IError, match="is compressed"):
        upstream.read(checkpoint)


def test_a_storage_is_no_larger_than_its_record(checkpoint: Path) -> None:
    def lie(name: str, content: bytes) -> bytes:
        return content.replace(b"K\xc8", b"M\x00\x10") if name.endswith("data.pkl") else content  # 4096 for 200

    with pytest.raises(T2IError, match="for storage '0', more than its file can hold"):
        upstream.read(rewritten(checkpoint, lie))


def test_storages_of_the_old_format_are_no_larger_than_the_file(tmp_path: Path) -> None:
    torch.save({"w": torch.arange(200.0)}, tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    content = (tmp_path / "a.pt").read_bytes()
    (tmp_path / "a.pt").write_bytes(content.replace(b"K\xc8", b"J\x00\x00\x00\x70"))
    with pytest.raises(T2IError, match=r"for storage .* more than its file can hold"):
        upstream.read(tmp_path / "a.pt")


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_number_repeated_to_terabytes_is_refused(tmp_path: Path, zipped: bool) -> None:
    torch.save({"w": torch.ones(1).expand(1 << 40)}, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(T2IError, match="a tensor of 1099511627776 numbers"):
        upstream.read(tmp_path / "a.pt")
    torch.save({"w": torch.ones(1).expand(1000)}, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    assert upstream.read(tmp_path / "a.pt").data["w"].shape == (1000,)


def test_a_bomb_in_a_storage_inside_of_a_pickle_is_refused(tmp_path: Path) -> None:
    class Calls:
        def __reduce__(self) -> Any:
            return torch.storage._load_from_bytes, (saved.getvalue(),)

    saved = io.BytesIO()
    torch.save(torch.ones(1).expand(1 << 40), saved, _use_new_zipfile_serialization=False)
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"w": Calls()}))
    with pytest.raises(T2IError, match="more than its file can hold"):
        upstream.read(tmp_path / "a.pkl")


def test_tensors_that_share_a_storage_are_read(tmp_path: Path) -> None:
    whole = torch.arange(300_000.0)
    torch.save({f"part {i}": whole[i:] for i in range(50)}, tmp_path / "a.pt")
    torch.save({f"part {i}": whole[i:] for i in range(50)}, tmp_path / "b.pt", _use_new_zipfile_serialization=False)
    for name in ("a.pt", "b.pt"):
        assert torch.equal(upstream.read(tmp_path / name).data["part 49"], whole[49:])


def test_stand_ins_of_one_class_are_one() -> None:
    reader = unpickle.Reader(100)
    assert reader.find("a", "B") is reader.find("a", "B")


def test_many_keys_that_are_numbers_are_read(tmp_path: Path) -> None:
    data = {
        "ids": {140_000_000_000_000 + 64 * i: i for i in range(50_000)},
        "rates": [{0.1: i, (0, 0.5): i} for i in range(5_000)],
        "scales": {i / 7: i for i in range(50_000)},
    }
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(data, 4))
    assert upstream.read(tmp_path / "a.pkl").data == data
