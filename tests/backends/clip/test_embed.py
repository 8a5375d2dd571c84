from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from t2icli import load
from t2icli.backends import clip
from t2icli.backends.clip.embed import ClipEmbedder, text_reader
from t2icli.backends.clip.model import OwnTexts, build
from t2icli.contract.fields import part
from t2icli.ground.errors import T2IError
from t2icli.nn import weights
from t2icli.nn.embedding import report_prompt
from t2icli.nn.pixels import to_tensor
from t2icli.pictures.images import open_image
from t2icli.store.models import Model


@pytest.fixture
def images() -> list[Image.Image]:
    torch.manual_seed(1)
    sizes = [(40, 30), (32, 32), (20, 50), (64, 33), (33, 64)]
    return [Image.fromarray(torch.randint(256, (h, w, 3), dtype=torch.uint8).numpy()) for w, h in sizes]


def test_embeddings_are_those_of_open_clip_itself(
    tiny_clip: Model, network: nn.Module, images: list[Image.Image]
) -> None:
    clip = load("embedder", "clip", model=tiny_clip, batch=2)
    preprocess = open_clip.image_transform(32, is_train=False)
    texts = ["a bowl of noodles", "牛肉面"]
    with torch.no_grad():
        expected_images = network.encode_image(torch.stack([preprocess(image) for image in images]), normalize=True)
        expected_texts = network.encode_text(open_clip.tokenize(texts, 12), normalize=True)
    torch.testing.assert_close(clip.embed_images(images), expected_images, atol=1e-5, rtol=0)
    torch.testing.assert_close(clip.embed_texts(texts), expected_texts, atol=1e-5, rtol=0)
    assert clip.width == 16


def test_scores_do_not_depend_on_batch_size_or_order(tiny_clip: Model, images: list[Image.Image]) -> None:
    prompt = "a red plate"
    scores = load("ranker", "clip", model=tiny_clip, batch=64).score(prompt, images)
    one_by_one = load("ranker", "clip", model=tiny_clip, batch=1)
    assert one_by_one.score(prompt, images[::-1]) == pytest.approx(scores[::-1], abs=1e-6)


def test_a_prompt_is_encoded_once_however_many_batches_are_scored(tiny_clip: Model, images: list[Image.Image]) -> None:
    ranker = load("ranker", "clip", model=tiny_clip)
    calls = []
    encode = ranker.embedder.model.encode_text
    ranker.embedder.model.encode_text = lambda ids: calls.append(len(ids)) or encode(ids)
    for image in images:
        ranker.score("noodles", [image])
    assert calls == [1]


def test_no_images_have_no_scores(tiny_clip: Model) -> None:
    assert load("ranker", "clip", model=tiny_clip).score("noodles", []) == []
    assert load("embedder", "clip", model=tiny_clip).embed_images([]).shape == (0, 16)


def test_a_prompt_longer_than_the_text_tower_is_cut_and_reported(tiny_clip: Model) -> None:
    clip = load("embedder", "clip", model=tiny_clip)
    with pytest.warns(UserWarning, match="has 32 tokens and was cut to the 12"):
        long = clip.embed_texts(["word " * 30])
    torch.testing.assert_close(long, clip.embed_texts(["word " * 10]))


def test_features_that_are_not_numbers_are_refused(tiny_clip: Model, images: list[Image.Image]) -> None:
    clip = load("embedder", "clip", model=tiny_clip)
    clip.model.visual.proj.data[0, 0] = float("nan")
    with pytest.raises(T2IError, match="features that are not finite"):
        clip.embed_images(images)


def test_weights_that_do_not_fit_are_refused(tiny_clip: Model, network: nn.Module) -> None:
    network.visual.proj = nn.Parameter(torch.zeros(64, 8))
    with pytest.raises(T2IError, match="do not fit") as error:
        weights.fill(
            network,
            load("embedder", "clip", model=tiny_clip).model.state_dict(),
            "x",
        )
    assert "visual.proj" in str(error.value.hint)


def test_an_unknown_tag_is_answered_with_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(T2IError, match="no weights 'opena'") as error:
        load("embedder", "clip", pretrained="opena")
    assert error.value.hint == "did you mean 'openai'?"


def test_without_a_network_the_message_names_what_to_import(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T2I_OFFLINE", "1")
    with pytest.raises(T2IError, match="there is no network") as error:
        load("embedder", "clip", pretrained="laion2b_s34b_b79k")
    assert "t2i models import FILE --as clip" in str(error.value.hint)


def test_the_end_token_is_where_the_text_feature_is_taken(tiny_clip: Model) -> None:
    as_made = load("embedder", "clip", model=tiny_clip)
    at_end = load("embedder", "clip", model=tiny_clip, pool="eos")
    texts = ["noodles", "a bowl of soup"]
    torch.testing.assert_close(as_made.embed_texts(texts), at_end.embed_texts(texts))


def test_image_features_are_what_is_brought_to_length_one(tiny_clip: Model, images: list[Image.Image]) -> None:
    embedder = load("embedder", "clip", model=tiny_clip)
    features = embedder.image_features(images)
    assert features.norm(dim=1).sub(1).abs().min() > 0.01
    torch.testing.assert_close(torch.nn.functional.normalize(features, dim=1), embedder.embed_images(images))


def test_scores_do_not_depend_on_the_kind_of_file(tiny_clip: Model, images: list[Image.Image], tmp_path: Path) -> None:
    paths = [tmp_path / f"same{suffix}" for suffix in (".png", ".bmp", ".tiff", ".ppm")]
    for path in paths:
        images[0].save(path)
    scores = load("ranker", "clip", model=tiny_clip).score("noodles", [open_image(path) for path in paths])
    assert scores == pytest.approx([scores[0]] * 4, abs=1e-6)


def test_openais_files_are_known_by_their_hash() -> None:
    from open_clip.pretrained import get_pretrained_cfg

    for source, architecture in zip(clip.t2i_models(), ("RN50", "ViT-B-32", "ViT-B-16", "ViT-L-14"), strict=True):
        assert source.files[0].urls == (get_pretrained_cfg(architecture, "openai")["url"],)
        assert source.files[0].sha256 in source.files[0].urls[0]


def test_a_texts_tokens_are_what_its_embedding_is_made_of(tiny_clip: Model, network: nn.Module) -> None:
    embedder = load("embedder", "clip", model=tiny_clip)
    tokens = embedder.embed_tokens(["a red bowl", "soup"])
    ends = [int(row.any(-1).nonzero().max()) for row in tokens]
    assert ends == [4, 2], "start, words and end are kept, what follows is zero"
    pooled = torch.stack([row[end] for row, end in zip(tokens, ends, strict=True)])
    embedded = nn.functional.normalize(pooled @ network.text_projection, dim=-1)
    torch.testing.assert_close(embedded, embedder.embed_texts(["a red bowl", "soup"]), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("vision", "last", "shape"),
    [
        ({"layers": [1, 1, 1, 1], "width": 8, "image_size": 64}, "layer4", (16, 128)),
        ({"layers": 2, "width": 64, "image_size": 32, "patch_size": 16}, "transformer.resblocks.1", (4, 64)),
    ],
    ids=["resnet", "vit"],
)
def test_patches_are_what_the_last_block_of_the_image_tower_reads(
    vision: dict[str, Any], last: str, shape: tuple[int, int]
) -> None:
    text = {"width": 16, "heads": 2, "layers": 1, "context_length": 8, "vocab_size": 50}
    network = build({"embed_dim": 16, "vision_cfg": vision, "text_cfg": text})
    embedder = ClipEmbedder(network, to_tensor, lambda texts: torch.zeros(len(texts), 8), clip.Settings(), "of a test")
    side = vision["image_size"]
    pictures = [Image.effect_noise((side, side), 80).convert("RGB") for _ in range(2)]
    patches = embedder.embed_patches(pictures)
    assert patches.shape == (2, *embedder.patches) == (2, *shape)
    assert embedder.embed_patches(pictures[1:])[0].equal(patches[1])
    read: list[torch.Tensor] = []
    network.visual.get_submodule(last).register_forward_pre_hook(lambda module, inputs: read.append(inputs[0]))
    embedder.embed_images(pictures[:1])
    given = read[0].flatten(2).transpose(1, 2) if last == "layer4" else read[0][:, 1:]
    torch.testing.assert_close(given, patches[:1], atol=1e-5, rtol=0)


def test_the_tokens_of_texts_do_not_mix_between_threads(tiny_clip: Model) -> None:
    embedder = load("embedder", "clip", model=tiny_clip)
    texts, before = ["a red bowl", "soup"] * 8, torch.get_num_threads()
    alone = {text: embedder.embed_tokens([text])[0] for text in texts}
    try:
        torch.set_num_threads(4)
        together = embedder.embed_tokens(texts)
    finally:
        torch.set_num_threads(before)
    assert all(row.equal(alone[text]) for text, row in zip(texts, together, strict=True))


def test_a_prompt_that_is_cut_can_lose_its_end_token_as_in_clip_gen(tiny_clip: Model, network: nn.Module) -> None:
    clip = load("embedder", "clip", model=tiny_clip, keep_end=False)
    short, long, other = "noodles", "word " * 30, "a dish of many words " * 9
    with pytest.warns(UserWarning, match="was cut to the 12"):
        found = clip.embed_texts([short, long, other])
    ids = open_clip.tokenize([short, long, other], 77)[:, :12]
    with torch.no_grad():
        torch.testing.assert_close(found, network.encode_text(ids, normalize=True), atol=1e-5, rtol=0)
    # The largest id left is the start token's, which has seen no word: what such a prompt says is lost.
    torch.testing.assert_close(found[1], found[2], atol=1e-5, rtol=0)


def test_ids_are_those_of_clip_gen_also_where_a_text_is_cut(golden: Callable[[str], Path]) -> None:
    folder = golden("clipgen/clip_ids")
    texts = json.loads((folder / "texts.json").read_text())
    known = load_file(folder / "io.safetensors")["tokens"]
    cut: list[str] = []
    read = OwnTexts(open_clip.SimpleTokenizer(), 77, lambda text, *_: cut.append(text), keep_end=False)
    assert read(texts).equal(known)
    assert len(cut) == 1


def test_raw_pixels_reach_the_tower_stretched_and_not_normalised(
    tiny_clip: Model, network: nn.Module, images: list[Image.Image]
) -> None:
    clip = load("embedder", "clip", model=tiny_clip, pixels="raw", batch=2)
    pixels = [torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 127.5 - 1 for image in images]
    stretched = torch.cat([nn.functional.interpolate(one, (32, 32), mode="bilinear") for one in pixels])
    with torch.no_grad():
        expected = network.encode_image(stretched, normalize=True)
    torch.testing.assert_close(clip.embed_images(images), expected, atol=1e-5, rtol=0)
    usual = load("embedder", "clip", model=tiny_clip)
    assert (usual.embed_images(images) - expected).abs().max() > 0.01


def test_a_vocabulary_of_its_own_always_keeps_the_end_token() -> None:
    with pytest.raises(T2IError, match="needs a model with CLIP's own vocabulary"):
        text_reader(
            {"architecture": {"text_cfg": {}}, "frame": [1, 2]},
            part("tokenizer", "chinese"),
            report_prompt,
            keep_end=False,
        )


def test_whole_pixels_show_all_of_a_picture_with_black_around(tiny_clip: Model) -> None:
    """As HPSv2's own code, which resizes tensors with torchvision."""
    from torchvision.transforms import functional as vision

    clip = load("embedder", "clip", model=tiny_clip, pixels="whole")
    image = Image.fromarray(torch.randint(256, (30, 50, 3), dtype=torch.uint8).numpy())
    shrunk = vision.resize(vision.to_tensor(image), [19, 32], vision.InterpolationMode.BICUBIC, antialias=True)
    framed = vision.pad(shrunk, [0, 6, 0, 7])
    expected = vision.normalize(framed, open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    torch.testing.assert_close(clip.preprocess(image), expected, atol=1e-5, rtol=0)
    assert not torch.allclose(
        clip.embed_images([image]), load("embedder", "clip", model=tiny_clip).embed_images([image])
    )
