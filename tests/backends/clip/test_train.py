from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing as processes
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from t2icli import load
from t2icli.backends import clip
from t2icli.backends.clip.convert import convert
from t2icli.backends.clip.train import ClipRecipe
from t2icli.contract.entries import Upstream
from t2icli.data.dataset import PreparedDataset
from t2icli.ground.errors import T2IError
from t2icli.registry import discovery
from t2icli.testing import check_embedder, check_ranker, check_recipe, toys

TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1},
}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz", *"红黄蓝绿黑白橙紫色的盘子面"]


@pytest.fixture
def architecture(tmp_path: Path) -> str:
    path = tmp_path / "tiny.json"
    path.write_text(json.dumps(TINY))
    return str(path)


@pytest.fixture
def vocabulary(tmp_path: Path) -> Path:
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(WORDS), encoding="utf-8")
    return path


@pytest.fixture
def data(tmp_path: Path) -> PreparedDataset:
    names = {"red": "红", "yellow": "黄", "blue": "蓝", "green": "绿"}
    captions = {colour: (f"{name}色的盘子",) for colour, name in names.items()}
    return toys.prepared(tmp_path / "prepared", captions, size=(40, 36), val=0.0)


def test_the_recipe_keeps_its_promises(architecture: str, data: PreparedDataset, tmp_path: Path) -> None:
    check_recipe(clip.t2i_recipes()[0], data, tmp_path / "model", architecture=architecture, context=20)
    check_embedder(clip.t2i_embedders()[0], model=str(tmp_path / "model"))
    check_ranker(discovery.find("ranker", "clip"), model=str(tmp_path / "model"))


def test_a_chinese_vocabulary_travels_with_the_model(
    architecture: str, vocabulary: Path, data: PreparedDataset, tmp_path: Path
) -> None:
    (tmp_path / "words").mkdir()
    discovery.find("tokenizer", "chinese").convert(Upstream((vocabulary,), {}), tmp_path / "words")
    tokenizer = {"name": "chinese", "model": str(tmp_path / "words")}
    check_recipe(
        clip.t2i_recipes()[0], data, tmp_path / "model", architecture=architecture, context=20, tokenizer=tokenizer
    )
    embedder = load("embedder", "clip", model=str(tmp_path / "model"))
    start, end = len(WORDS), len(WORDS) + 1
    ids = embedder.texts(["红色面"])[0].tolist()
    assert ids[0] == start and ids[4] == end and set(ids[5:]) == {0}
    again = load("recipe", "clip", start=str(tmp_path / "model"))
    again.save(tmp_path / "again")
    check_ranker(discovery.find("ranker", "clip"), model=str(tmp_path / "again"))


def test_a_tokenizer_that_cannot_travel_is_refused(architecture: str, vocabulary: Path) -> None:
    with pytest.raises(T2IError, match="must be a model"):
        load("recipe", "clip", architecture=architecture, tokenizer={"name": "chinese", "vocabulary": str(vocabulary)})


def test_text_is_pooled_at_its_end_and_not_at_the_largest_id(
    architecture: str, vocabulary: Path, tmp_path: Path
) -> None:
    """text2img trained CLIP with BERT's ids, where the largest id is some character and the end token is 102."""
    shape = {**TINY, "text_cfg": {**TINY["text_cfg"], "vocab_size": len(WORDS)}}
    state = clip_state(shape)
    torch.save({"epoch": 30, "name": "RN50", "state_dict": state}, tmp_path / "epoch_30.pt")
    convert(Upstream((tmp_path / "epoch_30.pt",), {"tokenizer": (vocabulary,)}), tmp_path / "model")
    as_trained, at_end = (
        load("embedder", "clip", model=str(tmp_path / "model"), pool=pool) for pool in ("model", "eos")
    )
    ids = as_trained.texts(["红面a"])
    assert ids[0, :5].tolist() == [2, WORDS.index("红"), WORDS.index("面"), WORDS.index("a"), 3]
    hidden = hidden_states(as_trained.model, ids)[0]
    for embedder, place in ((as_trained, 2), (at_end, 4)):
        expected = nn.functional.normalize(hidden[place] @ embedder.model.text_projection, dim=-1)
        torch.testing.assert_close(embedder.embed_texts(["红面a"])[0], expected)


def test_another_vocabulary_must_be_given_at_import(tmp_path: Path) -> None:
    state = clip_state({**TINY, "text_cfg": {**TINY["text_cfg"], "vocab_size": 21}})
    torch.save({"state_dict": state}, tmp_path / "epoch_30.pt")
    with pytest.raises(T2IError, match="not trained with CLIP's own vocabulary"):
        convert(Upstream((tmp_path / "epoch_30.pt",), {}), tmp_path / "model")


def clip_state(shape: dict[str, Any]) -> dict[str, Tensor]:
    from t2icli.backends.clip.model import build

    torch.manual_seed(0)
    return build(shape).state_dict()


def hidden_states(network: nn.Module, ids: Tensor) -> Tensor:
    x = network.token_embedding(ids) + network.positional_embedding
    return network.ln_final(network.transformer(x, attn_mask=network.attn_mask))


def recipe(architecture: str, chunk: int = 0) -> ClipRecipe:
    torch.manual_seed(0)
    return ClipRecipe(clip.RecipeSettings(architecture=architecture, chunk=chunk))


def pairs(n: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    text = torch.randint(1, 49406, (n, 16), generator=generator)
    text[:, -1] = 49407
    return {"image": torch.randn(n, 3, 32, 32, generator=generator), "text": text}


def gradients(made: ClipRecipe, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    loss, _ = made.loss(batch, 0)
    loss.backward()
    return {"loss": loss.detach(), **{name: p.grad for name, p in made.model.named_parameters()}}


def in_double(made: ClipRecipe, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Gradients in which the order of sums, which processors choose for themselves, leaves no trace."""
    made.model.double()
    return gradients(made, {**batch, "image": batch["image"].double()})


def test_in_chunks_the_loss_and_its_gradient_stay_those_of_the_whole_batch(architecture: str) -> None:
    whole, chunked = in_double(recipe(architecture), pairs(7)), in_double(recipe(architecture, chunk=3), pairs(7))
    for name, value in whole.items():
        torch.testing.assert_close(chunked[name], value, atol=1e-6, rtol=1e-4, msg=name)


def test_accumulation_that_would_cut_the_contrast_is_refused(architecture: str) -> None:
    with pytest.raises(T2IError, match="grad_accum") as error:
        load("recipe", "clip", architecture=architecture, loop={"grad_accum": 4})
    assert "chunk=16" in str(error.value.hint)


def test_two_processes_have_the_loss_and_gradient_of_one(architecture: str, tmp_path: Path) -> None:
    # Forked, for importing torch and open_clip twice more takes longer than all that is tested here.
    processes.start_processes(one_of_two, (architecture, str(tmp_path)), nprocs=2, start_method="fork")
    alone = gradients(recipe(architecture), pairs(6))
    for rank in range(2):
        together = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        for name, value in alone.items():
            torch.testing.assert_close(together[name], value, atol=1e-5, rtol=1e-4)


def one_of_two(rank: int, architecture: str, folder: str) -> None:
    torch.set_num_threads(1)  # the parent's other threads are not forked along, and waiting for them would never end
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    made = recipe(architecture, chunk=2)
    wrapped = DistributedDataParallel(Called(made))
    mine = {name: value[rank * 3 : rank * 3 + 3] for name, value in pairs(6).items()}
    loss = wrapped(mine)
    loss.backward()
    found = {"loss": loss.detach(), **{name: p.grad for name, p in made.model.named_parameters()}}
    torch.save(found, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


class Called(nn.Module):
    """The loss as the training loop wraps it."""

    def __init__(self, made: ClipRecipe) -> None:
        super().__init__()
        self.made, self.model = made, made.model

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return self.made.loss(batch, 0)[0]
