"""LoRAs of a picture: chosen by name and weight, gone afterwards, refused where they do not fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict

from t2i_diffusers.lora import split
from t2icli.contract.requests import Request
from t2icli.ground.errors import T2IError

PROMPT = "红烧牛肉面"
Make = Callable[..., Path]


def picture(generator: Any, *loras: str) -> Any:
    (drawn,) = generator.draw([Request(PROMPT, 7, {"lora": loras})])
    return np.asarray(drawn.convert("RGB"), int)


@pytest.fixture(scope="session")
def make_lora(tiny: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Make:
    """`make_lora("z-image", seed=1)`: a folder with a LoRA of random numbers for the denoiser of that family."""
    from t2i_diffusers.libraries import diffusers

    def make(family: str, seed: int = 0, size: float = 0.3) -> Path:
        folder = tmp_path_factory.mktemp("lora")
        pipeline = diffusers.DiffusionPipeline.from_pretrained(tiny(family), local_files_only=True)
        name = "unet" if hasattr(pipeline, "unet") else "transformer"
        denoiser = getattr(pipeline, name)
        denoiser.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=["to_q", "to_v"], init_lora_weights=False))
        random = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in denoiser.parameters():
                if parameter.requires_grad:
                    parameter.copy_(torch.randn(parameter.shape, generator=random) * size)
        pipeline.save_lora_weights(folder, **{f"{name}_lora_layers": get_peft_model_state_dict(denoiser)})
        return folder

    return make


@pytest.mark.parametrize(
    "family", ["z-image", "qwen-image", "flux2-klein", "stable-diffusion-xl", "stable-diffusion", "kolors", "sana"]
)
def test_a_lora_changes_one_picture_by_its_weight_and_leaves_no_trace(
    family: str, load: Callable[..., Any], make_lora: Make
) -> None:
    generator, lora = load(family), make_lora(family)
    before = picture(generator)
    whole, half = picture(generator, f"{lora}:1"), picture(generator, f"{lora}:0.5")
    assert 0 < np.abs(half - before).mean() < np.abs(whole - before).mean()
    assert np.array_equal(picture(generator), before)
    assert np.array_equal(picture(generator, str(lora)), whole), "the weight of a bare name is 1"


def test_two_loras_act_together(load: Callable[..., Any], make_lora: Make) -> None:
    generator, one, other = load("z-image"), make_lora("z-image", 1), make_lora("z-image", 2)
    alone, both = picture(generator, f"{one}:1"), picture(generator, f"{one}:1", f"{other}:0.7")
    assert not np.array_equal(alone, both)
    assert np.array_equal(picture(generator, f"{one}:1"), alone)


def test_a_lora_of_the_settings_is_there_from_the_first_picture(load: Callable[..., Any], make_lora: Make) -> None:
    lora = make_lora("z-image")
    generator = load("z-image", lora=f"{lora}:0.8")
    (drawn,) = generator.generate(PROMPT, 1, seed=7)
    assert np.array_equal(np.asarray(drawn, int), picture(load("z-image"), f"{lora}:0.8"))


def test_a_lora_for_another_base_is_refused(load: Callable[..., Any], make_lora: Make) -> None:
    generator = load("z-image")
    before = picture(generator)
    for family in ("stable-diffusion-xl", "qwen-image"):
        with pytest.raises(T2IError, match=r"does not fit ZImagePipeline|holds nothing for ZImagePipeline") as caught:
            picture(generator, str(make_lora(family)))
        assert caught.value.hint == "a LoRA fits only the base that it was trained for"
    assert np.array_equal(picture(generator), before)


def test_a_lora_of_a_wider_network_is_refused_and_leaves_nothing(
    load: Callable[..., Any], make_lora: Make, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    generator = load("z-image")
    before = picture(generator)
    tensors = load_file(make_lora("z-image") / "pytorch_lora_weights.safetensors")
    wider = {name: torch.cat([tensor, tensor], dim=1 if "lora_A" in name else 0) for name, tensor in tensors.items()}
    save_file(wider, tmp_path / "pytorch_lora_weights.safetensors")
    with pytest.raises(T2IError, match="does not fit ZImagePipeline"):
        picture(generator, str(tmp_path))
    assert np.array_equal(picture(generator), before)


def test_a_lora_that_is_not_there_is_named(load: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(T2IError, match="there is no LoRA 'nowhere'"):
        picture(load("z-image"), "nowhere:0.5")
    with pytest.raises(T2IError, match="there is no LoRA"):
        picture(load("z-image"), str(tmp_path))
    with pytest.raises(T2IError, match="HunyuanDiTPipeline takes no LoRA"):
        picture(load("hunyuan-dit"), str(tmp_path))


def test_a_weight_follows_the_last_colon() -> None:
    assert split("diffusers/noodles:0.8") == ("diffusers/noodles", 0.8)
    assert split("C:/loras/noodles") == ("C:/loras/noodles", 1.0)
    assert split("noodles") == ("noodles", 1.0)
