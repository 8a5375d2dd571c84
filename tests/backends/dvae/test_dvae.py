"""The discrete VAE computes what DALLE-pytorch's does, from its own files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from t2icli import load
from t2icli.backends.dvae import DvaeShape, Settings
from t2icli.backends.dvae.convert import convert, read_shape
from t2icli.backends.dvae.model import DiscreteVAE, divergence, second_order
from t2icli.contract.entries import Upstream
from t2icli.ground.errors import T2IError
from t2icli.nn import weights
from t2icli.registry import discovery, settings
from t2icli.store import models, upstream
from t2icli.testing import check_codec

CASES = ("dvae_plain", "dvae_resblocks", "dvae_rgba")


class Case:
    """One reference model: its file, its inputs, what came out."""

    def __init__(self, folder: Path, into: Path) -> None:
        convert(Upstream((folder / "vae.pt",), {}), into)
        self.model = models.open_model(into)
        self.shape = read_shape(upstream.read(folder / "vae.pt").get("hparams"), folder)
        self.network = weights.load(DiscreteVAE(self.shape), self.model)
        self.expected = {k: torch.from_numpy(v) for k, v in np.load(folder / "expected.npz").items()}
        self.meta = json.loads((folder / "meta.json").read_text())
        self.images = torch.stack([pixels(folder / f"image_{i}.png") for i in range(2)])


def pixels(path: Path) -> Tensor:
    return torch.from_numpy(np.array(Image.open(path))).movedim(-1, 0).contiguous() / 255


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, golden: Callable[[str], Path], tmp_path: Path) -> Case:
    return Case(golden(f"dalle/{request.param}"), tmp_path)


def test_it_encodes_as_upstream(case: Case) -> None:
    assert torch.allclose(case.network.normalise(case.images), case.expected["normed"], atol=1e-6)
    assert torch.allclose(case.network.logits(case.images), case.expected["logits"], atol=2e-5)
    assert torch.equal(case.network.to_codes(case.images).flatten(1), case.expected["indices"])


def test_it_decodes_as_upstream(case: Case) -> None:
    side = case.shape.image_size // 2**case.shape.num_layers
    found = case.network.look_up(case.expected["indices"].unflatten(1, (side, side)))
    assert torch.allclose(found, case.expected["decoded"], atol=1e-4)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_its_training_loss_is_upstreams(case: Case, temperature: float) -> None:
    extra = case.meta["extra_args"]
    options: dict[str, Any] = {
        "smooth_l1": extra.get("smooth_l1_loss", False),
        "kl_weight": extra.get("kl_div_loss_weight", 0.0),
    }
    torch.manual_seed(case.meta["gumbel_seed"])
    loss, unlike, uneven = case.network.loss(case.images, temperature, **options)
    assert torch.allclose(loss, case.expected[f"gumbel_loss_t{temperature}"], atol=1e-5)
    assert torch.allclose(uneven, case.expected["kl_term"], atol=1e-5)
    if temperature == 1.0:
        assert torch.allclose(unlike, case.expected["recon_loss_t1.0"], atol=1e-5)


@pytest.mark.parametrize("sharpness", [0.1, 1.0, 5.0, 20.0])
def test_its_divergence_is_upstreams(sharpness: float) -> None:
    torch.manual_seed(0)
    logits = sharpness * torch.randn(2, 8192, 4, 4)
    theirs = logits.flatten(2).transpose(1, 2).log_softmax(-1)
    even = torch.full((1,), 1 / 8192).log()
    expected = F.kl_div(even, theirs, None, None, "sum", log_target=True).item()
    assert divergence(logits).item() == pytest.approx(expected, rel=2e-6)


def test_as_a_codec_it_keeps_its_promises(case: Case) -> None:
    check_codec(discovery.find("codec", "dvae"), model=case.model)


def test_other_sizes_work(case: Case) -> None:
    tall = load("codec", "dvae", model=case.model, height=16, width=48)
    images = torch.rand(3, 3, 16, 48)
    assert tall.grid == (16 // 2**case.shape.num_layers, 48 // 2**case.shape.num_layers)
    assert tall.decode(tall.encode(images)).shape == images.shape


def test_what_reinmax_draws_is_the_one_hot_with_another_gradient() -> None:
    logits = torch.randn(2, 5, 3, 3, requires_grad=True)
    one_hot = torch.nn.functional.one_hot(logits.argmax(1), 5).movedim(-1, 1).float()
    drawn = second_order(one_hot, logits, 1.0)
    (gradient,) = torch.autograd.grad((drawn * torch.randn_like(drawn)).sum(), logits)
    assert torch.allclose(drawn, one_hot, atol=1e-6) and gradient.abs().sum() > 0


def test_a_normalisation_in_the_file_is_used(tmp_path: Path) -> None:
    given = {"image_size": 8, "num_layers": 1, "channels": 3, "normalization": ((0.1, 0.2, 0.3), (2.0, 2.0, 2.0))}
    network = DiscreteVAE(read_shape(given, tmp_path))
    image = torch.rand(1, 3, 8, 8)
    assert torch.allclose(network.normalise(image)[:, 1], (image[:, 1] - 0.2) / 2)
    assert torch.allclose(network.denormalise(network.normalise(image)), image, atol=1e-6)
    plain = DiscreteVAE(read_shape({**given, "normalization": None}, tmp_path))
    assert torch.equal(plain.normalise(image), image)


def test_the_full_size_network_has_upstreams_parameters(golden: Callable[[str], Path]) -> None:
    listed = json.loads(golden("dalle/keys_dvae_train_vae_default.json").read_text())
    shape = DvaeShape(image_size=128, num_tokens=8192, codebook_dim=512, hidden_dim=256, num_resnet_blocks=2)
    with torch.device("meta"):
        own = {name: list(value.shape) for name, value in DiscreteVAE(shape).state_dict().items()}
    assert own == listed


def test_files_that_are_not_a_discrete_vae_are_refused(tmp_path: Path) -> None:
    torch.save({"hparams": {"image_size": "large"}, "weights": {"w": torch.ones(1)}}, tmp_path / "a.pt")
    with pytest.raises(T2IError, match="does not describe"):
        convert(Upstream((tmp_path / "a.pt",), {}), tmp_path / "out")
    torch.save({"hparams": {"image_size": 8}, "weights": {"w": torch.ones(1)}}, tmp_path / "b.pt")
    with pytest.raises(T2IError, match="do not fit") as caught:
        convert(Upstream((tmp_path / "b.pt",), {}), tmp_path / "out")
    assert "left over: w" in caught.value.hint or "missing" in caught.value.hint
    assert not (tmp_path / "out/model.toml").exists()


def test_settings_are_described() -> None:
    assert all(field.about for struct in (Settings, DvaeShape) for field in settings.describe(struct))
