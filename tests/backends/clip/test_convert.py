from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from t2icli import load
from t2icli.backends.clip.convert import convert, inferred
from t2icli.backends.clip.model import build
from t2icli.contract.entries import Upstream
from t2icli.ground.errors import T2IError
from t2icli.nn.pixels import to_images
from t2icli.store import models
from t2icli.testing import FakeHub, Runner

TEXTS = ["a bowl", "面"]


def embedded(folder: Path) -> torch.Tensor:
    return load("embedder", "clip", model=str(folder)).embed_texts(TEXTS)


def test_a_checkpoint_of_open_clips_trainer_becomes_a_model(network: nn.Module, tmp_path: Path) -> None:
    state = {f"module.{name}": value for name, value in network.state_dict().items()}
    torch.save({"epoch": 3, "name": "run-quickgelu", "state_dict": state}, tmp_path / "epoch_3.pt")
    convert(Upstream((tmp_path / "epoch_3.pt",), {}), tmp_path / "model")
    with torch.no_grad():
        expected = network.encode_text(open_clip.tokenize(TEXTS, 12), normalize=True)
    torch.testing.assert_close(embedded(tmp_path / "model"), expected, atol=1e-5, rtol=0)


def test_a_bare_state_dict_is_openais_with_its_own_activation(network: nn.Module, tmp_path: Path) -> None:
    torch.save(network.state_dict(), tmp_path / "clip.pt")
    convert(Upstream((tmp_path / "clip.pt",), {}), tmp_path / "model")
    assert models.open_model(tmp_path / "model").card.config["architecture"]["quick_gelu"] is True


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")  # of making the archive
def test_openais_torchscript_file_becomes_a_model(network: nn.Module, tmp_path: Path) -> None:
    torch.jit.script(_nested(network.state_dict())).save(str(tmp_path / "ViT.pt"))
    convert(Upstream((tmp_path / "ViT.pt",), {}), tmp_path / "model")
    assert torch.isfinite(embedded(tmp_path / "model")).all()


def test_a_resnet_is_recognised_by_its_weights() -> None:
    shape = {
        "embed_dim": 64,
        "quick_gelu": False,
        "vision_cfg": {"image_size": 64, "layers": [1, 2, 1, 1], "width": 32, "patch_size": None},
        "text_cfg": {"context_length": 34, "vocab_size": 300, "width": 64, "heads": 1, "layers": 2},
    }
    assert inferred(build(shape).state_dict(), quick_gelu=False) == shape


@pytest.mark.parametrize("name", ["ViT-H-14", "ViT-g-14", "ViT-bigG-14"])
def test_large_towers_get_the_heads_they_were_trained_with(name: str) -> None:
    shape = open_clip.get_model_config(name)
    with torch.device("meta"):
        state = build(shape).state_dict()
    found = inferred(state, quick_gelu=False)
    assert {**found["vision_cfg"], "mlp_ratio": None} == {**shape["vision_cfg"], "mlp_ratio": None}
    assert found["text_cfg"] == shape["text_cfg"] and found["embed_dim"] == shape["embed_dim"]
    with torch.device("meta"):
        again = build(found)
    assert {key: value.shape for key, value in again.state_dict().items()} == {k: v.shape for k, v in state.items()}


def test_an_architecture_beside_the_checkpoint_is_believed(network: nn.Module, tmp_path: Path) -> None:
    torch.save(network.state_dict(), tmp_path / "clip.pt")
    shape = inferred(network.state_dict(), quick_gelu=False)
    config = {"model_cfg": shape, "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "interpolation": "bilinear"}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    convert(Upstream((tmp_path / "clip.pt", tmp_path / "open_clip_config.json"), {}), tmp_path / "model")
    card = models.open_model(tmp_path / "model").card
    assert card.config["architecture"] == shape
    assert card.config["preprocess"]["mean"] == [0.5, 0.5, 0.5]


def test_a_repository_of_open_clip_is_pulled(
    network: nn.Module, tmp_path: Path, t2i: Runner, fake_hub: FakeHub
) -> None:
    shape = inferred(network.state_dict(), quick_gelu=False)
    save_file(network.state_dict(), tmp_path / "weights")
    fake_hub.add(
        "laion/Tiny-CLIP",
        {
            "open_clip_config.json": json.dumps({"model_cfg": shape, "preprocess_cfg": {}}).encode(),
            "open_clip_model.safetensors": (tmp_path / "weights").read_bytes(),
            "model.safetensors": b"transformers' own",
            "vocab.txt": b"not for us",
        },
    )
    with pytest.raises(T2IError, match="is a repository") as refused:
        load("embedder", "clip", architecture="hf-hub:laion/Tiny-CLIP", pretrained="x")
    assert refused.value.hint == "run: t2i models pull hf-hub:laion/Tiny-CLIP --as clip"
    t2i.ok("models", "pull", "hf-hub:laion/Tiny-CLIP", "--as", "clip")
    with torch.no_grad():
        expected = build(shape).eval()
        expected.load_state_dict(network.state_dict())
        expected = expected.encode_text(open_clip.tokenize(TEXTS, 12), normalize=True)
    found = load("embedder", "clip", model="clip/tiny-clip").embed_texts(TEXTS)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_a_file_that_is_no_clip_is_refused_with_what_is_missing(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(2)}, tmp_path / "x.pt")
    with pytest.raises(T2IError, match="conv1"):
        convert(Upstream((tmp_path / "x.pt",), {}), tmp_path / "model")


def _nested(state: dict[str, torch.Tensor]) -> nn.Module:
    root = nn.Module()
    for name, value in state.items():
        here = root
        *path, last = name.split(".")
        for step in path:
            if not hasattr(here, step):
                here.add_module(step, nn.Module())
            here = getattr(here, step)
        here.register_buffer(last, value)
    return root


@pytest.mark.slow
def test_openais_vit_b_32_embeds_and_ranks_as_clip_gens_copy_when_asked_to(
    tmp_path: Path, golden: Callable[[str], Path]
) -> None:
    expected = load_file(golden("clipgen/clip") / "io.safetensors")
    keys = json.loads(golden("clipgen/keys_clip_vit_b32.json").read_text())
    torch.save(
        {name: recipe_weight(name, about["shape"]) for name, about in keys.items()}, tmp_path / "clip_vit_b32.pt"
    )
    convert(Upstream((tmp_path / "clip_vit_b32.pt",), {}), tmp_path / "model")
    as_theirs = load("ranker", "clip", model=str(tmp_path / "model"), pixels="raw", keep_end=False)
    texts = json.loads((golden("clipgen/clip") / "texts.json").read_text())
    with pytest.warns(UserWarning, match="was cut to the 77"):
        found = as_theirs.embedder.embed_texts(texts)
    torch.testing.assert_close(found, expected["text_embed_normalised"], atol=1e-5, rtol=0)
    pictures = to_images(expected["x"] / 2 + 0.5)
    torch.testing.assert_close(
        as_theirs.embedder.embed_images(pictures), expected["image_embed_normalised"], atol=1e-5, rtol=0
    )
    scores = torch.tensor(as_theirs.score(texts[0], pictures))
    torch.testing.assert_close(scores, expected["sim_text0"], atol=1e-5, rtol=0)
    assert scores.argsort(descending=True).equal(expected["order_text0"])


def recipe_weight(name: str, shape: list[int]) -> torch.Tensor:
    """The weights the golden set was made with: see its README."""
    if name == "logit_scale":
        return torch.tensor(np.log(1 / 0.07), dtype=torch.float32)
    a = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode()))).standard_normal(shape)
    if name.endswith(("embedding.weight", "positional_embedding", "class_embedding")):
        a = 0.5 * a
    elif len(shape) >= 2:
        a = a / np.sqrt(np.prod(shape[1:]))
    elif name.endswith("weight"):
        a = 1 + 0.1 * a
    else:
        a = 0.02 * a
    return torch.from_numpy(a.astype(np.float32))
