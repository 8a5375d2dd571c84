from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import (
    BertTokenizerFast,
    ChineseCLIPConfig,
    ChineseCLIPImageProcessor,
    ChineseCLIPModel,
    ChineseCLIPProcessor,
)

from t2icli import load
from t2icli.backends import chinese_clip
from t2icli.contract.entries import Upstream
from t2icli.ground.errors import T2IError
from t2icli.registry import discovery
from t2icli.store import models
from t2icli.testing import FakeHub, Runner, check_embedder, check_ranker

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"红烧牛肉面一碗的盘子abcdeghilnrtw"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A Chinese-CLIP of a few thousand weights, in the form transformers saves."""
    torch.manual_seed(0)
    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    vision = {**text, "image_size": 32, "patch_size": 16}
    config = ChineseCLIPConfig(
        text_config={**text, "vocab_size": len(WORDS), "max_position_embeddings": 64},
        vision_config=vision,
        projection_dim=8,
    )
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS), encoding="utf-8")
    tokenizer = BertTokenizerFast(str(tmp_path / "vocab.txt"))
    size = {"height": 32, "width": 32}
    processor = ChineseCLIPProcessor(ChineseCLIPImageProcessor(size=size, crop_size=size), tokenizer)
    model = tmp_path / "model"
    ChineseCLIPModel(config).save_pretrained(model)
    processor.save_pretrained(model)
    return model


def test_embedder_and_ranker_keep_their_promises(folder: Path) -> None:
    check_embedder(chinese_clip.t2i_embedders()[0], source=str(folder))
    check_ranker(discovery.find("ranker", "chinese-clip"), source=str(folder))


def test_patches_are_what_the_last_layer_of_the_image_tower_reads(folder: Path) -> None:
    embedder = load("embedder", "chinese-clip", source=str(folder))
    pictures = [Image.effect_noise((50, 40), 80).convert("RGB") for _ in range(2)]
    patches = embedder.embed_patches(pictures)
    assert patches.shape == (2, *embedder.patches) == (2, 4, 16)
    layer, read = embedder.model.vision_model.encoder.layers[-1], []
    layer.register_forward_pre_hook(lambda module, inputs: read.append(inputs[0]))
    embedder.embed_images(pictures[:1])
    torch.testing.assert_close(read[0][:, 1:], patches[:1], atol=1e-5, rtol=0)


def test_embeddings_are_those_of_transformers(folder: Path) -> None:
    image = Image.effect_noise((50, 40), 80).convert("RGB")
    embedder = load("embedder", "chinese-clip", source=str(folder))
    processor, model = ChineseCLIPProcessor.from_pretrained(folder), ChineseCLIPModel.from_pretrained(folder).eval()
    inputs = processor(text=["红烧牛肉面"], images=[image], return_tensors="pt", padding=True)
    with torch.no_grad():
        expected = model(**inputs)
    torch.testing.assert_close(embedder.embed_texts(["红烧牛肉面"]), expected.text_embeds, atol=1e-5, rtol=0)
    torch.testing.assert_close(embedder.embed_images([image]), expected.image_embeds, atol=1e-5, rtol=0)


def test_an_imported_repository_gives_the_same_embeddings(folder: Path, tmp_path: Path) -> None:
    entry, imported = discovery.find("embedder", "chinese-clip"), tmp_path / "imported"
    imported.mkdir()
    entry.convert(Upstream(tuple(sorted(folder.iterdir())), {}), imported)
    before = load("embedder", "chinese-clip", source=str(folder)).embed_texts(["红烧牛肉面"])
    after = load("embedder", "chinese-clip", model=str(imported)).embed_texts(["红烧牛肉面"])
    torch.testing.assert_close(after, before)
    with pytest.raises(T2IError, match="missing: one file of weights"):
        some = [path for path in folder.iterdir() if path.suffix != ".safetensors"]
        entry.convert(Upstream(tuple(some), {}), tmp_path / "other")


def test_a_prompt_longer_than_it_reads_is_cut_and_reported(folder: Path) -> None:
    embedder = load("embedder", "chinese-clip", source=str(folder), length=5)
    with pytest.warns(UserWarning, match="has 7 tokens and was cut to the 5"):
        embedder.embed_texts(["红烧牛肉面"])


@pytest.mark.filterwarnings("ignore:downloading")
def test_a_repository_of_the_hub_is_pulled_and_used_either_way(
    folder: Path, t2i: Runner, fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "none"))
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    commit = fake_hub.add("OFA-Sys/chinese-clip-vit-base-patch16", files)
    here = load("embedder", "chinese-clip", source=str(folder)).embed_texts(["面"])
    fetched = load("embedder", "chinese-clip", source="OFA-Sys/chinese-clip-vit-base-patch16").embed_texts(["面"])
    t2i.ok("models", "pull", "chinese-clip/vit-base-patch16")
    model = models.find("chinese-clip/vit-base-patch16")
    assert model.card.source == f"hf:OFA-Sys/chinese-clip-vit-base-patch16@{commit}"
    pulled = load("embedder", "chinese-clip", model=model).embed_texts(["面"])
    assert torch.equal(here, fetched) and torch.equal(here, pulled)


def test_without_a_network_the_message_comes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T2I_OFFLINE", "1")
    before = time.monotonic()
    with pytest.raises(T2IError, match="not installed and there is no network"):
        load("embedder", "chinese-clip")
    assert time.monotonic() - before < 5


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(T2IError, match="holds no Chinese-CLIP"):
        load("embedder", "chinese-clip", source=str(tmp_path))
