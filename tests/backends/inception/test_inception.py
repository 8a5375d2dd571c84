"""FID's network: the published numbers' arithmetic, shown with random weights of its shape."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from t2icli import load
from t2icli.backends import inception
from t2icli.backends.inception import model as model_file
from t2icli.backends.inception.model import Inception, Network, resized
from t2icli.contract.entries import Upstream
from t2icli.ground.errors import T2IError
from t2icli.pipelines.evaluate.distances import frechet, kernel_distance
from t2icli.store import models
from t2icli.store.models import Model
from t2icli.testing import Runner, check_metric

FID, KID = 2745.735369, 1789.604004
"""By torch-fidelity 0.4.0, for the same weights and pictures."""


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    """Random weights under the published file's names."""
    random = torch.Generator().manual_seed(0)
    found: dict[str, Tensor] = {}
    for name, value in Network().state_dict().items():
        if name.endswith("conv.weight"):
            found[name] = torch.randn(value.shape, generator=random) * (2 / value[0].numel()) ** 0.5
        elif name.endswith(("running_var", "bn.weight")):
            found[name] = torch.rand(value.shape, generator=random) + 0.5
        elif name.endswith("num_batches_tracked"):
            found[name] = value
        else:
            found[name] = 0.1 * torch.randn(value.shape, generator=random)
    return {**found, "fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}


@pytest.fixture(scope="module")
def file(state: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def model(file: Path) -> Model:
    folder = file.parent / "model"
    folder.mkdir()
    inception.import_file(Upstream((file,), {}), folder)
    return models.open_model(folder)


@pytest.fixture(scope="module")
def network(model: Model) -> Inception:
    return load("metric", "inception", model=model, device="cpu")


def pictures(n: int, size: tuple[int, int], darkness: int) -> list[Image.Image]:
    random = np.random.default_rng(darkness)
    noise = (random.integers(0, 256 - darkness, (n, 6, 5, 3)) + darkness / 2).astype(np.uint8)
    return [Image.fromarray(each).resize(size, Image.Resampling.NEAREST) for each in noise]


@pytest.fixture(scope="module")
def features(network: Inception) -> tuple[Tensor, Tensor]:
    return network.features(pictures(3, (60, 72), 0)), network.features(pictures(3, (310, 400), 80))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Smaller pictures for the network, which is quicker."""
    monkeypatch.setattr(model_file, "SIDE", 96)


def test_fid_and_kid_are_those_of_torch_fidelity(features: tuple[Tensor, Tensor]) -> None:
    ours, others = (each.numpy() for each in features)
    assert frechet(ours, others) == pytest.approx(FID, rel=1e-3)
    assert kernel_distance(ours, others) == (pytest.approx(KID, rel=1e-3), None)


def test_features_are_those_of_torch_fidelity(features: tuple[Tensor, Tensor], file: Path) -> None:
    theirs = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    extractor = theirs.FeatureExtractorInceptionV3("x", ["2048"], feature_extractor_weights_path=str(file))
    for ours, images in zip(features, (pictures(3, (60, 72), 0), pictures(3, (310, 400), 80)), strict=True):
        pixels = torch.stack([torch.from_numpy(np.array(image)).permute(2, 0, 1) for image in images])
        torch.testing.assert_close(ours, extractor(pixels)[0], atol=1e-3, rtol=1e-3)


@pytest.mark.usefixtures("small")
def test_a_pictures_features_do_not_depend_on_the_others(network: Inception) -> None:
    several = pictures(3, (60, 72), 0)
    assert torch.equal(network.features(several[2:]), network.features(several)[2:])


def test_pictures_of_the_right_size_are_left_as_they_are() -> None:
    images = torch.rand(1, 3, 299, 299)
    assert torch.equal(resized(images, 299), images)


def test_resizing_takes_the_upper_left_corner_for_the_origin() -> None:
    ramp = torch.arange(4.0)[None, None, None].expand(1, 1, 4, 4)
    assert resized(ramp, 8)[0, 0, 0].tolist() == [0, 0.5, 1, 1.5, 2, 2.5, 3, 3]


@pytest.mark.usefixtures("small")
def test_the_metric_keeps_its_promises(model: Model) -> None:
    check_metric(inception.t2i_metrics()[0], model=model, device="cpu")


def test_other_weights_are_refused(state: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save({name: value for name, value in state.items() if "Mixed_7c" not in name}, tmp_path / "x.pth")
    (tmp_path / "model").mkdir()
    with pytest.raises(T2IError, match=r"x\.pth"):
        inception.import_file(Upstream((tmp_path / "x.pth",), {}), tmp_path / "model")
    with pytest.raises(T2IError, match="one file, not 2"):
        inception.import_file(Upstream((tmp_path / "x.pth",) * 2, {}), tmp_path / "model")


def test_the_file_is_pinned() -> None:
    (source,) = inception.t2i_models()
    (remote,) = source.files
    assert remote.sha256 == inception.SHA256 and remote.urls
    assert all(inception.SHA256[:8] in url for url in remote.urls)


def test_without_the_network_the_command_says_how_to_get_it(t2i: Runner, tmp_path: Path) -> None:
    for name in ("a", "b"):
        pictures(2, (30, 36), 0)[0].save(tmp_path / f"{name}.png")
    refused = t2i.fails("evaluate", "pictures", tmp_path, "--reference", tmp_path, says="'inception' needs a model")
    assert "t2i models pull inception/fid" in refused.stderr


@pytest.fixture
def installed(t2i: Runner, model: Model) -> Callable[[], None]:
    return lambda: models.copy(model, t2i.home / "models/inception/fid")


@pytest.mark.usefixtures("small")
def test_the_command_measures_folders(
    t2i: Runner, installed: Callable[[], None], network: Inception, tmp_path: Path
) -> None:
    installed()
    sides = {"drawn": pictures(3, (60, 72), 0), "real": pictures(3, (310, 400), 80)}
    for folder, images in sides.items():
        (tmp_path / folder).mkdir()
        for i, image in enumerate(images):
            image.save(tmp_path / folder / f"{i}.png")
    words = ("evaluate", "pictures", tmp_path / "drawn", "--reference", tmp_path / "real", "--device", "cpu")
    shown = t2i.ok(*words)
    drawn, real = (network.features(images).numpy() for images in sides.values())
    figures = dict(re.findall(r"(\w+)  ([\d.]+)", shown.stdout))
    assert float(figures["FID"]) == pytest.approx(frechet(drawn, real), rel=1e-6)
    assert float(figures["KID"]) == pytest.approx(kernel_distance(drawn, real)[0], rel=1e-6)
    assert "compare only figures of the same number" in shown.stderr
