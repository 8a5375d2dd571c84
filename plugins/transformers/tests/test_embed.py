"""`hub-clip`: dual encoders of transformers, each read as its kind was trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import t2i_transformers
from t2icli import load
from t2icli.contract.entries import Entry
from t2icli.testing import Runner, check_embedder
from t2icli.testing.contracts import pictures

DUAL = ["clip", "siglip", "siglip2", "metaclip_2", "altclip", "align", "chinese_clip"]
Tiny = Callable[[str], Path]


@pytest.fixture
def entry() -> Entry[Any]:
    return t2i_transformers.t2i_embedders()[0]


@pytest.mark.parametrize("kind", DUAL)
def test_every_dual_encoder_keeps_the_promises_of_an_embedder(kind: str, tiny: Tiny, entry: Entry[Any]) -> None:
    check_embedder(entry, source=tiny(kind), batch="3", device="cpu")


@pytest.mark.parametrize("kind", DUAL)
def test_the_cosines_are_those_of_the_model_itself(kind: str, tiny: Tiny) -> None:
    embedder = load("embedder", "hub-clip", source=tiny(kind), device="cpu")
    model = transformers.AutoModel.from_pretrained(tiny(kind)).eval()
    processor = transformers.AutoProcessor.from_pretrained(tiny(kind))
    texts, images = ["红烧牛肉面", "a plate"], pictures()[:3]
    inputs = processor(
        text=texts,
        images=images,
        padding="max_length",
        truncation=True,
        max_length=embedder.length,
        return_tensors="pt",
    )
    with torch.no_grad():
        logits = model(**inputs).logits_per_image
    found = embedder.embed_images(images) @ embedder.embed_texts(texts).T
    # The model scales and shifts cosines, or divides them by a temperature: differences keep their proportions.
    ours, theirs = found - found.mean(), logits - logits.mean()
    assert torch.allclose(ours / ours.norm(), theirs / theirs.norm(), atol=1e-4)


def test_texts_are_padded_to_the_length_of_training(tiny: Tiny) -> None:
    lengths = {kind: load("embedder", "hub-clip", source=tiny(kind)).length for kind in ("clip", "siglip2", "altclip")}
    assert lengths == {"clip": 77, "siglip2": 64, "altclip": 77}


def test_a_text_that_is_cut_is_reported(tiny: Tiny) -> None:
    with pytest.warns(UserWarning, match="was cut to the 77 the model reads"):
        load("embedder", "hub-clip", source=tiny("clip")).embed_texts(["a long prompt " * 8])


def test_it_ranks_pictures_from_a_folder_and_as_a_model(t2i: Runner, tiny: Tiny) -> None:
    t2i.use(t2i_transformers)
    for index, image in enumerate(pictures()[:3]):
        image.save(f"{index}.png")
    files = [f"{index}.png" for index in range(3)]
    source = ("-r", "hub-clip", "-o", f"source={tiny('siglip2')}")
    by_folder = t2i.ok("rerank", "红烧牛肉面", *files, *source, "--json").json()
    t2i.ok("models", "import", tiny("siglip2"), "--as", "hub-clip", "--name", "tiny")
    by_name = t2i.ok("rerank", "红烧牛肉面", *files, "-r", "hub-clip/tiny", "--json").json()
    assert [row["score"] for row in by_name["results"]] == [row["score"] for row in by_folder["results"]]


def test_what_is_no_dual_encoder_is_refused(t2i: Runner, tiny: Tiny) -> None:
    t2i.use(t2i_transformers)
    pictures()[0].save("x.png")
    source = ("-r", "hub-clip", "-o", f"source={tiny('qwen3_vl')}")
    t2i.fails("rerank", "x", "x.png", *source, says="is a qwen3_vl, which does not embed texts and pictures")
    t2i.fails("models", "import", tiny("blip"), "--as", "hub-clip", "--name", "x", says="is a blip, not a dual encoder")
    t2i.fails("rerank", "x", "x.png", "-r", "hub-clip", says="hub-clip needs a model")
