from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import default_collate

import t2i_brivl
from t2i_brivl.contrast import Contrast
from t2i_brivl.model import Brivl
from t2i_brivl.recipe import Objective
from t2icli import load
from t2icli.data.dataset import PreparedDataset
from t2icli.ground.errors import T2IError
from t2icli.registry import configure, discovery
from t2icli.testing import check_embedder, check_ranker, check_recipe, toys

SMALL = {"width": 16, "image_size": 32, "features": 32, "ngrams": {"buckets": 256, "width": 16}}
COLOURS = ["red", "green", "blue", "yellow", "purple", "black", "white", "orange"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    """Eight plain pictures, each called by its colour in two languages."""
    captions = {colour: (f"a {colour} plate", f"{colour} 色的盘子") for colour in COLOURS}
    return toys.prepared(tmp_path_factory.mktemp("colours") / "prepared", captions, size=(40, 36), val=0.0)


def small(objective: Objective) -> Contrast:
    torch.manual_seed(0)
    return Contrast(Brivl(configure.configure("recipe", "brivl", {"shape": SMALL})[1].shape), objective)


def batch_of(data: PreparedDataset, rows: range) -> dict:
    recipe = load("recipe", "brivl", shape=SMALL)
    samples = recipe.dataset(data, "val", {})
    return default_collate([samples[i] for i in rows])


def test_the_recipe_keeps_its_promises(data: PreparedDataset, tmp_path: Path) -> None:
    check_recipe(t2i_brivl.t2i_recipes()[0], data, tmp_path / "model", shape=SMALL)
    check_embedder(t2i_brivl.t2i_embedders()[0], model=str(tmp_path / "model"))
    check_ranker(discovery.find("ranker", "brivl"), model=str(tmp_path / "model"))


def test_the_tokens_of_a_text_are_what_its_tower_averages(data: PreparedDataset, tmp_path: Path) -> None:
    load("recipe", "brivl", shape=SMALL).save(tmp_path / "model")
    embedder = load("embedder", "brivl", model=str(tmp_path / "model"), precision="fp32")
    tokens = embedder.embed_tokens(["红 plate", "盘"])
    assert tokens.shape == (2, 96, 16)
    assert tokens.ne(0).any(-1).sum(1).tolist() == [3, 1], "two words and both together; a character"
    tower = embedder.model.text
    means = torch.stack([tokens[0, :3].mean(0), tokens[1, 0]])
    with torch.inference_mode():
        read = tower.fc2(tower.fc1(tower.norm(means)).relu())
    again = torch.nn.functional.normalize(read, dim=-1)
    torch.testing.assert_close(embedder.embed_texts(["红 plate", "盘"]), again, atol=1e-5, rtol=0)


def test_a_bert_tower_is_trained_with_its_vocabulary(
    data: PreparedDataset, golden: Callable[[str], Path], tmp_path: Path
) -> None:
    bert = {"vocabulary": 284, "width": 16, "layers": 1, "heads": 2, "inner": 32, "positions": 32, "length": 16}
    shape = {**SMALL, "text": "bert", "bert": {**bert, "top_layers": 1, "top_heads": 2}, "boxes": 3, "top_layers": 1}
    options = {"shape": shape, "vocabulary": str(golden("brivl/vocab.txt"))}
    check_recipe(t2i_brivl.t2i_recipes()[0], data, tmp_path / "model", **options)
    check_ranker(discovery.find("ranker", "brivl"), model=str(tmp_path / "model"))
    tokens = load("embedder", "brivl", model=str(tmp_path / "model")).embed_tokens(["红色的盘子", "红"])
    assert tokens.shape == (2, 16, 16) and tokens.ne(0).any(-1).sum(1).tolist() == [7, 3], "its ends are tokens too"
    with pytest.raises(T2IError, match="needs a vocabulary"):
        load("recipe", "brivl", shape=shape)


def test_without_negatives_from_the_batch_the_loss_is_the_originals(data: PreparedDataset) -> None:
    contrast = small(Objective(queue=12, in_batch=False, duplicates="wrong")).eval()
    batch = batch_of(data, range(4))
    loss, _ = contrast(batch, 0)
    inputs = [batch[name] for name in ("pixels", "boxes", "n_boxes", "ids")]
    (images, texts), (image_keys, text_keys) = contrast.towers(*inputs), contrast.slow(*inputs)

    def info_nce(queries: torch.Tensor, keys: torch.Tensor, queue: torch.Tensor) -> torch.Tensor:
        right = (queries * keys).sum(1, keepdim=True)
        return F.cross_entropy(torch.cat([right, queries @ queue.T], 1) / 0.07, torch.zeros(4, dtype=torch.int64))

    expected = info_nce(texts, image_keys, contrast.image_queue) + info_nce(images, text_keys, contrast.text_queue)
    torch.testing.assert_close(loss, expected)


def test_after_a_step_the_slow_towers_follow_and_the_queue_goes_round(data: PreparedDataset) -> None:
    contrast = small(Objective(queue=6, momentum=0.9)).train()
    before = contrast.slow.text.fc1.weight.clone()
    with torch.no_grad():
        contrast.towers.text.fc1.weight += 1.0
    for step in range(2):
        contrast(batch_of(data, range(step * 4, step * 4 + 4)), step)
        contrast.follow()
    torch.testing.assert_close(contrast.slow.text.fc1.weight, before + 1.0 - 0.9**2)
    who = batch_of(data, range(8))["who"]
    assert contrast.queued.tolist() == [*who[6:8].tolist(), *who[2:6].tolist()]
    assert int(contrast.next) == 2


def test_a_sentence_met_again_is_no_wrong_answer(data: PreparedDataset) -> None:
    batch = batch_of(data, range(1))
    twice = {name: torch.cat([value, value]) for name, value in batch.items()}
    ignoring, counting = small(Objective(queue=0)).eval(), small(Objective(queue=0, duplicates="wrong")).eval()
    assert ignoring(twice, 0)[0].item() == pytest.approx(0, abs=1e-6)
    assert counting(twice, 0)[0].item() == pytest.approx(2 * math.log(2), abs=1e-5)


def test_a_small_brivl_learns_what_colours_are_called(data: PreparedDataset) -> None:
    contrast = small(Objective(queue=16, momentum=0.9)).train()
    optimizer = torch.optim.AdamW(contrast.towers.parameters(), lr=3e-3)
    batch = batch_of(data, range(8))
    for step in range(25):
        loss, figures = contrast(batch, step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        contrast.follow()
    assert float(figures["text_found"]) == 1.0


def test_training_can_go_on_from_an_imported_model_with_its_lower_part_frozen(
    imported_text, data: PreparedDataset, tmp_path: Path
) -> None:
    recipe = load("recipe", "brivl", start=str(imported_text.folder), cnn_from=3, bert_from=1)
    trained = {name for name, p in recipe.model.towers.named_parameters() if p.requires_grad}
    assert "image.backbone.network.blocks.2.0.conv_pwl.weight" not in trained
    assert "image.backbone.network.blocks.3.0.conv_pwl.weight" in trained
    assert not any(name.startswith(("text.backbone.embeddings", "text.backbone.encoder.layer.0")) for name in trained)
    recipe.save(tmp_path / "model")
    again = load("embedder", "brivl", model=str(tmp_path / "model"))
    before = load("embedder", "brivl", model=imported_text)
    torch.testing.assert_close(again.embed_texts(["红烧"]), before.embed_texts(["红烧"]))


def test_a_step_can_be_compiled(data: PreparedDataset) -> None:
    batch, losses = batch_of(data, range(8)), []
    for is_compiled in (False, True):
        model = small(Objective(queue=16))
        loss, _ = (torch.compile(model, backend="aot_eager") if is_compiled else model)(batch, 0)
        loss.backward()
        losses += [loss.item(), model.towers.image.fc2.weight.grad.norm().item()]
    assert losses[:2] == pytest.approx(losses[2:])
