"""What each setting does, and that none of them leaves a trace in the next picture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from t2i_diffusers import memory, schedulers
from t2icli.contract.requests import Request
from t2icli.ground.errors import T2IError

PROMPT = "红烧牛肉面"
GGUF = "-o gguf=FILE of 4 bits"
Load = Callable[..., Any]


def picture(generator: Any, seed: int = 7, **settings: Any) -> Any:
    (drawn,) = generator.draw([Request(PROMPT, seed, settings)])
    return np.asarray(drawn.convert("RGB"), int)


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": 3},
        {"cfg_scale": 1.5},
        {"negative": "面条"},
        {"scheduler": "heun"},
        {"scheduler": "euler-a"},
    ],
)
def test_settings_of_one_picture_change_it_alone(settings: dict[str, Any], load: Load) -> None:
    generator = load("stable-diffusion")
    before = picture(generator)
    changed = picture(generator, **settings)
    assert not np.array_equal(changed, before)
    assert np.array_equal(picture(generator, **settings), changed)
    assert np.array_equal(picture(generator), before)


@pytest.mark.parametrize(
    ("family", "read"), [("stable-diffusion", 77), ("stable-diffusion-xl", 77), ("z-image", 512), ("sana", 300)]
)
def test_a_prompt_that_is_cut_is_reported_once(family: str, read: int, load: Load) -> None:
    generator = load(family)
    with pytest.warns(UserWarning, match=f"was cut to the {read} the model reads") as caught:
        list(generator.generate("a plate of noodles " * 40, 2, seed=7))
    assert len(caught) == 1


def test_a_size_of_one_picture(load: Load) -> None:
    generator = load("z-image")
    assert picture(generator, size="96x64").shape == (64, 96, 3)
    with pytest.raises(T2IError, match="pictures of 72x64 cannot be drawn") as caught:
        picture(generator, size="72x64")
    assert caught.value.hint == "width and height are multiples of 16"


def test_sizes_are_declared_the_usual_one_first(load: Load) -> None:
    assert load("z-image").abilities.sizes[:3] == ((64, 64), (1024, 1024), (1184, 880))
    assert load("sana", size="none").abilities.sizes[0] == (1024, 1024)
    assert load("stable-diffusion", size="none").abilities.sizes[0] == (64, 64)


@pytest.mark.parametrize(
    ("family", "name"), [("qwen-image", "cfg_scale"), ("flux2-klein", "cfg_scale"), ("hunyuan-image", "cfg_scale")]
)
def test_guidance_reaches_what_each_pipeline_calls_it(family: str, name: str, load: Load) -> None:
    generator = load(family)
    assert not np.array_equal(picture(generator, **{name: 2.0}), picture(generator, **{name: 6.0}))


def test_what_a_pipeline_has_not_is_ignored_with_a_warning(load: Load) -> None:
    with pytest.warns(UserWarning, match="Flux2KleinPipeline takes no negative prompt"):
        picture(load("flux2-klein"), negative="面条")


@pytest.mark.parametrize("name", schedulers.DIFFUSION)
def test_every_scheduler_draws_with_stable_diffusion(name: str, load: Load) -> None:
    generator = load("stable-diffusion")
    drawn = picture(generator, scheduler=name)
    assert drawn.std() > 5 and np.array_equal(picture(generator, scheduler=name), drawn)


@pytest.mark.parametrize("family", ["z-image", "qwen-image", "sana", "stable-diffusion-3"])
@pytest.mark.parametrize("name", schedulers.FLOW)
def test_every_scheduler_of_flow_matching_draws(name: str, family: str, load: Load) -> None:
    generator = load(family)
    drawn = picture(generator, scheduler=name)
    assert drawn.std() > 5 and np.array_equal(picture(generator, scheduler=name), drawn)


def test_pixels_that_are_no_numbers_are_an_error(load: Load) -> None:
    with pytest.raises(T2IError, match="QwenImagePipeline produced values that are not numbers") as caught:
        picture(load("qwen-image"), steps=1)  # its scheduler divides by the number of steps less one
    assert caught.value.hint == "set more steps, or precision=fp32"


def test_a_scheduler_for_other_networks_is_refused(load: Load) -> None:
    with pytest.raises(T2IError, match="this pipeline cannot use the scheduler 'ddim'") as caught:
        picture(load("z-image"), scheduler="ddim")
    assert caught.value.hint == "it takes: auto, euler, lcm"


@pytest.mark.parametrize("family", ["z-image", "stable-diffusion-xl"])
def test_bf16_draws_nearly_the_same(family: str, load: Load) -> None:
    exact, rough = load(family), load(family, precision="bf16")
    assert rough.precision == "bf16"
    assert 0 < np.abs(picture(rough) - picture(exact)).mean() < 20


def test_int8_weights_draw_nearly_the_same(load: Load) -> None:
    exact, small = load("z-image"), load("z-image", quantize="int8")
    kinds = {type(parameter).__name__ for parameter in small.pipelines[small.kind].transformer.parameters()}
    assert "Int8Tensor" in kinds, kinds
    assert 0 < np.abs(picture(small) - picture(exact)).mean() < 10


def test_a_gguf_file_stands_for_the_denoiser(load: Load, tiny: Callable[[str], Path], tmp_path: Path) -> None:
    path = tmp_path / "z-image-q8_0.gguf"
    write_gguf(tiny("z-image") / "transformer/diffusion_pytorch_model.safetensors", path)
    drawn = picture(load("z-image", gguf=str(path)))
    assert 0 < np.abs(drawn - picture(load("z-image"))).mean() < 10


def write_gguf(source: Path, target: Path) -> None:
    """Matrices in 8 bits; what is small stays as it is, as converters do."""
    import gguf
    from safetensors.torch import load_file

    writer = gguf.GGUFWriter(str(target), "z_image")
    for name, tensor in load_file(source).items():
        values = tensor.float().numpy()
        if values.ndim == 2 and values.shape[1] % 32 == 0 and "pad_token" not in name:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_file_that_is_no_gguf_is_refused(load: Load, tmp_path: Path) -> None:
    path = tmp_path / "no.gguf"
    with pytest.raises(T2IError, match="there is no file"):
        load("z-image", gguf=str(path))
    path.write_bytes(b"<html>")
    with pytest.raises(T2IError, match="is not a ZImageTransformer2DModel"):
        load("z-image", gguf=str(path), precision="bf16")
    assert torch.get_default_dtype() is torch.float32


def test_tiles_and_groups_of_layers_draw(load: Load) -> None:
    plain = load("stable-diffusion")
    assert np.array_equal(picture(load("stable-diffusion", tiling="yes")), picture(plain))
    assert np.array_equal(picture(load("stable-diffusion", offload="group")), picture(plain))
    with pytest.raises(T2IError, match="offload=model needs a GPU"):
        load("stable-diffusion", offload="model")


@pytest.mark.parametrize("family", ["z-image", "qwen-image", "stable-diffusion-xl", "sana"])
def test_rows_of_a_full_batch_do_not_depend_on_their_neighbours(family: str, load: Load) -> None:
    """As on a GPU, where batches are larger than one: always of one size, filled up by repeats."""
    generator = load(family, batch="4")
    generator.batch = 4
    try:
        four = [image.tobytes() for image in generator.generate(PROMPT, 4, seed=7)]
        assert [image.tobytes() for image in generator.generate(PROMPT, 2, seed=8)] == four[1:3]
        mixed = [Request("a plate", 1), Request(PROMPT, 10)]
        assert [image.tobytes() for image in generator.draw(mixed)][1] == four[3]
    finally:
        generator.batch = 1


@pytest.fixture
def photo() -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8)
    return Image.fromarray(noise).resize((120, 80))


FAMILIES_OF_PICTURES = ["stable-diffusion", "stable-diffusion-xl", "stable-diffusion-3", "z-image", "qwen-image"]


@pytest.mark.parametrize("family", [*FAMILIES_OF_PICTURES, "kolors", "flux2-klein", "qwen-image-2.1"])
def test_a_picture_to_start_from_decides_what_is_drawn(family: str, load: Load, photo: Image.Image) -> None:
    generator = load(family)
    assert "source" in generator.abilities.conditions
    request = Request(PROMPT, 7, {"steps": 4}, source=photo)
    (drawn,), (again,) = generator.draw([request]), generator.draw([request])
    assert drawn.size == (64, 64) and drawn.tobytes() == again.tobytes()
    (other,) = generator.draw([Request(PROMPT, 7, {"steps": 4}, source=photo.rotate(180))])
    assert drawn.tobytes() != other.tobytes()


@pytest.mark.parametrize("family", [*FAMILIES_OF_PICTURES, "flux2-klein"])
def test_a_mask_leaves_the_rest_nearer_to_the_picture(family: str, load: Load, photo: Image.Image) -> None:
    generator = load(family)
    assert "mask" in generator.abilities.conditions
    mask = Image.new("L", (64, 64))
    mask.paste(255, (0, 0, 32, 64))
    settings = {"steps": 4, "strength": 1.0}
    (drawn,) = generator.draw([Request(PROMPT, 7, settings, source=photo, mask=mask)])
    (whole,) = generator.draw([Request(PROMPT, 7, settings, source=photo, mask=Image.new("L", (64, 64), 255))])
    kept = Image.new("L", (64, 64))
    (none,) = generator.draw([Request(PROMPT, 7, settings, source=photo, mask=kept)])
    drawn, whole, none = (np.asarray(image.convert("RGB"), int) for image in (drawn, whole, none))
    left, right = slice(0, 24), slice(40, 64)  # away from the border, which the VAE blurs
    assert np.abs(drawn - none)[:, right].mean() < np.abs(drawn - none)[:, left].mean()
    assert np.abs(drawn - whole)[:, left].mean() < np.abs(drawn - whole)[:, right].mean()


def test_strength_is_how_much_is_drawn_anew(load: Load, photo: Image.Image) -> None:
    generator = load("stable-diffusion")

    def drawn(strength: float) -> Any:
        settings = {"steps": 10, "strength": strength}
        (image,) = generator.draw([Request(PROMPT, 7, settings, source=photo)])
        return np.asarray(image.convert("RGB"), int)

    kept = drawn(0.1)
    assert np.abs(drawn(0.3) - kept).mean() < np.abs(drawn(1.0) - kept).mean()
    with pytest.raises(T2IError, match=r"a strength of 0\.01 leaves none of 10 steps"):
        drawn(0.01)


def test_an_edit_pipeline_needs_a_picture(load: Load) -> None:
    with pytest.raises(T2IError, match="QwenImageEditPipeline edits pictures") as caught:
        picture(load("qwen-image-edit"))
    assert caught.value.hint == "give it one: --from IMAGE"


@pytest.mark.slow  # it reads every picture at a million pixels
def test_an_edit_pipeline_changes_a_picture(load: Load, photo: Image.Image) -> None:
    request = Request("把盘子换成红色", 7, source=photo)
    (drawn,) = load("qwen-image-edit").draw([request])
    (other,) = load("qwen-image-edit").draw([Request(request.prompt, 7, source=photo.rotate(180))])
    assert drawn.size == (64, 64) and drawn.tobytes() != other.tobytes()


def test_the_memory_needed_is_that_of_the_weights(load: Load) -> None:
    need = memory.Need({"transformer": 6_000_000_000, "text_encoder": 4_000_000_000, "vae": 80_000_000}, "bf16")
    assert memory.size(need.bytes()) == "20.2 GB"
    flags = dict(need.smaller(on_gpu=True))
    assert list(flags) == ["-o quantize=int8", "-o offload=model", "-o offload=group", GGUF, f"-o quantize=int8 {GGUF}"]
    assert list(dict(need.smaller(on_gpu=False))) == ["-o quantize=int8", GGUF, f"-o quantize=int8 {GGUF}"]
    assert memory.size(flags["-o offload=model"].bytes()) == "12.0 GB"
    assert all(less.bytes() < need.bytes() for less in flags.values())


def test_flags_that_make_it_fit_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    need = memory.Need({"transformer": 6_000_000_000, "text_encoder": 4_000_000_000, "vae": 80_000_000}, "bf16")
    monkeypatch.setattr(memory, "free", lambda device: 9_000_000_000)
    with pytest.raises(T2IError, match=r"need 20\.2 GB and the GPU has 9\.0 GB") as caught:
        memory.check(need, torch.device("cuda"))
    flags = f"-o offload=group (1.2 GB), -o quantize=int8 {GGUF} (8.0 GB), -o quantize=int8 (10.7 GB)"
    assert caught.value.hint is not None and flags in caught.value.hint


def test_the_global_generator_is_left_alone(load: Load) -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    picture(load("z-image"))
    assert torch.rand(3).equal(expected)
