from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from t2i_clipcap import RecipeSettings, gpt2
from t2i_clipcap.caption import ClipCapCaptioner
from t2i_clipcap.model import ClipCap
from t2i_clipcap.train import ClipCapRecipe, EmbeddingTextPairs, shape_of
from t2i_clipcap.words import open_words
from t2icli import load
from t2icli.data import shards
from t2icli.data.dataset import PreparedDataset, SourceRow
from t2icli.ground.errors import T2IError
from t2icli.registry import discovery
from t2icli.testing import check_recipe, toys

TINY = {"embedder": "fake", "prefix": 2, "given": 2, "width": 32, "layers": 1, "heads": 2, "positions": 32}
TINY_MAPPER = {"mapper_layers": 1, "mapper_heads": 2, "mapper_hidden": 32}


@pytest.fixture
def data(tmp_path: Path) -> PreparedDataset:
    captions = {"red": "一个红色的圆形", "green": "绿色方形", "blue": "蓝"}
    rows = {colour: (caption, "一个" + caption) for colour, caption in captions.items()}
    return toys.prepared(tmp_path / "data", rows).split("all")


def test_captions_in_another_language_are_left_out_on_request(few_words: Path, tmp_path: Path) -> None:
    image = tmp_path / "red.png"
    Image.new("RGB", (20, 24), "red").save(image)
    data = shards.write(tmp_path / "data", [SourceRow("red", image, ("红色方形", "a red square"))]).split("all")
    words = open_words(few_words)
    assert len(EmbeddingTextPairs(data, torch.zeros(1, 4), words, 40)) == 2
    assert len(EmbeddingTextPairs(data, torch.zeros(1, 4), words, 40, language="zh")) == 1
    with pytest.raises(T2IError, match="no captions in the language 'th'"):
        EmbeddingTextPairs(data, torch.zeros(1, 4), words, 40, language="th")


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("mapper", ["mlp", "bert", "transformer"])
@pytest.mark.parametrize("tune", [True, False])
def test_clipcap_keeps_a_recipes_promises(
    data: PreparedDataset, few_words: Path, tmp_path: Path, mapper: str, tune: bool
) -> None:
    options = {**TINY, **TINY_MAPPER, "mapper": mapper, "tune": tune, "vocabulary": few_words}
    check_recipe(discovery.find("recipe", "clipcap"), data, tmp_path / "saved", **options)
    captioner = load("captioner", "clipcap", model=tmp_path / "saved", embedder="fake")
    assert captioner.settings.max_tokens == 31  # as many as its 32 positions have room for
    assert len(captioner.caption([data.image(0)], 2, seed=0)[0]) == 2


@pytest.mark.usefixtures("fake")
def test_patches_are_captioned_and_candidates_are_judged_by_the_embedding(
    data: PreparedDataset, few_words: Path, tmp_path: Path
) -> None:
    options = {**TINY, "embedder": "fake-patches", "mapper": "patches", "vocabulary": few_words, "max_tokens": 20}
    check_recipe(discovery.find("recipe", "clipcap"), data, tmp_path / "saved", **options)
    pictures = [data.image(i) for i in range(3)]

    def captioner(**more: Any) -> ClipCapCaptioner:
        how = {"model": tmp_path / "saved", "embedder": "fake-patches", "temperature": 2.0, "top_p": 1.0}
        return load("captioner", "clipcap", **how, **more)

    drawn = captioner().caption(pictures, 8, seed=0)
    assert captioner(batch=1).caption(pictures, 8, seed=0) == drawn
    assert len({tuple(captions) for captions in drawn}) == 3 and len(set(drawn[0])) > 1
    embedder, chosen = captioner().embedder, captioner(candidates=8).caption(pictures, 1, seed=0)
    for picture, captions, best in zip(pictures, drawn, chosen, strict=True):
        scores = embedder.embed_texts(captions) @ embedder.embed_images([picture])[0]
        assert best == [captions[int(scores.argmax())]]


@pytest.mark.usefixtures("fake")
def test_a_caption_follows_the_patches_it_was_trained_on(few_words: Path, tmp_path: Path) -> None:
    """Only the patches tell these pictures apart by colour: the embedding is random."""
    colours = {"red": "红", "green": "绿", "blue": "蓝"}
    data = toys.prepared(tmp_path / "data", {colour: (caption,) for colour, caption in colours.items()}).split("all")
    options = {**TINY, "embedder": "fake-patches", "mapper": "patches", "vocabulary": few_words, "max_tokens": 4}
    recipe = load("recipe", "clipcap", **options, dropout=0.0)
    encoded = {"patches": recipe.embedder.embed_patches([data.image(i) for i in range(3)])}
    samples = recipe.dataset(data, "train", encoded)
    batch = torch.utils.data.default_collate([samples[i] for i in range(3)])
    optimizer = torch.optim.Adam(recipe.model.parameters(), 1e-2)
    for step in range(60):
        optimizer.zero_grad()
        recipe.loss(batch, step)[0].backward()
        optimizer.step()
    recipe.save(tmp_path / "saved")
    captioner = load("captioner", "clipcap", model=tmp_path / "saved", embedder="fake-patches", temperature=0)
    assert [texts[0] for texts in captioner.caption([data.image(i) for i in range(3)], 1, seed=0)] == list(
        colours.values()
    )


@pytest.mark.usefixtures("fake")
def test_what_does_not_fit_the_patches_is_refused(data: PreparedDataset, few_words: Path, tmp_path: Path) -> None:
    options = {**TINY, "mapper": "patches", "vocabulary": few_words, "max_tokens": 20}
    with pytest.raises(T2IError, match="needs features of each patch, but Embedder gives none"):
        load("recipe", "clipcap", **options)
    roomy = load("recipe", "clipcap", **{**options, "embedder": "fake-patches", "max_tokens": 40})
    assert roomy.shape.positions == 43, "a GPT-2 from scratch gets as many as it needs"
    small = gpt2.Pretrained(tmp_path, positions=32, width=32, layers=1, heads=2)
    with pytest.raises(T2IError, match="4 patches and a caption of 40 tokens are more than the GPT-2's 32"):
        shape_of(roomy.settings, small, 20, roomy.embedder)
    recipe = load("recipe", "clipcap", **{**options, "embedder": "fake-patches"})
    recipe.save(tmp_path / "saved")
    with pytest.raises(T2IError, match="needs features of each patch"):
        load("captioner", "clipcap", model=tmp_path / "saved", embedder="fake")


def losses_of(recipe: ClipCapRecipe, tiny: Any, run: dict[str, Any]) -> list[float]:
    io = tiny.io
    length = io["data/mask"].sum(1) - tiny.sizes["prefix_len"]
    loop = RecipeSettings().loop
    optimizer = torch.optim.AdamW(
        [p for p in recipe.model.parameters() if p.requires_grad], betas=loop.betas, eps=loop.eps, weight_decay=0.0
    )
    losses = []
    for step, lr in enumerate(run["lrs"]):
        rows = torch.tensor([2 * step, 2 * step + 1]) % len(length)
        tokens = io["data/caption_ids"][rows]
        batch = {"embedding": io["data/clip_embeds"][rows], "tokens": tokens, "length": length[rows]}
        optimizer.param_groups[0]["lr"] = lr
        loss, _ = recipe.loss(batch, step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("which", [0, 1])
def test_four_steps_of_training_lose_what_the_original_lost(clipcap: ClipCap, tiny: Any, which: int) -> None:
    known = tiny.json("train_steps.json")
    run = known["runs"][which]
    recipe = ClipCapRecipe.__new__(ClipCapRecipe)
    recipe.settings = RecipeSettings(padding_in_loss=True, tune=run["finetune_gpt2"])
    recipe.model, recipe.shape = clipcap, clipcap.shape
    for part in clipcap.language_model():
        part.requires_grad_(run["finetune_gpt2"])
    # Relative: Adam makes full steps of gradients that are zero but for rounding, as those of key biases are.
    assert losses_of(recipe, tiny, run) == pytest.approx(run["losses"], rel=1e-3)
    assert clipcap.decoder.norm.weight[:4].tolist() == pytest.approx(run["ln_f_weight0:4_after"], abs=1e-4)


@pytest.mark.parametrize("sharpness", [10.0, 14.0, 18.0])
@pytest.mark.parametrize("padding", [True, False])
def test_small_losses_are_the_originals_to_1e_4(clipcap: ClipCap, sharpness: float, padding: bool) -> None:
    torch.manual_seed(0)
    prefix, tokens = clipcap.shape.mapper.prefix, torch.randint(3000, (4, 16))
    logits = torch.randn(4, prefix + 16, 3000)
    of_tokens = logits[:, prefix - 1 : -1].scatter_(2, tokens[..., None], sharpness)
    recipe = ClipCapRecipe.__new__(ClipCapRecipe)
    recipe.model, recipe.shape = (lambda *_: logits), clipcap.shape  # type: ignore[assignment]
    recipe.settings = RecipeSettings(padding_in_loss=padding)
    batch = {"embedding": torch.zeros(4, 8), "tokens": tokens, "length": torch.full((4,), 16)}
    original = F.cross_entropy(of_tokens.flatten(0, 1), tokens.flatten())
    assert recipe.loss(batch, 0)[0].item() == pytest.approx(original.item(), rel=1e-4)


def test_padding_has_no_part_in_the_loss_unless_asked(clipcap: ClipCap, tiny: Any) -> None:
    recipe = ClipCapRecipe.__new__(ClipCapRecipe)
    recipe.model, recipe.shape, recipe.settings = clipcap, clipcap.shape, RecipeSettings()
    tokens = tiny.io["data/caption_ids"][:2].clone()
    batch = {"embedding": tiny.io["data/clip_embeds"][:2], "tokens": tokens, "length": torch.tensor([5, 7])}
    before, figures = recipe.loss(batch, 0)
    assert figures["per_token"] == before
    tokens[0, 5:] = 777
    tokens[1, 7:] = 888
    assert recipe.loss(batch, 0)[0] == before


def test_a_caption_that_is_too_long_is_cut(few_words: Path, data: PreparedDataset) -> None:
    samples = EmbeddingTextPairs(data, torch.zeros(3, 4), open_words(few_words), 4)
    assert len(samples) == 6
    assert {tuple(samples[i]["tokens"].shape) for i in range(6)} == {(4,)}
    assert samples[4]["length"] == 2


@pytest.mark.usefixtures("fake")
def test_missing_gpt2_weights_are_named_with_what_to_get(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(T2IError, match="needs a GPT-2 to fine-tune") as refused:
        load("recipe", "clipcap", embedder="fake")
    assert "uer/gpt2-chinese-cluecorpussmall" in (refused.value.hint or "")
    (tmp_path / "gpt2").mkdir()
    with pytest.raises(T2IError, match="there are no GPT-2 weights in"):
        load("recipe", "clipcap", embedder="fake", gpt2=str(tmp_path / "gpt2"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(T2IError, match="'uer/nothing' is not installed and there is no network"):
        load("recipe", "clipcap", embedder="fake", gpt2="uer/nothing")


@pytest.mark.usefixtures("fake")
def test_a_hugging_face_gpt2_computes_the_same_here(tmp_path: Path, few_words: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(vocab_size=18, n_positions=32, n_embd=32, n_layer=2, n_head=4)
    theirs = transformers.GPT2LMHeadModel(config).eval()
    theirs.save_pretrained(tmp_path / "gpt2")
    (tmp_path / "gpt2/vocab.txt").write_text(few_words.read_text(encoding="utf-8"), encoding="utf-8")
    words = len(json.loads(open_words(few_words).tokenizer.to_str())["model"]["vocab"])
    assert words == 18
    recipe = load("recipe", "clipcap", embedder="fake", gpt2=str(tmp_path / "gpt2"), prefix=2)
    model, tokens = recipe.model.eval(), torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        ours = model.head(model.decoder(model.placed(model.words(tokens))))
        torch.testing.assert_close(ours, theirs(tokens).logits, atol=1e-5, rtol=0)
