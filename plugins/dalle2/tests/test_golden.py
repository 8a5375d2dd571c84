"""The networks and loops against tensors stored from dalle2-pytorch 1.15.6 with random weights (fp32, CPU).

Single forwards agree to 2e-5, whole loops to 1e-3: other orders of summation.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from torch import Tensor

from t2i_dalle2.convert import fill_decoder, fill_prior, state_of
from t2i_dalle2.decoder.draw import Stage
from t2i_dalle2.decoder.model import Decoder
from t2i_dalle2.decoder.train import losses
from t2i_dalle2.diffusion import NoiseSchedule, ddim, ddpm, sample
from t2i_dalle2.prior.draw import Imagine
from t2i_dalle2.prior.model import Prior


@dataclass(frozen=True)
class Golden:
    folder: Path

    @property
    def io(self) -> dict[str, Tensor]:
        arrays = np.load(self.folder / "expected.npz")
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}

    @property
    def meta(self) -> dict[str, Any]:
        return json.loads((self.folder / "meta.json").read_text())

    def prior(self) -> Prior:
        known = {"clamp": self.meta["prior"].get("sampling_clamp_l2norm", False)}
        if not self.meta["prior"].get("condition_on_text_encodings", True):
            known["encodings"] = 0
        path = self.folder / "diff_prior.pth"
        return fill_prior(state_of(path), known, path).eval().requires_grad_(False)

    def decoder(self) -> Decoder:
        path = self.folder / "decoder.pth"
        known = {"image_sizes": self.meta["image_sizes"], "resnet_groups": 8}
        return fill_decoder(state_of(path), known, path).eval().requires_grad_(False)


@pytest.fixture(params=["prior_x0", "prior_no_encodings"])
def prior(request: Any, golden: Any) -> Golden:
    return Golden(golden(f"dalle2/{request.param}"))


@pytest.fixture
def decoder(golden: Any) -> Golden:
    return Golden(golden("dalle2/decoder_two_unets"))


@pytest.fixture
def second(second_unet: Path) -> Golden:
    return Golden(second_unet)


def close(ours: Tensor, theirs: Tensor, atol: float = 2e-5) -> None:
    torch.testing.assert_close(ours, theirs, atol=atol, rtol=0)


def drawn(shape: tuple[int, ...]) -> Callable[[], Tensor]:
    """Noise as torch's one stream of numbers gives it, which is how the stored loops drew theirs."""
    return lambda: torch.randn(shape)


def test_the_prior_says_the_same_with_and_without_its_condition(prior: Golden) -> None:
    network, io = prior.prior(), prior.io
    args = (io["noisy"], io["t"], io["text_embed"], io["text_encodings"])
    none = torch.zeros(3, dtype=torch.bool)
    said, null = network(*args), network(*args, none, none)
    close(said, io["pred"])
    close(null, io["pred_null"])
    close(
        Imagine(network, io["text_embed"], io["text_encodings"], scale=2.0).output(io["noisy"], io["t"]),
        io["pred_cond_scale2"],
    )


def test_the_priors_diffusion_is_the_same(prior: Golden) -> None:
    network, io = prior.prior(), prior.io
    schedule = NoiseSchedule(network.shape.betas, network.shape.timesteps)
    close(schedule.betas, io["betas"], 0)
    close(schedule.alpha_bar, io["alphas_cumprod"], 0)
    length = prior.meta["image_embed_scale"]
    assert network.shape.length == pytest.approx(length)
    close(schedule.noised(io["image_embed"] * length, io["t"], io["noise"]), io["q_sample"])
    clean = Imagine(network, io["text_embed"], io["text_encodings"])(io["noisy"], io["t"]).clean
    close(clean, io["x_start"])
    close(schedule.mean(clean, io["noisy"], io["t"]), io["post_mean"])


@pytest.mark.parametrize("which", ["ddpm", "ddim10"])
def test_whole_loops_of_the_prior_end_at_the_same_embedding(prior: Golden, which: str) -> None:
    network, io = prior.prior(), prior.io
    schedule = NoiseSchedule(network.shape.betas, network.shape.timesteps)
    # "10 timesteps" there are the ten ends of nine steps.
    way = ddpm(schedule) if which == "ddpm" else ddim(schedule, 9, eta=1.0, shift=1)
    denoise = Imagine(network, io["text_embed"], io["text_encodings"])
    torch.manual_seed(777)
    found = sample(schedule, way, denoise, drawn(io["noisy"].shape)) / network.shape.length
    close(found, io[f"{which}_sample_seed777"], 1e-3)


def test_the_first_unet_says_the_same(decoder: Golden) -> None:
    network, io = decoder.decoder(), decoder.io
    none = torch.zeros(2, dtype=torch.bool)
    close(network(0, io["x1"], io["t"], io["image_embed"]), io["out1"])
    close(network(0, io["x1"], io["t"], io["image_embed"], None, none), io["out1_null"])
    close(NoiseSchedule(network.shape.unets[0].betas, network.shape.timesteps).betas, io["betas0"], 0)


def test_the_second_unet_says_the_same(second: Golden) -> None:
    network, io = second.decoder(), second.io
    close(network(1, io["x2"], io["t"], None, io["lowres"]), io["out2"])
    close(NoiseSchedule(network.shape.unets[1].betas, network.shape.timesteps).betas, io["betas1"], 0)


@dataclass(frozen=True)
class Variant:
    """A prior with options of the reference's network, and what the reference computed with it."""

    name: str

    @property
    def io(self) -> dict[str, Tensor]:
        found = {name: value for name, value in variants().items() if name.startswith(f"{self.name}/")}
        return {name.removeprefix(f"{self.name}/"): value for name, value in found.items()}

    def prior(self) -> Prior:
        state = {name.removeprefix("state/"): value for name, value in self.io.items() if name.startswith("state/")}
        return fill_prior(state, {"self_cond": True}, Path(self.name)).eval().requires_grad_(False)


def variants() -> dict[str, Tensor]:
    arrays = np.load(Path(__file__).parent / "variants.npz")
    return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


@pytest.fixture(params=["all", "table"])
def variant(request: Any) -> Variant:
    """Two and three tokens of each kind with waves, and two of the time from a table; both with self-conditioning."""
    return Variant(request.param)


def test_priors_with_more_tokens_and_self_conditioning_say_the_same(variant: Variant) -> None:
    network, io = variant.prior(), variant.io
    args, none = (io["noisy"], io["times"], io["text"], io["encodings"]), torch.zeros(3, dtype=torch.bool)
    close(network(*args, before=io["before"]), io["pred"])
    close(network(*args, none, none, io["before"]), io["pred_null"])


@pytest.mark.parametrize("which", ["ddpm", "ddim"])
def test_each_step_of_a_self_conditioned_prior_reads_the_one_before(variant: Variant, which: str) -> None:
    network, io = variant.prior(), variant.io
    schedule = NoiseSchedule(network.shape.betas, network.shape.timesteps)
    way = ddpm(schedule) if which == "ddpm" else ddim(schedule, 5, eta=1.0, shift=1)
    denoise = Imagine(network, io["text"], io["encodings"], scale=2.0)
    torch.manual_seed(7)
    close(sample(schedule, way, denoise, drawn(io["noisy"].shape)) / network.shape.length, io[which], 1e-4)


def with_other_groups(decoder: Golden) -> Decoder:
    known, path = {"image_sizes": decoder.meta["image_sizes"], "resnet_groups": [4, 2]}, decoder.folder / "decoder.pth"
    return fill_decoder(state_of(path), known, path).eval().requires_grad_(False)


def test_a_first_unet_with_other_groups_of_norms_says_the_same(decoder: Golden) -> None:
    network, io = with_other_groups(decoder), decoder.io
    close(network(0, io["x1"], io["t"], io["image_embed"]), variants()["groups/out1"])


def test_a_second_unet_with_other_groups_of_norms_says_the_same(second: Golden) -> None:
    network, io = with_other_groups(second), second.io
    close(network(1, io["x2"], io["t"], None, io["lowres"]), variants()["groups/out2"])


def longer(decoder: Golden) -> tuple[Decoder, Tensor, dict[str, Tensor]]:
    """The same unets in a cascade of 40 timesteps: with the set's 20, linear betas reach 1 and its loop is NaN."""
    shape = msgspec.structs.replace(decoder.decoder().shape, timesteps=40)
    network = Decoder(shape).eval().requires_grad_(False)
    network.load_state_dict(decoder.decoder().state_dict())
    arrays = np.load(Path(__file__).parent / "loops.npz")
    return network, decoder.io["image_embed"], {name: torch.from_numpy(arrays[name]) for name in arrays.files}


@pytest.mark.slow
def test_a_whole_cascade_draws_the_same_picture(decoder: Golden) -> None:
    network, embedding, io = longer(decoder)
    picture: Tensor | None = None
    torch.manual_seed(5)
    for number, unet in enumerate(network.shape.unets):
        stage = Stage(network, number, embedding, picture, scale=2.0)
        picture = sample(stage.schedule, ddpm(stage.schedule), stage, drawn((2, 3, unet.size, unet.size)))
        torch.randn(picture.shape)  # theirs draws for the last step too, where it is multiplied by nothing
    close((picture + 1) / 2, io["ddpm40"], 1e-3)


@pytest.mark.parametrize(("number", "of"), [(0, "decoder"), (1, "second")])
def test_the_unets_losses_are_the_same(request: pytest.FixtureRequest, number: int, of: str) -> None:
    network, embedding, io = longer(request.getfixturevalue(of))
    size, random = network.shape.unets[number].size, torch.Generator().manual_seed(number)
    clean, noise = torch.rand(2, 3, size, size, generator=random), torch.randn(2, 3, size, size, generator=random)
    smaller = torch.rand(2, 3, size, size, generator=random) * 2 - 1 if number else None
    stage = Stage(network, number, embedding, smaller)
    simple, bound = losses(stage, clean * 2 - 1, torch.tensor([0, 17]), noise)
    close(simple + 0.001 * bound, io[f"loss{number}"])
