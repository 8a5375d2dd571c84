"""`t2i prepare --dedup`: near-duplicates by embedding."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance
from torch import Tensor

from t2icli.contract.entries import Entry
from t2icli.contract.hookspecs import hookimpl
from t2icli.data.dataset import PreparedDataset
from t2icli.prepare import duplicates
from t2icli.prepare.check import problems
from t2icli.testing import Runner


class Settings(msgspec.Struct, frozen=True):
    side: int = 8


class Coarse:
    """A picture is its own thumbnail without its mean, so that brightness hardly counts; a text is its place."""

    def __init__(self, settings: Settings) -> None:
        self.side = settings.side
        self.width = self.side**2

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        return torch.eye(self.width)[: len(texts)]

    def embed_images(self, images: Sequence[Image.Image]) -> Tensor:
        small = [
            np.asarray(image.convert("L").resize((self.side, self.side), Image.Resampling.BOX)) for image in images
        ]
        flat = torch.tensor(np.stack(small), dtype=torch.float32).flatten(1)
        return torch.nn.functional.normalize(flat - flat.mean(1, keepdim=True), dim=1)


class Plugin:
    @hookimpl
    def t2i_embedders(self) -> list[Entry[Any]]:
        return [Entry("coarse", "thumbnails", Settings, Coarse)]


def drawn(seed: int) -> Image.Image:
    """A picture of broad patches."""
    patches = np.random.default_rng(seed).integers(0, 200, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(patches).resize((100, 80), Image.Resampling.BICUBIC)


@pytest.fixture
def photos(t2i: Runner) -> Path:
    """Four pictures, and a crop, a re-encoding and a brighter copy of the first and one of the third."""
    t2i.use(Plugin())
    folder = Path("photos")
    folder.mkdir()
    for number in range(4):
        drawn(number).save(folder / f"{number}.png")
    first = drawn(0)
    first.crop((3, 2, 98, 78)).save(folder / "0-crop.png")
    first.save(folder / "0-small-file.jpg", quality=20)
    ImageEnhance.Brightness(first).enhance(1.2).save(folder / "0-brighter.png")
    drawn(2).resize((50, 40)).save(folder / "2-small.png")
    for path in list(folder.iterdir()):
        path.with_suffix(".txt").write_text(f"picture {path.stem}")
    return folder


EMBED = ("-m", "coarse", "--output", "vectors", "--shard-rows", 3)
COPIES = {"0-brighter": "0", "0-small-file": "0", "0": "0-brighter"}


def keys(folder: str = "clean") -> list[str]:
    data = PreparedDataset.open(folder)
    assert list(problems(data)) == []
    return [data.key(i) for i in range(len(data))]


def listed(folder: str = "clean") -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(Path(folder, "duplicates.csv").read_text(encoding="utf-8"))))


def test_crops_reencodings_and_brighter_copies_are_left_out_of_a_dataset(t2i: Runner, photos: Path) -> None:
    t2i.ok("prepare", photos, "--output", "data")
    order = keys("data")
    assert len(order) == 8  # to exact duplicates all are different
    t2i.ok("embed", "data", *EMBED)
    shown = t2i.ok("prepare", "data", "--dedup", "vectors", "--output", "clean").stdout
    assert "near-duplicate" in shown
    first = {name[0]: name for name in reversed(order)}  # of each family the first
    assert keys() == [name for name in order if name in first.values()]
    assert [line["key"] for line in listed()] == [name for name in order if name not in first.values()]
    assert all(line["duplicate_of"] == first[line["key"][0]] for line in listed())
    assert all(0.95 <= float(line["cosine"]) <= 1 for line in listed())
    assert PreparedDataset.open("clean").card.counts == {"ok": 4, "dropped near-duplicate": 4}


def test_a_folder_is_cleaned_by_its_own_vectors_too(t2i: Runner, photos: Path) -> None:
    t2i.ok("embed", photos, *EMBED)
    t2i.ok("prepare", photos.absolute(), "--dedup", "vectors", "--output", "clean")
    assert len(keys()) == 4 and len(listed()) == 4


def test_a_higher_threshold_keeps_more_and_another_one_is_refused(t2i: Runner, photos: Path) -> None:
    t2i.ok("embed", photos, *EMBED)
    t2i.ok("prepare", photos, "--dedup", "vectors", "--threshold", "1", "--output", "clean")
    assert len(keys()) == 8 and listed() == []
    words = ("prepare", photos, "--dedup", "vectors", "--output", "clean")
    t2i.fails(*words, says="started with another dedup: threshold=1.0, now threshold=0.95")


def test_a_list_of_a_run_that_was_killed_is_used_only_with_its_own_threshold(
    t2i: Runner, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    t2i.ok("embed", photos, *EMBED)
    words = ("prepare", photos, "--dedup", "vectors", "--output", "clean", "--threshold")

    class Killed(BaseException): ...

    def killed(*words: object) -> None:
        raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr("t2icli.prepare.runners.run_here", killed)
        t2i.run(*words, "1")
    assert listed() == []
    t2i.ok(*words, "0.95")
    assert len(listed()) == 4
    made = Path("clean", duplicates.NAME).stat().st_mtime_ns
    t2i.ok(*words, "0.95")
    assert Path("clean", duplicates.NAME).stat().st_mtime_ns == made


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("photos", "--dedup", "photos"), "'photos' holds no vectors"),
        (("other", "--dedup", "vectors"), "not of 'other'"),
        (("photos", "--dedup", "vectors", "--threshold", "1.5"), "--threshold"),
        (("photos", "--dedup", "vectors", "--dry-run"), "--dry-run looks at captions alone"),
        (("photos", "--dedup", "texts"), "holds vectors of texts, not of pictures"),
    ],
)
def test_what_cannot_be_asked_is_said_before_anything_is_written(
    t2i: Runner, photos: Path, words: tuple[str, ...], says: str
) -> None:
    t2i.ok("embed", photos, *EMBED)
    Path("other").mkdir()
    drawn(9).save("other/9.png")
    t2i.ok("embed", photos, "-m", "coarse", "--of", "texts", "--output", "texts")
    t2i.fails("prepare", *words, "--output", "clean", says=says)
    assert not Path("clean").exists()


def test_a_source_that_has_changed_since_is_refused(t2i: Runner, photos: Path) -> None:
    t2i.ok("embed", photos, *EMBED)
    drawn(11).save(photos / "00.png")
    t2i.fails("prepare", photos, "--dedup", "vectors", "--output", "clean", says="has changed since it was embedded")
    (photos / "00.png").unlink()
    Path("vectors/shards/000001.arrow").unlink()
    t2i.fails(
        "prepare", photos, "--dedup", "vectors", "--output", "clean", says="is not finished: 1 shards are missing"
    )


def test_rows_of_one_picture_in_a_table_are_told_apart(t2i: Runner, photos: Path) -> None:
    Path("list.csv").write_text(
        "image,caption\n"
        + "".join(f"photos/{name}.png,{text}\n" for name, text in (("1", "a"), ("1", "b"), ("3", "c")))
    )
    t2i.ok("embed", "list.csv", *EMBED)
    t2i.ok("prepare", "list.csv", "--dedup", "vectors", "-o", "rules.duplicates=keep", "--output", "clean")
    data = PreparedDataset.open("clean")
    assert [data.captions(i) for i in range(len(data))] == [("a",), ("c",)]


def test_a_picture_that_cannot_be_opened_is_no_duplicate(t2i: Runner, photos: Path) -> None:
    for name in ("bad", "worse"):
        (photos / f"{name}.png").write_bytes(b"<html>")
    t2i.fails("embed", photos, *EMBED, code=3, says="skipped: ")
    t2i.fails("prepare", photos, "--dedup", "vectors", "--output", "clean", code=3, says="rows that failed: 2")
    assert len(listed()) == 4


def test_a_real_embedder_knows_crops_reencodings_and_smaller_copies_from_other_dishes(t2i: Runner) -> None:
    t2i.use(pytest.importorskip("t2i_brivl"), pytest.importorskip("t2i_starter"))
    t2i.ok("prepare", "plates", "6", "--output", "plates")
    plates = PreparedDataset.open("plates")
    folder = Path("photos")
    folder.mkdir()
    for i in range(6):
        image = plates.image(i)
        image.save(folder / f"{i}.png")
        image.save(folder / f"{i}-poor.jpg", quality=30)
        image.resize((120, 120)).save(folder / f"{i}-small.png")
        image.crop((12, 12, 228, 228)).save(folder / f"{i}-crop.png")
    t2i.ok("embed", folder, "-m", "brivl", "--output", "vectors")
    t2i.ok("prepare", folder, "--dedup", "vectors", "--threshold", "0.9", "--output", "clean")
    assert len(listed()) == 18 and all(
        Path(line["key"]).name[0] == Path(line["duplicate_of"]).name[0] for line in listed()
    )


def plainly(vectors: np.ndarray, threshold: float) -> list[tuple[int, int]]:
    """The definition itself."""
    kept: list[int] = []
    found = []
    for row, vector in enumerate(vectors.astype(np.float64)):
        of = next((other for other in kept if vector @ vectors[other].astype(np.float64) >= threshold), None)
        if of is None:
            kept.append(row)
        else:
            found.append((row, of))
    return found


@pytest.mark.parametrize("block", [7, 64, 4096])
def test_the_result_is_that_of_the_definition_whatever_the_blocks(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "BLOCK", block)
    random = np.random.default_rng(1)
    middles = random.standard_normal((40, 16))
    vectors = middles[random.integers(0, 40, 300)] + 0.3 * random.standard_normal((300, 16))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    vectors[[20, 250]] = np.nan
    vectors[[30, 31, 290]] = vectors[5]
    called: list[int] = []
    found = duplicates.find(300, lambda start, end: vectors[start:end], 0.9, called.append)
    assert [(each.row, each.of) for each in found] == plainly(vectors, 0.9)
    assert 100 < len(found) < 260 and sum(called) == duplicates.comparisons(300)


def test_a_cosine_at_the_threshold_counts_whatever_float32_makes_of_it() -> None:
    """0.6 and 0.8 are not exact in float32, and their product with themselves may come out below 1."""
    vectors = np.array([[0.6, 0.8], [0.6, 0.8], [0.8, 0.6]], np.float32)
    assert [each.row for each in duplicates.find(3, lambda start, end: vectors[start:end], 0.9999999)] == [1]
    assert [each.row for each in duplicates.find(3, lambda start, end: vectors[start:end], 0.96)] == [1, 2]


def test_by_an_index_the_same_rows_are_found_though_a_family_is_larger_than_what_it_gives(
    t2i: Runner, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("faiss")
    for number in range(4):
        for copy in range(12):
            ImageEnhance.Brightness(drawn(number)).enhance(1.01 + copy / 100).save(
                photos / f"{number}-like-{copy:02}.png"
            )
    t2i.ok("embed", photos, *EMBED, "--index")
    t2i.ok("prepare", photos, "--dedup", "vectors", "--output", "exact")
    monkeypatch.setattr("t2icli.pipelines.vector_index.EXACT", 10)
    monkeypatch.setattr(duplicates, "NEAREST", 5)
    monkeypatch.setattr(duplicates, "BLOCK", 7)
    t2i.fails("prepare", photos, "--dedup", "vectors", "--output", "exact", says="compared=all, now compared=nearest")
    t2i.ok("prepare", photos, "--dedup", "vectors", "--output", "clean")
    assert listed() == listed("exact") and len(listed()) == 52
