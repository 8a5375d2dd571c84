from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from torch import nn

import t2i_dalle2
from t2i_dalle2 import convert, folders
from t2icli.contract.entries import Upstream
from t2icli.ground import toml
from t2icli.ground.errors import T2IError
from t2icli.registry import discovery, settings
from t2icli.store import models

GROUPS = {"resnet_groups": 8}


@pytest.fixture
def embedder(make_clip: Any, tmp_path: Path) -> Path:
    return make_clip(tmp_path / "clip", 32)


@pytest.fixture
def files(golden: Any, second_unet: Path) -> tuple[Path, Path]:
    return second_unet / "decoder.pth", golden("dalle2/prior_x0/diff_prior.pth")


def imported(upstream: Upstream, folder: Path) -> tuple[Any, Any]:
    t2i_dalle2.import_files(upstream, folder)
    model = models.open_model(folder)
    return model, model.part("prior") if "prior" in model.card.parts else None


def test_decoder_and_prior_become_one_folder(files: Any, embedder: Path, tmp_path: Path) -> None:
    (tmp_path / "sizes.json").write_text('{"image_sizes": [16, 32], "resnet_groups": [8, 8]}')
    upstream = Upstream((files[0], tmp_path / "sizes.json"), {"prior": (files[1],), "embedder": (embedder,)})
    model, prior = imported(upstream, tmp_path / "model")
    folders.check_same(folders.space_of(prior), folders.space_of(model))
    first, second = folders.decoder_shape(model).unets
    assert (first.size, first.learned_variance, first.betas, first.heads) == (16, True, "cosine", 2)
    assert (second.size, second.learned_variance, second.betas, second.image_tokens) == (32, False, "linear", 4)
    assert folders.prior_shape(prior).timesteps == 100
    assert model.part("embedder").sha256 == models.open_model(embedder).sha256


def test_an_embedder_or_a_prior_of_another_width_is_refused(
    files: Any, embedder: Path, make_clip: Any, tmp_path: Path
) -> None:
    (tmp_path / "groups.json").write_text(msgspec.json.encode(GROUPS).decode())
    decoder = (files[0], tmp_path / "groups.json")
    other = make_clip(tmp_path / "other", 24)
    with pytest.raises(T2IError, match="reads embeddings of 32 numbers, but the embedder given with it makes 24"):
        imported(Upstream(decoder, {"embedder": (other,)}), tmp_path / "a")
    arrays, name = np.load(Path(__file__).parent / "variants.npz"), "table/state/"
    narrow = {key.removeprefix(name): torch.from_numpy(arrays[key]) for key in arrays.files if key.startswith(name)}
    torch.save(narrow, tmp_path / "narrow.pth")
    parts = {"embedder": (embedder,), "prior": (tmp_path / "narrow.pth",)}
    with pytest.raises(T2IError, match="the prior makes embeddings of 8 numbers, but the decoder reads 32"):
        imported(Upstream(decoder, parts), tmp_path / "b")


def test_one_file_with_both_inside_does_as_well(files: Any, embedder: Path, tmp_path: Path) -> None:
    decoder, prior = (torch.load(file, weights_only=True) for file in files)
    both = {f"decoder.{k}": v for k, v in decoder.items()} | {f"prior.{k}": v for k, v in prior.items()}
    # CLIP is a part of theirs.
    both |= {"prior.clip.clip.logit_scale": torch.ones(()), "decoder.clip.clip.logit_scale": torch.ones(())}
    torch.save(both, tmp_path / "dalle2.pth")
    (tmp_path / "groups.json").write_text(msgspec.json.encode({"decoder": GROUPS}).decode())
    together = (tmp_path / "dalle2.pth", tmp_path / "groups.json")
    whole = imported(Upstream(together, {"embedder": (embedder,)}), tmp_path / "whole")
    parts = Upstream((files[0], tmp_path / "groups.json"), {"prior": (files[1],), "embedder": (embedder,)})
    for one, other in zip(whole, imported(parts, tmp_path / "apart"), strict=True):
        assert one.card.files == other.card.files


class Version:
    """What their trainer keeps beside the weights; a foreign class for whoever reads the file."""


@pytest.mark.filterwarnings("ignore:.*foreign classes")
def test_of_a_trainers_checkpoint_the_averaged_weights_are_taken(golden: Any, tmp_path: Path) -> None:
    model = torch.load(golden("dalle2/prior_x0/diff_prior.pth"), weights_only=True)
    average = OrderedDict((name, tensor + 1 if name.startswith("net") else tensor) for name, tensor in model.items())
    torch.save({"model": model, "version": Version(), "step": 5, "ema_model": average}, tmp_path / "trainer.pth")
    found = convert.state_of(tmp_path / "trainer.pth")
    assert found["net.learned_query"].equal(average["net.learned_query"])
    convert.fill_prior(found, {}, tmp_path / "trainer.pth")


@pytest.mark.filterwarnings("ignore:.*foreign classes")
def test_a_decoder_trainers_averages_are_put_together_from_its_unets(files: Any, tmp_path: Path) -> None:
    model = torch.load(files[0], weights_only=True)
    ema = {
        f"{name.replace('unets.', '', 1).replace('.', '.ema_model.', 1)}": tensor + 1
        for name, tensor in model.items()
        if name.startswith("unets.")
    }
    torch.save({"model": model, "version": "1.15.6", "ema": ema | {"0.step": torch.ones(1)}}, tmp_path / "t.pth")
    found = convert.state_of(tmp_path / "t.pth")
    assert found["unets.1.to_out.bias"].equal(model["unets.1.to_out.bias"] + 1)
    assert found["noise_schedulers.0.betas"].equal(model["noise_schedulers.0.betas"])


@pytest.mark.parametrize(
    "old", [{"betas": torch.ones(4)}, {"net.learned_query": torch.ones(4)}, {"prior.betas": torch.ones(4)}]
)
def test_files_of_before_are_refused_and_told_why(old: dict[str, torch.Tensor], tmp_path: Path) -> None:
    torch.save(old, tmp_path / "old.pth")
    with pytest.raises(T2IError, match=r"old.pth' is of dalle2-pytorch before 1.0, such as the 0.2.4"):
        convert.state_of(tmp_path / "old.pth")


def test_a_file_without_its_second_unet_is_refused_by_number(files: Any) -> None:
    tensors = {k: v for k, v in convert.state_of(files[0]).items() if not k.startswith("unets.1.")}
    with pytest.raises(T2IError, match="lacks unet 2 of 2"):
        convert.fill_decoder(tensors, GROUPS, files[0])


def test_a_first_unet_that_reads_the_text_is_known_by_its_weights(files: Any) -> None:
    tensors = convert.state_of(files[0])
    condition = len(tensors["unets.0.norm_cond.weight"])
    reads = {"weight": torch.randn(condition, 24), "bias": torch.randn(condition)}
    network = convert.fill_decoder(
        tensors | {f"unets.0.text_to_cond.{k}": v for k, v in reads.items()}, GROUPS, files[0]
    )
    length = tensors["unets.0.null_text_embed"].shape[1]
    assert (network.shape.text, network.shape.text_length) == (24, length)
    assert network.unets[0].null_text_embed.equal(tensors["unets.0.null_text_embed"])
    assert convert.fill_decoder(tensors, GROUPS, files[0]).shape.text == 0


def test_a_decoder_of_latents_of_the_originals_own_is_refused(files: Any) -> None:
    tensors = convert.state_of(files[0]) | {"vaes.0.vq.project_in.weight": torch.ones(2)}
    with pytest.raises(T2IError, match="draws the latents of a VQGanVAE of dalle2-pytorch"):
        convert.fill_decoder(tensors, GROUPS, files[0])


def test_other_betas_and_other_unets_are_refused(files: Any) -> None:
    tensors = convert.state_of(files[0])
    with pytest.raises(T2IError, match="are of no known schedule"):
        convert.fill_decoder(tensors | {"noise_schedulers.0.betas": torch.full((20,), 0.5)}, GROUPS, files[0])
    with pytest.raises(T2IError, match="do not fit"):
        convert.fill_decoder(tensors | {"unets.0.text_to_cond.weight": torch.ones(16, 32)}, GROUPS, files[0])
    with pytest.raises(T2IError, match="has 2 unets, but 1 image sizes"):
        convert.fill_decoder(tensors, {"image_sizes": [64]}, files[0])
    with pytest.raises(T2IError, match="image sizes are a list, not 64"):
        convert.fill_decoder(tensors, {"image_sizes": 64}, files[0])


@pytest.mark.parametrize(
    ("known", "says"),
    [
        ({}, "nothing in .* shows the `resnet_groups` it was trained with"),
        ({"resnet_groups": [8]}, r"resnet_groups cannot be \[8\]"),
        ({"resnet_groups": "8"}, "resnet_groups cannot be '8'"),
        ({"resnet_groups": [8, 3]}, "3 groups do not divide the 8 channels of unet 2"),
    ],
)
def test_the_groups_of_norms_leave_no_trace_and_must_be_told(files: Any, known: dict[str, Any], says: str) -> None:
    with pytest.raises(T2IError, match=says) as refused:
        convert.fill_decoder(convert.state_of(files[0]), known, files[0])
    assert refused.value.hint


def test_other_groups_of_norms_are_computed_with(files: Any) -> None:
    network = convert.fill_decoder(convert.state_of(files[0]), {"resnet_groups": [4, 2]}, files[0])
    norms = [[m.num_groups for m in unet.modules() if isinstance(m, nn.GroupNorm)] for unet in network.unets]
    assert [set(counts) for counts in norms] == [{4}, {2}]


@pytest.mark.parametrize(
    ("option", "change"),
    [
        ("norm_in=True", {"net.causal_transformer.init_norm.g": torch.ones(32)}),
        ("norm_out=False", {"net.causal_transformer.norm.g": None}),
        ("normformer=True", {"net.causal_transformer.layers.0.1.3.g": torch.ones(128)}),
        ("final_proj=False", {"net.causal_transformer.project_out.weight": None}),
        ("ff_mult", {"net.causal_transformer.layers.0.1.1.weight": torch.ones(128, 32)}),
    ],
)
def test_a_prior_with_options_that_ours_lacks_is_refused_by_their_names(
    files: Any, option: str, change: dict[str, torch.Tensor | None]
) -> None:
    tensors = {name: value for name, value in (convert.state_of(files[1]) | change).items() if value is not None}
    with pytest.raises(T2IError, match=f"options that are not supported: {option}$"):
        convert.fill_prior(tensors, {}, files[1])


def test_how_often_the_condition_was_dropped_can_be_told(files: Any) -> None:
    decoder, prior = map(convert.state_of, files)
    assert convert.fill_decoder(decoder, GROUPS | {"dropped": 0.0}, files[0]).shape.dropped == 0
    assert convert.fill_prior(prior, {"dropped": 0.0}, files[1]).shape.dropped == 0
    with pytest.raises(T2IError, match="are inconsistent"):
        convert.fill_decoder(decoder, GROUPS | {"dropped": 1.5}, files[0])


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(T2IError, match="holds no prior of dalle2-pytorch"):
        convert.fill_prior({"weight": torch.ones(1)}, {}, tmp_path / "x.pth")
    with pytest.raises(T2IError, match="there are no unets in it"):
        convert.fill_decoder({"weight": torch.ones(1)}, {}, tmp_path / "x.pth")


@pytest.mark.parametrize(
    ("recipe", "kind"),
    [("prior", t2i_dalle2.PriorRecipeSettings), ("decoder", t2i_dalle2.DecoderRecipeSettings)],
)
def test_the_starters_recipes_are_known_here(recipe: str, kind: type) -> None:
    option = toml.read(Path(__file__).parents[3] / f"recipes/starter/dalle2-{recipe}.toml")["option"]
    assert option.pop("embedder")["name"] == "clip"
    option.pop("codec", None)
    settings.convert(kind, option, "the recipe")


@pytest.mark.usefixtures("fake")
def test_the_small_presets_of_the_readme_are_known_to_the_recipes() -> None:
    text = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    Path("small.toml").write_text(text.split("```toml")[1].split("```")[0], encoding="utf-8")
    option = toml.read(Path("small.toml"))["option"]
    assert option.pop("embedder") == {"model": "runs/clip/model"}
    made = settings.convert(t2i_dalle2.DecoderRecipeSettings, option, "the preset")
    assert made.first.size == 32 and made.unets == 1
    assert discovery.find("recipe", "dalle2-decoder").settings is t2i_dalle2.DecoderRecipeSettings
