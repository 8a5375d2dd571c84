from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from t2icli.data import shards
from t2icli.data.dataset import PreparedDataset, SourceRow
from t2icli.prepare.check import problems


@pytest.fixture
def data(tmp_path: Path) -> PreparedDataset:
    def row(i: int) -> SourceRow:
        stream = io.BytesIO()
        Image.new("RGB", (20, 10 + i), (i, 0, 0)).save(stream, "PNG")
        return SourceRow(f"k{i}", stream.getvalue(), (f"caption {i}",))

    return shards.write(tmp_path / "data", map(row, range(4)))


def damage(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert old in content and len(old) == len(new)
    path.write_bytes(content.replace(old, new, 1))


def test_a_whole_dataset_has_no_problems(data: PreparedDataset) -> None:
    assert list(problems(data)) == []


def test_a_changed_caption_is_found(data: PreparedDataset) -> None:
    damage(data.folder / "000000.tar", b"caption 2", b"caption X")
    assert "k2.txt" in next(problems(data))


def test_one_flipped_bit_in_an_image_is_found(data: PreparedDataset) -> None:
    path = data.folder / "000000.tar"
    image = data.image_bytes(1)
    damage(path, image, image[:-20] + bytes([image[-20] ^ 1]) + image[-19:])
    assert next(problems(data)).startswith("image 'k1'") and "sha256" in next(problems(data))


def test_a_tar_that_was_cut_is_found(data: PreparedDataset) -> None:
    path = data.folder / "000000.tar"
    path.write_bytes(path.read_bytes()[:3000])
    assert any("cannot be read" in problem or "missing" in problem for problem in problems(data))


def test_another_index_than_the_cards_is_found(data: PreparedDataset, tmp_path: Path) -> None:
    other = shards.write(tmp_path / "other", [SourceRow("x", data.image_bytes(0), ("y",))])
    (other.folder / "000000.parquet").replace(data.folder / "000000.parquet")
    found = list(problems(data))
    assert any("has 1 rows, the card says 4" in problem for problem in found)
    assert any("its hash differs" in problem for problem in found)


def test_a_missing_shard_is_found(data: PreparedDataset) -> None:
    (data.folder / "000000.tar").unlink()
    assert any("cannot be read" in problem for problem in problems(data))
