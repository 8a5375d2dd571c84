"""Ours beside the originals, on the same files: run by `make reference`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from t2icli import load
from t2icli.backends.dalle import convert
from t2icli.contract.entries import Entry, Upstream
from t2icli.contract.hookspecs import hookimpl
from t2icli.nn import decode, weights
from t2icli.nn.decode import Sampling
from t2icli.registry import discovery
from t2icli.store import models
from t2icli.testing import check_generator

pytestmark = [pytest.mark.reference, pytest.mark.filterwarnings("ignore")]
SIZES = {"dim": 48, "depth": 4, "heads": 3, "dim_head": 16, "num_text_tokens": 60, "text_seq_len": 12}
VAE = {"image_size": 32, "num_layers": 2, "num_tokens": 48, "codebook_dim": 24, "hidden_dim": 16}
PLAIN = {"rotary_emb": False, "shift_tokens": False}
MIXED = {"attn_types": ("full", "axial_row", "axial_col", "conv_like")}
TURNED = {"rotary_emb": True, "shift_tokens": True}
OPTIONS = {
    "plain": PLAIN,
    "rotary": {**PLAIN, "rotary_emb": True, "dim_head": 20},
    "shifted": {**PLAIN, "shift_tokens": True},
    "mixed": {**PLAIN, **MIXED},
    "mixed rotary shifted": {**TURNED, **MIXED},
    "reversible": {**PLAIN, "reversible": True},
    "reversible mixed rotary shifted": {**TURNED, **MIXED, "reversible": True},
    "sandwich": {**PLAIN, "sandwich_norm": True},
    "stable": {**PLAIN, "stable": True},
    "shared": {**PLAIN, "shared_attn_ids": ("0", "1"), "shared_ff_ids": ("0", "0", "1", "1")},
    "shared embeddings": {**PLAIN, "share_input_output_emb": True},
    "deep": {**PLAIN, "depth": 26},
}


@pytest.fixture(params=OPTIONS.values(), ids=OPTIONS)
def original(request: pytest.FixtureRequest) -> Any:
    """Their model with random weights, every one of which matters."""
    dalle_pytorch = pytest.importorskip("dalle_pytorch")
    torch.manual_seed(0)
    model = dalle_pytorch.DALLE(vae=dalle_pytorch.DiscreteVAE(**VAE), **{**SIZES, **request.param})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    model.options = {**SIZES, **request.param}
    return model.eval()


@pytest.fixture
def ours(original: Any, tmp_path: Path) -> Any:
    """The same, saved as they do, imported as we do."""
    hparams = {key: value for key, value in original.options.items() if key != "sandwich_norm"}
    file, folder = tmp_path / "dalle.pt", tmp_path / "model"
    torch.save({"hparams": hparams, "vae_params": VAE, "weights": original.state_dict()}, file)
    folder.mkdir()
    convert.convert(Upstream((file,), {}), folder)
    model = models.open_model(folder)
    shape = msgspec.convert(model.card.config, convert.Config)
    return weights.load(convert.DallE(shape), model).requires_grad_(True)


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    text = torch.randint(1, 60, (2, 12), generator=random)
    text[0, 8:] = 0
    return text, torch.randint(48, (2, 64), generator=random)


def test_logits_loss_and_gradients_agree(original: Any, ours: Any, batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    text, codes = batch
    torch.testing.assert_close(ours(text, codes), original(text, codes), atol=2e-5, rtol=0)
    mine, _ = ours.loss(text, codes)
    theirs = original.train()(text, codes, return_loss=True)  # reversible layers have no gradients in eval mode
    assert mine.item() == pytest.approx(theirs.item(), abs=1e-5)
    mine.backward()
    theirs.backward()
    norms = {convert.renamed(name): p.grad for name, p in original.named_parameters() if p.grad is not None}
    for name, parameter in ours.named_parameters():
        assert parameter.grad.norm().item() == pytest.approx(norms[name].norm().item(), rel=1e-3, abs=1e-7), name


def test_likeliest_codes_agree(original: Any, ours: Any, batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    text = batch[0][:1]
    (codes,) = decode.sample(ours, (text, text[:, :0]), [0], 64, Sampling(temperature=0))
    with torch.no_grad():
        drawn = original.generate_images(text.clone(), filter_thres=1.0, temperature=1e-6)
        assert torch.equal(drawn, original.vae.decode(codes[None]))


def test_the_codec_taming_and_ours_agree_on_the_same_file(golden: Any, tmp_path: Path) -> None:
    pytest.importorskip("taming")
    folder = golden("dalle/vqgan_full_axial")
    files = (folder / "last.ckpt", folder / "model.yaml")
    theirs = load("codec", "taming", checkpoint=str(files[0]), config=str(files[1]))
    discovery.find("codec", "vqgan").convert(Upstream(files, {}), tmp_path)
    ours = load("codec", str(tmp_path), precision="fp32")
    assert (ours.codes, tuple(ours.grid)) == (theirs.codes, theirs.grid)
    images = torch.rand(2, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    codes = theirs.encode(images)
    assert torch.equal(ours.encode(images), codes)
    torch.testing.assert_close(ours.decode(codes), theirs.decode(codes), atol=1e-4, rtol=0)


class Letters:
    """As many ids as the golden models read."""

    vocabulary = 60
    padding = 0

    def encode(self, texts: list[str], length: int) -> torch.Tensor:
        return torch.tensor([[1 + ord(letter) % 59 for letter in text.ljust(length)[:length]] for text in texts])

    def decode(self, tokens: torch.Tensor) -> list[str]:
        raise NotImplementedError("letters are not needed back")

    @hookimpl
    def t2i_tokenizers(self) -> list[Entry]:
        return [
            Entry("letters", "60 ids, one a letter", msgspec.defstruct("Settings", [], frozen=True), lambda _: self)
        ]


def test_the_generator_dalle_pytorch_paints_from_its_own_file(golden: Any, t2i: Any) -> None:
    pytest.importorskip("dalle_pytorch")
    t2i_reference = pytest.importorskip("t2i_reference")
    t2i.use(t2i_reference, Letters())
    file = str(golden("dalle/stable_shared/dalle.pt"))
    check_generator(discovery.find("generator", "dalle-pytorch"), file=file, tokenizer="letters", tolerance=0)
