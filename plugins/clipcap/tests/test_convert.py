from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

import t2i_clipcap
from t2i_clipcap.caption import Config
from t2i_clipcap.convert import config_of, rename, renamed
from t2i_clipcap.model import ClipCap, ClipCapShape, MapperShape, TransformerMapper
from t2i_clipcap.words import open_words
from t2icli.contract.entries import Upstream
from t2icli.ground.errors import T2IError
from t2icli.store import models


@pytest.mark.parametrize("mapper", ["mlp", "bert"])
def test_full_size_checkpoints_of_the_original_hold_every_tensor_of_ours(
    golden: Callable[[str], Path], vocabulary: Path, mapper: str
) -> None:
    """With `.attn.bias`, `.attn.masked_bias` and `position_ids`, which newer libraries stumble over, left out."""
    table = json.loads(golden(f"clipcap/keys_{mapper}_gpt2_12layer.json").read_text())
    with torch.device("meta"):
        theirs = {name: torch.empty(entry["shape"]) for name, entry in table.items()}
    ours = renamed(theirs)
    config = config_of(ours, {}, open_words(vocabulary), Path("checkpoint.pt"))
    assert config.shape == ClipCapShape(mapper=MapperShape(name=mapper))
    with torch.device("meta"):
        expected = ClipCap(config.shape).state_dict()
    assert {name: value.shape for name, value in ours.items()} == {n: v.shape for n, v in expected.items()}


def test_only_the_mask_is_dropped_not_the_bias_that_ends_alike() -> None:
    kept = renamed(
        {"gpt.transformer.h.0.attn.c_attn.bias": torch.ones(3), "gpt.transformer.h.0.attn.bias": torch.ones(1)}
    )
    assert list(kept) == ["decoder.blocks.0.qkv.bias"]


@pytest.mark.usefixtures("fake")
def test_an_imported_checkpoint_captions(
    tiny: Any, shape_json: Path, vocabulary: Path, make_clip: Any, tmp_path: Path
) -> None:
    embedder = tmp_path / "embedder"
    files = (tiny.folder / "checkpoint.pt", vocabulary, shape_json)
    with pytest.raises(T2IError, match="the model's embedder is missing"):
        t2i_clipcap.import_files(Upstream(files, {}), tmp_path / "none")
    width = tiny.io["data/clip_embeds"].shape[1]
    other = {"embedder": (make_clip(tmp_path / "other", width + 4),)}
    with pytest.raises(T2IError, match=f"embeddings of {width} numbers, but the embedder given .* makes {width + 4}"):
        t2i_clipcap.import_files(Upstream(files, other), tmp_path / "wrong")
    make_clip(embedder, width)
    folder = tmp_path / "model"
    t2i_clipcap.import_files(Upstream(files, {"embedder": (embedder,)}), folder)
    config = models.open_model(folder).card.config
    assert config["unit"] is tiny.sizes["normalize"]


def old_gpt2(shape: ClipCapShape) -> dict[str, Tensor]:
    """A GPT-2 of random weights by its own names, with the masks that older transformers kept among them."""
    d, names = shape.width, {}
    for i in range(shape.layers):
        layer = f"transformer.h.{i}"
        sizes = {"attn.c_attn": (d, 3 * d), "attn.c_proj": (d, d), "mlp.c_fc": (d, 4 * d), "mlp.c_proj": (4 * d, d)}
        for name, size in sizes.items():
            names |= {
                f"{layer}.{name}.weight": torch.randn(size) / d**0.5,
                f"{layer}.{name}.bias": torch.zeros(size[1]),
            }
        names |= {f"{layer}.ln_{j}.{name}": torch.ones(d) for j in (1, 2) for name in ("weight", "bias")}
        mask = torch.ones(1, 1, shape.positions, shape.positions).tril()
        names |= {f"{layer}.attn.bias": mask, f"{layer}.attn.masked_bias": torch.tensor(-1e4)}
    names |= {"transformer.wte.weight": torch.randn(shape.words, d), "transformer.ln_f.weight": torch.ones(d)}
    names |= {"transformer.wpe.weight": torch.randn(shape.positions, d), "transformer.ln_f.bias": torch.zeros(d)}
    return {**names, "lm_head.weight": names["transformer.wte.weight"]}


def test_old_checkpoints_are_imported_without_their_masks_and_caption(
    fake: Any, few_words: Path, tmp_path: Path
) -> None:
    shape = ClipCapShape(MapperShape(condition=16, prefix=2), words=18, positions=32, width=64, layers=2, heads=1)
    theirs = {f"gpt2.{name}": value for name, value in old_gpt2(shape).items()}
    for layer, (size, out) in {0: (16, 64), 2: (64, 128)}.items():
        theirs[f"clip_project.model.{layer}.weight"] = torch.randn(out, size) / size**0.5
        theirs[f"clip_project.model.{layer}.bias"] = torch.zeros(out)
    theirs["clip_project.bert.embeddings.position_ids"] = torch.arange(12)[None]
    torch.save(theirs, tmp_path / "old.pt")
    (tmp_path / "shape.json").write_text('{"unit": true}')
    (tmp_path / "embedder").mkdir()
    models.seal(tmp_path / "embedder", models.Card(kind="embedder", backend="fake"))
    files = (tmp_path / "old.pt", few_words, tmp_path / "shape.json")
    part = f"embedder={tmp_path / 'embedder'}"
    fake.ok("models", "import", *files, "--as", "clipcap", "--name", "old", "--part", part)
    assert not [name for name in load_file(models.find("clipcap/old").file(models.WEIGHTS)) if "mask" in name]
    Image.new("RGB", (8, 8)).save("a.png")
    fake.ok("caption", "a.png", "-m", "clipcap/old", "-o", "max_tokens=8")


def test_a_checkpoint_without_its_tokenizer_is_refused(golden: Any, tmp_path: Path) -> None:
    with pytest.raises(T2IError, match=r"the tokenizer that 'checkpoint.pt' was trained with is missing"):
        t2i_clipcap.import_files(Upstream((golden("clipcap/mlp/checkpoint.pt"),), {}), tmp_path)


def test_a_file_that_is_no_clipcap_is_refused(vocabulary: Path) -> None:
    with pytest.raises(T2IError, match="holds no ClipCap"):
        config_of({"words.weight": torch.zeros(2, 2)}, {}, open_words(vocabulary), Path("x.pt"))


def english_mapper(tensors: dict[str, Tensor], embedding: Tensor, heads: int) -> Tensor:
    """The first ClipCap's transformer mapper, written down from its formulas."""
    d = tensors["prefix_const"].shape[1]
    x = F.linear(embedding, tensors["linear.weight"], tensors["linear.bias"]).unflatten(1, (-1, d))
    given = x.shape[1]
    x = torch.cat([x, tensors["prefix_const"].expand(len(x), -1, -1)], dim=1)
    for i in range(2):
        t = {key.removeprefix(f"transformer.layers.{i}."): value for key, value in tensors.items()}
        y = F.layer_norm(x, (d,), t["norm1.weight"], t["norm1.bias"])
        q = F.linear(y, t["attn.to_queries.weight"]).unflatten(2, (heads, -1))
        k, v = F.linear(y, t["attn.to_keys_values.weight"]).unflatten(2, (2, heads, -1)).unbind(2)
        weight = (torch.einsum("bnhd,bmhd->bnmh", q, k) * (d // heads) ** -0.5).softmax(dim=2)
        mixed = torch.einsum("bnmh,bmhd->bnhd", weight, v).flatten(2)
        x = x + F.linear(mixed, t["attn.project.weight"], t["attn.project.bias"])
        y = F.layer_norm(x, (d,), t["norm2.weight"], t["norm2.bias"])
        hidden = F.linear(y, t["mlp.fc1.weight"], t["mlp.fc1.bias"]).relu()
        x = x + F.linear(hidden, t["mlp.fc2.weight"], t["mlp.fc2.bias"])
    return x[:, given:]


def test_the_english_transformer_mapper_computes_what_its_formulas_say() -> None:
    torch.manual_seed(0)
    d, heads, shape = 16, 4, MapperShape("transformer", 6, prefix=3, given=2, layers=2, heads=4, hidden=32)
    theirs = {
        "prefix_const": torch.randn(3, d),
        "linear.weight": torch.randn(2 * d, 6),
        "linear.bias": torch.randn(2 * d),
    }
    for i in range(2):
        sizes = {
            "attn.to_queries.weight": (d, d),
            "attn.to_keys_values.weight": (2 * d, d),
            "attn.project.weight": (d, d),
        }
        sizes |= {"attn.project.bias": (d,), "mlp.fc1.weight": (32, d), "mlp.fc1.bias": (32,)}
        sizes |= {"mlp.fc2.weight": (d, 32), "mlp.fc2.bias": (d,)}
        sizes |= {f"norm{j}.{name}": (d,) for j in (1, 2) for name in ("weight", "bias")}
        theirs |= {f"transformer.layers.{i}.{name}": torch.randn(size) for name, size in sizes.items()}
    mapper = TransformerMapper(shape, d).eval()
    ours = renamed({f"clip_project.{name}": value for name, value in theirs.items()})
    mapper.load_state_dict({name.removeprefix("mapper."): value for name, value in ours.items()})
    embedding = torch.randn(5, 6)
    with torch.no_grad():
        torch.testing.assert_close(mapper(embedding), english_mapper(theirs, embedding, heads), atol=1e-4, rtol=1e-4)


def test_english_checkpoints_end_a_caption_with_a_full_stop(tmp_path: Path) -> None:
    letters = {letter: i for i, letter in enumerate(["<|endoftext|>", ".", "a", "b", "Ġ"])}
    (tmp_path / "vocab.json").write_text(json.dumps(letters))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    words = open_words(tmp_path / "vocab.json")
    assert words.encode(["ab a."])[0] == [2, 3, 4, 2, 1, 0]
    model = ClipCap(ClipCapShape(MapperShape(prefix=1, condition=4), words=5, positions=8, width=8, layers=1, heads=1))
    config = config_of(dict(model.state_dict()), {}, words, Path("coco.pt"))
    assert config == Config(model.shape, unit=False, stop=1)


def test_every_name_of_the_english_original_is_known() -> None:
    assert rename("gpt.transformer.h.11.mlp.c_proj.weight") == "decoder.blocks.11.down.weight"
    assert rename("clip_project.transformer.layers.7.mlp.fc2.bias") == "mapper.encoder.layers.7.linear2.bias"
