from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from t2icli import load
from t2icli.backends.dalle import convert
from t2icli.backends.dalle.model import DallE
from t2icli.contract.entries import Upstream
from t2icli.ground.errors import T2IError
from t2icli.store import models


def imported(file: Path, folder: Path, **parts: Path | tuple[Path, ...]) -> models.Model:
    folder.mkdir()
    given = {name: files if isinstance(files, tuple) else (files,) for name, files in parts.items()}
    convert.convert(Upstream((file,), given), folder)
    return models.open_model(folder)


@pytest.fixture
def changed(golden, tmp_path: Path):
    """A golden file with something about it changed."""

    def change(**entries: object) -> Path:
        data = torch.load(golden("dalle/stable_shared/dalle.pt"), weights_only=True)
        data.update(entries)
        torch.save(data, tmp_path / "dalle.pt")
        return tmp_path / "dalle.pt"

    return change


@pytest.mark.filterwarnings("ignore:no known tokenizer")
@pytest.mark.parametrize("case", ["mixed_attn_rotary_shift", "text2img_fork_dvae"])
def test_a_file_becomes_a_model_with_its_codec_inside(golden, tmp_path: Path, case: str) -> None:
    model = imported(golden(f"dalle/{case}/dalle.pt"), tmp_path / "model")
    assert (model.card.kind, model.card.backend) == ("generator", "dalle")
    assert model.part("codec").card.backend == "dvae"
    assert load("codec", str(tmp_path / "model/codec")).codes == model.card.config["codes"]


@pytest.mark.filterwarnings("ignore:no known tokenizer", "ignore:.*foreign classes")
@pytest.mark.parametrize("files", [["model.yaml"], ["model.yaml", "last.ckpt"]], ids=["shape", "shape and weights"])
def test_a_vqgan_s_weights_are_those_inside_the_file(golden, tmp_path: Path, files: list[str]) -> None:
    folder = golden("dalle/vqgan_full_axial")
    model = imported(folder / "dalle.pt", tmp_path / "model", codec=tuple(folder / file for file in files))
    codec = load("codec", str(tmp_path / "model/codec"), precision="fp32")
    expected = np.load(folder / "expected.npz")
    painted = codec.decode(torch.from_numpy(expected["greedy_tokens"][:1]))
    assert model.part("codec").card.backend == "vqgan"
    torch.testing.assert_close(painted, torch.from_numpy(expected["decoded_greedy"][:1]).float(), atol=2e-3, rtol=0)


@pytest.mark.filterwarnings("ignore:no known tokenizer")
def test_a_wrong_codec_is_refused_and_both_are_named(golden, tmp_path: Path) -> None:
    other = golden("dalle/dvae_resblocks/vae.pt")
    with pytest.raises(T2IError, match=r"'dalle.pt' draws 8 x 8 of 48 codes, but codec 'dvae' has 4 x 4 of 48"):
        imported(golden("dalle/stable_shared/dalle.pt"), tmp_path / "model", codec=other)


def test_a_vqgan_that_was_not_given_is_asked_for(golden, tmp_path: Path) -> None:
    with pytest.raises(T2IError, match="the model's codec is missing"):
        imported(golden("dalle/vqgan_full_axial/dalle.pt"), tmp_path / "model")


def test_missing_and_left_over_weights_are_listed(changed, golden, tmp_path: Path) -> None:
    tensors = torch.load(golden("dalle/stable_shared/dalle.pt"), weights_only=True)["weights"]
    del tensors["to_logits.0.bias"]
    with pytest.raises(T2IError) as error:
        imported(changed(weights={**tensors, "extra.weight": torch.zeros(1)}), tmp_path / "model")
    assert "missing: norm.bias" in error.value.hint
    assert "left over: extra.weight" in error.value.hint


def test_a_file_that_belongs_to_deepspeed_is_refused_with_advice(changed, tmp_path: Path) -> None:
    with pytest.raises(T2IError, match="belongs to a DeepSpeed checkpoint"):
        imported(changed(weights="the weights are in the folder beside"), tmp_path / "model")


def test_sparse_attention_is_refused_by_name(changed, golden, tmp_path: Path) -> None:
    hparams = json.loads(golden("dalle/stable_shared/meta.json").read_text())["hparams"]
    with pytest.raises(T2IError, match="sparse"):
        imported(changed(hparams={**hparams, "attn_types": ["sparse"]}), tmp_path / "model")


@pytest.mark.parametrize("kind", ["OpenAIDiscreteVAE", "MyVAE"])
def test_a_codec_of_an_unknown_kind_is_refused_by_name(changed, tmp_path: Path, kind: str) -> None:
    with pytest.raises(T2IError, match=f"made with {kind}"):
        imported(changed(vae_class_name=kind), tmp_path / "model")


@pytest.mark.parametrize(
    ("ids", "tokenizer"), [(21128, {"tokenizer": "chinese"}), (49408, {"tokenizer": "clip"})], ids=["chinese", "clip"]
)
def test_the_number_of_ids_tells_the_tokenizer(ids: int, tokenizer: dict[str, str], tmp_path: Path) -> None:
    config = convert.Config(text_vocabulary=ids, text_length=4, codes=8, grid=(2, 2))
    assert convert.tokenizer(Upstream((), {}), config, tmp_path) == tokenizer


def test_names_of_releases_with_fewer_wrappers_are_understood() -> None:
    for fns in ("fn.", "fn.fn.", "fn.fn.fn.fn.fn."):
        name = f"transformer.layers.layers.3.0.{fns}to_qkv.weight"
        assert convert.renamed(name) == "layers.3.attention.inner.qkv.weight"
    name = "transformer.layers.blocks.11.g.net.fn.fn.net.3.bias"
    assert convert.renamed(name) == "layers.11.feed_forward.inner.narrow.bias"


@pytest.mark.parametrize(
    ("keys", "hparams"),
    [
        ("keys_dalle_default_flags_own_vae", {"num_text_tokens": 49408, "text_seq_len": 256, "dim": 512, "depth": 2}),
        (
            "keys_dalle_taming1024_chinese_depth8_text32",
            {"num_text_tokens": 21128, "text_seq_len": 32, "dim": 512, "depth": 8},
        ),
    ],
)
def test_full_size_files_fit_name_by_name(golden, keys: str, hparams: dict[str, int]) -> None:
    shapes = json.loads(golden(f"dalle/{keys}.json").read_text())
    with torch.device("meta"):
        theirs = {name: torch.empty(shape) for name, shape in shapes.items()}
        config = convert.shape(hparams, theirs, Path("dalle.pt"))
        model = DallE(config)
    ours = {name: tensor.shape for name, tensor in convert.network(theirs, config).items()}
    assert ours == {name: tensor.shape for name, tensor in model.state_dict().items()}
