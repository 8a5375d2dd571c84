from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from PIL import Image

from t2icli.contract.entries import Entry
from t2icli.contract.hookspecs import hookimpl
from t2icli.ground.errors import T2IError
from t2icli.pictures.images import open_image
from t2icli.pipelines.evaluate import embeddings, pairs, retrieval
from t2icli.pipelines.evaluate.retrieval import VectorRows, ranks, search, summary
from t2icli.registry.open import Opened


def rows(table: np.ndarray) -> VectorRows:
    return VectorRows(table, np.arange(len(table)))


@pytest.fixture
def features(golden: Callable[[str], Path]) -> tuple[VectorRows, VectorRows, dict]:
    folder = golden("brivl/retrieval")
    images, texts = (np.load(folder / f"np_{side}.npy") for side in ("img", "text"))
    return rows(images), rows(texts), json.loads((folder / "expected.json").read_text())


def test_ranks_and_recall_are_those_of_brivls_script(features: tuple[VectorRows, VectorRows, dict]) -> None:
    images, texts, expected = features
    diagonal = [(i, i) for i in range(len(images))]
    to_text, to_image = ranks(images, texts, diagonal), ranks(texts, images, diagonal)
    assert to_text.tolist() == expected["rank_of_truth_image_to_text"]
    assert to_image.tolist() == expected["rank_of_truth_text_to_image"]
    printed = [float(found[1]) for line in expected["printed"] if (found := re.search(r"([\d.]+)%", line))]
    assert [*summary(to_text).recall.values(), *summary(to_image).recall.values()] == pytest.approx(printed)


def test_blocks_change_no_rank() -> None:
    n = 2 * retrieval.BLOCK + 7
    random = np.random.default_rng(0)
    images, texts = (random.integers(-2, 3, (n, 4)).astype(np.float32) for _ in range(2))  # many score the same
    right = [(i, i) for i in range(n)] + [(i, n - 1 - i) for i in range(0, n, 3)]
    wrong = np.ones((n, n), bool)
    wrong[tuple(np.transpose(right))] = False
    scores = images @ texts.T
    best = np.where(wrong, -np.inf, scores).max(1, keepdims=True)
    expected = (wrong & (scores > best)).sum(1) + 0.5 * (wrong & (scores == best)).sum(1)
    assert ranks(rows(images), rows(texts), right).tolist() == expected.tolist()


def test_a_model_that_scores_all_alike_gets_no_better_than_chance() -> None:
    same = rows(np.ones((20, 4), np.float32) / 2)
    found = ranks(same, same, [(i, i) for i in range(20)])
    assert found.tolist() == [9.5] * 20 and summary(found).recall[1] == 0


def test_search_reads_blocks_and_finds_what_sorting_all_would() -> None:
    table = np.random.default_rng(0).standard_normal((500, 8)).astype(np.float32)
    table[13] = np.nan
    query = table[77] / np.linalg.norm(table[77])
    expected = list(np.argsort(-np.nan_to_num(table @ query, nan=-np.inf), kind="stable"))[:5]
    assert [place for place, _ in search(query, table, 5, block=64)] == expected


class Corner:
    """Embeds a picture by its first pixel and a text by the colour it names."""

    width = 3
    seen = 0

    def embed_images(self, images: Sequence[Image.Image]) -> torch.Tensor:
        type(self).seen += len(images)
        pixels = [image.getpixel((0, 0)) for image in images]
        return torch.nn.functional.normalize(torch.tensor(pixels).float() + 1, dim=-1)

    def embed_texts(self, texts: Sequence[str]) -> torch.Tensor:
        colours = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
        chosen = [next(value for name, value in colours.items() if name in text) for text in texts]
        return torch.nn.functional.normalize(torch.tensor(chosen).float() + 1, dim=-1)


@pytest.fixture
def source() -> Opened:
    import msgspec

    class Settings(msgspec.Struct, frozen=True):
        batch: int = 4

    Corner.seen = 0
    return Opened("embedder", "corner", Settings(), Corner())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four pictures, two of them the same, and one file that is none."""
    for name, colour in (("a", "#ff0000"), ("b", "#00ff00"), ("c", "#0000ff"), ("again", "#ff0000")):
        Image.new("RGB", (8, 8), colour).save(tmp_path / f"{name}.png")
    (tmp_path / "broken.png").write_bytes(b"<html>not found</html>")
    lines = ["filepath\ttitle", "a.png\ta red plate", "b.png\tgreen tea", "c.png\tthe blue sea", "again.png\tred meat"]
    (tmp_path / "pairs.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_a_picture_that_is_there_twice_is_counted_fairly_or_as_the_originals_did(folder: Path, source: Opened) -> None:
    found = pairs.read(folder / "pairs.csv")
    fair = retrieval.evaluate([source], found)[0]
    assert (fair.images, fair.texts, fair.text_to_image.recall[1]) == (3, 4, 100.0)
    original = retrieval.evaluate([source], found, duplicates="wrong")[0]
    assert (original.images, original.texts, original.text_to_image.recall[1]) == (4, 4, 50.0)


def test_embeddings_are_kept_and_used_again(folder: Path, source: Opened) -> None:
    found, cache = pairs.read(folder / "pairs.csv"), folder / "cache"
    first = retrieval.evaluate([source], found, cache=cache)
    second = retrieval.evaluate([source], pairs.read(folder / "pairs.csv"), cache=cache)
    assert first == second and Corner.seen == 4
    kept = embeddings.embed(source, found, ["red"], cache)
    assert isinstance(kept.images, np.memmap)
    Image.new("RGB", (8, 8), "#00ff00").save(folder / "a.png")
    retrieval.evaluate([source], pairs.read(folder / "pairs.csv"), cache=cache)
    assert Corner.seen == 8


def test_what_is_no_picture_is_named_and_the_rest_is_measured(folder: Path, source: Opened) -> None:
    with (folder / "pairs.csv").open("a") as table:
        table.write("broken.png\ta green door\n")
    result = retrieval.evaluate([source], pairs.read(folder / "pairs.csv"))[0]
    assert result.images == 3 and list(result.unreadable) == [str(folder / "broken.png")]
    again = retrieval.evaluate([source], pairs.read(folder / "pairs.csv"), cache=folder / "cache")
    assert again == retrieval.evaluate([source], pairs.read(folder / "pairs.csv"), cache=folder / "cache") == [result]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (
            '{"sentences": [["sur_text", "a"]], "bbox": []}',
            "has no image column: it has 'sentences', 'bbox'",
        ),
        (
            '{"image_id": "a.png", "bbox": []}',
            "test.jsonl:2: missing-column: '{0}' has no caption column: it has 'image_id', 'bbox'",
        ),
        (
            '{"image_id": "a.png", "sentences": [["alt_text", "a"]]}',
            "there is no caption of kind 'sur_text'",
        ),
        ('{"image_id": "a.png", "sentences": [[', "test.jsonl:2: bad-json: Input data was truncated"),
        ("[1]", "test.jsonl:2: bad-json: not an object"),
    ],
)
def test_a_line_with_something_missing_is_named(folder: Path, line: str, problem: str) -> None:
    good = '{"image_id": "a.png", "sentences": [["sur_text", "a red plate"]], "bbox": [[0, 0, 4, 4]]}'
    (folder / "test.jsonl").write_text(f"{good}\n{line}\n")
    with pytest.raises(T2IError, match=re.escape(problem.format(folder / "test.jsonl"))):
        pairs.read(folder / "test.jsonl")


@pytest.mark.parametrize("delimiter", ["\t", ",", ";"])
def test_the_separator_of_a_table_is_seen_in_its_first_line(folder: Path, delimiter: str) -> None:
    table = (folder / "pairs.csv").read_text().replace("\t", delimiter)
    (folder / "other.csv").write_text(table)
    assert pairs.read(folder / "other.csv").pictures[0].captions == ("a red plate",)


def test_a_table_without_the_columns_is_refused_by_name(folder: Path) -> None:
    (folder / "other.csv").write_text("x\ty\na.png\tred\n")
    with pytest.raises(T2IError, match="no image column: it has 'x', 'y'"):
        pairs.read(folder / "other.csv")


class Boxed(Corner):
    """Embeds a picture by the upper left pixel of its last box."""

    def embed_boxes(self, images: Sequence[Image.Image], boxes: Sequence[Sequence[Sequence[float]]]) -> torch.Tensor:
        cut = [image.crop(tuple(own[-1])) if own else image for image, own in zip(images, boxes, strict=True)]
        return self.embed_images(cut)


def test_the_command_gives_the_boxes_to_an_embedder_that_reads_them(t2i, tmp_path: Path) -> None:
    class Settings(msgspec.Struct, frozen=True): ...

    class Plugin:
        __name__ = "boxed"

        @hookimpl
        def t2i_embedders(self) -> list[Entry]:
            embedders = (("corner", Corner), ("boxed", Boxed))
            return [Entry(name, "by the corner", Settings, lambda _, kind=kind: kind()) for name, kind in embedders]

    lines = []
    for name, colour, other in (("a", "red", "blue"), ("b", "blue", "red")):
        image = Image.new("RGB", (8, 8), other)
        image.paste(colour, (4, 4, 8, 8))
        image.save(tmp_path / f"{name}.png")
        sentences = [["sur_text", f"a {colour} plate"]]
        lines.append(
            json.dumps({"image_id": f"{name}.png", "sentences": sentences, "bbox": [[0, 0, 2, 2], [4, 4, 8, 8]]})
        )
    (tmp_path / "test.jsonl").write_text("\n".join(lines))
    t2i.use(Plugin())
    done = t2i.ok("evaluate", "retrieval", tmp_path / "test.jsonl", "-r", "corner,boxed", "--json")
    corner, boxed = (result["image_to_text"]["recall@1"] for result in done.json()["results"])
    assert (corner, boxed) == (0, 100)


def test_the_command_shows_both_directions_and_draws_a_chart(t2i, folder: Path) -> None:
    class Plugin:
        __name__ = "corner"

        @hookimpl
        def t2i_embedders(self) -> list[Entry]:
            import msgspec

            class Settings(msgspec.Struct, frozen=True): ...

            return [Entry("corner", "by the corner", Settings, lambda settings: Corner())]

    t2i.use(Plugin())
    shown = t2i.ok("evaluate", "retrieval", folder / "pairs.csv", "-r", "corner", "--plot", folder / "chart.png")
    assert "image to text" in shown.stdout and "3 pictures, 4 sentences" in shown.stdout
    assert open_image(folder / "chart.png").size == (960, 480)
    with (folder / "pairs.csv").open("a") as table:
        table.write("broken.png\ta green door\n")
    result = t2i.run("evaluate", "retrieval", folder / "pairs.csv", "-r", "corner,corner", "--json")
    assert result.code == 3 and len(result.json()["results"]) == 2 and "web page" in str(result.json()["unreadable"])
    t2i.fails("evaluate", "retrieval", folder / "pairs.csv", "-r", "colours", says="does not embed them")
