"""Against the numbers of BriVL's own scripts. Tolerances are those of the golden set's README."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from t2i_brivl.embed import BrivlEmbedder
from t2i_brivl.inputs import pixels, scaled_boxes
from t2i_brivl.model import pool_boxes
from t2icli import load
from t2icli.store.models import Model


@pytest.fixture(scope="module")
def rows(brivl: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (brivl / "test.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def embedder(imported: Model) -> BrivlEmbedder:
    return load("embedder", "brivl", model=imported)


@pytest.fixture(scope="module")
def images(brivl: Path, rows: list[dict[str, Any]]) -> list[Image.Image]:
    return [Image.open(brivl / row["image_id"]) for row in rows]


@pytest.fixture(scope="module")
def expected(brivl: Path) -> dict[str, torch.Tensor]:
    return load_file(brivl / "outputs.safetensors")


def text_of(row: dict[str, Any]) -> str:
    return dict(row["sentences"])["sur_text"]


def test_pictures_with_boxes_have_the_original_embeddings(
    embedder: BrivlEmbedder, images: list, rows: list, expected: dict
) -> None:
    found = embedder.embed_boxes(images, [row["bbox"] for row in rows])
    torch.testing.assert_close(found, expected["image_embedding"], atol=1e-5, rtol=0)


def test_pictures_without_boxes_have_the_original_embeddings(
    embedder: BrivlEmbedder, images: list, expected: dict
) -> None:
    found = embedder.embed_images(images)
    torch.testing.assert_close(found, expected["variant.image_embedding_whole_box_only"], atol=1e-5, rtol=0)


def test_sentences_have_the_original_ids_and_embeddings(imported_text: Model, sentences: Any) -> None:
    embedder = load("embedder", "brivl", model=imported_text)
    assert embedder.texts(sentences.texts).equal(sentences.ids)
    torch.testing.assert_close(embedder.embed_texts(sentences.texts), sentences.embeddings, atol=1e-5, rtol=0)


def test_scores_are_the_originals(embedder: BrivlEmbedder, images: list, rows: list, expected: dict) -> None:
    pictures = embedder.embed_boxes(images, [row["bbox"] for row in rows])
    texts = embedder.embed_texts([text_of(row) for row in rows])
    torch.testing.assert_close(pictures @ texts.T, expected["scores"], atol=1e-5, rtol=0)


def test_inputs_are_the_originals(
    brivl: Path, embedder: BrivlEmbedder, images: list[Image.Image], rows: list[dict[str, Any]]
) -> None:
    expected = load_file(brivl / "inputs.safetensors")
    for i, (image, row) in enumerate(zip(images, rows, strict=True)):
        boxes, n = scaled_boxes(row["bbox"], image.size, 152, 9)
        torch.testing.assert_close(boxes, expected["boxes"][i], atol=1e-4, rtol=1e-6)
        assert n == expected["img_len"][i]
        if row["image_id"].endswith(".png"):  # a JPEG decoder may differ by a grey level, and two threads by 6e-6
            torch.testing.assert_close(pixels(image, 152), expected["pixel_values"][i], atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [456, 380])
def test_boxes_are_cut_out_as_the_original_cuts_them(golden: Callable[[str], Path], size: int) -> None:
    case = {k.removeprefix(f"{size}."): v for k, v in load_file(golden("brivl/roi_pool.safetensors")).items()}
    cut = pool_boxes(case["feature_map"], case["boxes"], 4, size).mean((-2, -1))
    found = cut @ case["conv_weight"].flatten(1).T + case["conv_bias"]
    torch.testing.assert_close(found, case["pooled"], atol=1e-4, rtol=1e-4)


def test_clip_sort_gives_the_originals_order_and_scores(brivl: Path, imported: Model) -> None:
    expected = json.loads((brivl / "clip_sort/expected.json").read_text())
    images = [Image.open(brivl / f"clip_sort/{i}.jpg") for i in range(expected["n"])]
    scores = load("ranker", "brivl", model=imported, preprocess="clip_sort").score(expected["prompt"], images)
    assert scores == pytest.approx(expected["scores"], abs=1e-5)
    assert sorted(range(len(scores)), key=lambda i: -scores[i]) == expected["order"]
    normalised = load("ranker", "brivl", model=imported, image_size=456)
    assert normalised.score(expected["prompt"], images) == pytest.approx(
        expected["scores_with_imagenet_normalisation"], abs=1e-5
    )
