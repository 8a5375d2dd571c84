from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from safetensors.torch import save_file

import t2i_clipgen
from t2i_clipgen.convert import prior_tensors
from t2i_clipgen.model import Prior, PriorShape
from t2i_clipgen.vqgan import convert as vqgan_convert
from t2icli import load
from t2icli.contract.entries import Upstream
from t2icli.ground.errors import T2IError
from t2icli.nn import weights
from t2icli.nn.vqgan import Vqgan
from t2icli.store import models


def keys(golden: Any, name: str) -> dict[str, torch.Size]:
    table = json.loads(golden(f"clipgen/keys_{name}.json").read_text())
    return {key: torch.Size(entry["shape"]) for key, entry in table.items()}


@pytest.mark.parametrize(("name", "sizes"), [("gpt2_medium", {}), ("gpt2_large", {"width": 1280, "layers": 36})])
def test_full_size_priors_hold_every_tensor_of_the_originals_checkpoints(
    golden: Any, name: str, sizes: dict[str, int]
) -> None:
    shape = PriorShape(**sizes, heads=sizes.get("width", 1024) // 64)
    with torch.device("meta"):
        ours = {key: value.shape for key, value in Prior(shape).state_dict().items()}
        theirs = {key: torch.empty(size) for key, size in keys(golden, name).items()}
    assert {key: value.shape for key, value in prior_tensors(theirs).items()} == ours


def test_the_released_vqgan_has_the_default_shape(golden: Any) -> None:
    with torch.device("meta"):
        theirs = {key: torch.empty(size) for key, size in keys(golden, "vqgan").items()}
        kept = vqgan_convert.without_discriminator(theirs)
        ours = Vqgan(vqgan_convert.CodecShape().network).state_dict()
        theirs = vqgan_convert.renamed(kept, vqgan_convert.CodecShape())
    assert {key: value.shape for key, value in theirs.items()} == {key: value.shape for key, value in ours.items()}
    assert vqgan_convert.shape_of(kept, {}, Path("vqgan_coco.pt")) == vqgan_convert.CodecShape()


def test_a_model_folder_with_the_originals_names_is_read_as_one_with_ours(
    codec_file: Path, tiny: Any, tmp_path: Path
) -> None:
    tensors, shape = torch.load(codec_file, weights_only=True)["model"], tiny.codec_shape
    images, codes = torch.rand(2, 3, shape.size, shape.size), []
    for name, kept in (("theirs", tensors), ("ours", vqgan_convert.renamed(tensors, shape))):
        (tmp_path / name).mkdir()
        save_file(dict(kept), tmp_path / name / "weights.safetensors")
        models.seal(tmp_path / name, vqgan_convert.card(shape, "for tests"))
        codes.append(load("codec", "clipgen-vqgan", model=tmp_path / name).encode(images))
    assert codes[0].equal(codes[1]) and len(codes[0].unique()) > 1


def test_an_imported_codec_makes_the_originals_codes(tiny: Any, tmp_path: Path) -> None:
    (tmp_path / "shape.json").write_text(json.dumps({"size": tiny.sizes["resolution"]}))
    folder = tmp_path / "model"
    t2i_clipgen.import_codec(Upstream((tiny.find("vqgan.pt"), tmp_path / "shape.json"), {}), folder)
    codec = load("codec", "clipgen-vqgan", model=models.open_model(folder))
    assert codec.grid == tiny.io["vq/indices"].shape[1:]
    images = (tiny.io["vq/x"] + 1) / 2
    assert codec.encode(images).equal(tiny.io["vq/indices"].flatten(1))
    drawn = codec.decode(tiny.io["vq/decode_in_indices"].flatten(1))
    torch.testing.assert_close(drawn, (tiny.io["vq/decode_out"] / 2 + 0.5).clamp(0, 1), atol=1e-4, rtol=0)


def test_a_file_that_is_no_prior_is_refused_by_name(tmp_path: Path) -> None:
    torch.save({"model": {"encoder.conv_in.weight": torch.ones(4, 3, 3, 3)}}, tmp_path / "vqgan.pt")
    with pytest.raises(T2IError, match=r"vqgan.pt' holds no prior of CLIP-GEN"):
        t2i_clipgen.import_prior(Upstream((tmp_path / "vqgan.pt",), {}), tmp_path)


def test_a_prior_without_its_codec_is_refused(golden: Callable[[str], Path], tmp_path: Path) -> None:
    (tmp_path / "shape.json").write_text(json.dumps({"heads": 2}))
    with pytest.raises(T2IError, match="the model's codec is missing"):
        t2i_clipgen.import_prior(
            Upstream((golden("clipgen/tiny_a/gpt.pt"), tmp_path / "shape.json"), {}), tmp_path / "model"
        )


@pytest.mark.parametrize("more", [0, 8])
def test_the_command_imports_prior_codec_and_clip_together(
    fake: Any, tiny: Any, codec_file: Path, make_clip: Any, more: int, tmp_path: Path
) -> None:
    (tmp_path / "heads.json").write_text(json.dumps({"heads": tiny.sizes["n_head"]}))
    (tmp_path / "size.json").write_text(json.dumps({"size": tiny.sizes["resolution"]}))
    width = tiny.sizes["n_cond_embed"]
    make_clip(tmp_path / "clip", width + more)
    parts = (codec_file, tmp_path / "size.json")
    words = [word for path in parts for word in ("--part", f"codec={path}")]
    files = (tiny.find("gpt.pt"), tmp_path / "heads.json")
    words += ["--as", "clipgen", "--name", "mine", "--part", f"embedder={tmp_path / 'clip'}"]
    if more:
        problem = f"reads embeddings of {width} numbers, but the embedder given with it makes {width + more}"
        fake.fails("models", "import", *files, *words, says=problem)
        fake.fails("models", "import", *files, *words, says="--part embedder=FILE")
        return
    fake.ok("models", "import", *files, *words)
    model = models.find("clipgen/mine")
    assert sorted(model.card.parts) == ["codec", "embedder"]
    assert model.card.config["heads"] == tiny.sizes["n_head"]
    prior, io = weights.load(Prior(msgspec.convert(model.card.config, PriorShape)), model).eval(), tiny.io
    with torch.no_grad():
        logits = prior(io["gpt/cond"], io["gpt/tokens"][:, :-1])
    torch.testing.assert_close(logits, io["gpt/logits"], atol=1e-4, rtol=0)
