"""`autoencoder`: the VAE of any pipeline as a codec of latents, for generators that are trained here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import t2i_diffusers
from t2icli import load
from t2icli.ground.errors import T2IError
from t2icli.pictures.images import open_image
from t2icli.testing import Runner, check_codec, toys

Tiny = Callable[[str], Path]
SHAPES = {"stable-diffusion": (4, 8, 8), "z-image": (16, 8, 8), "qwen-image": (16, 8, 8), "sana": (4, 8, 8)}


@pytest.mark.parametrize("family", [*SHAPES, "flux2-klein"])
def test_it_keeps_the_promises_of_a_codec(family: str, tiny: Tiny) -> None:
    check_codec(t2i_diffusers.t2i_codecs()[0], source=tiny(family), size="64x64", device="cpu")  # type: ignore[arg-type]


def test_latents_are_those_that_the_pipeline_draws(tiny: Tiny) -> None:
    """Decoded they are the picture that the pipeline makes of them."""
    from t2i_diffusers.libraries import diffusers, quiet

    for family in ("z-image", "stable-diffusion-xl"):
        codec = load("codec", "autoencoder", source=tiny(family), size="64x64", device="cpu")
        with quiet():
            pipeline = diffusers.DiffusionPipeline.from_pretrained(tiny(family), local_files_only=True)
            options = {"prompt": "x", "height": 64, "width": 64, "num_inference_steps": 2}
            latents, images = (
                pipeline(**options, output_type=kind, generator=torch.Generator().manual_seed(0)).images
                for kind in ("latent", "pt")
            )
        assert torch.allclose(codec.decode_latents(latents), images, atol=1e-4), family


@pytest.mark.parametrize("family", SHAPES)
def test_sizes_of_latents(family: str, tiny: Tiny) -> None:
    assert load("codec", "autoencoder", source=tiny(family), size="64x64").latent_shape == SHAPES[family]
    assert load("codec", "autoencoder", source=tiny(family) / "vae", size="96x64").size == (64, 96)


def test_what_is_no_autoencoder_or_no_size_of_it_is_refused(t2i: Runner, tiny: Tiny, tmp_path: Path) -> None:
    t2i.use(t2i_diffusers)
    with pytest.raises(T2IError, match="holds no autoencoder"):
        load("codec", "autoencoder", source=tiny("z-image") / "transformer")
    with pytest.raises(T2IError, match="pictures of 60x60 come back as 56x56"):
        load("codec", "autoencoder", source=tiny("z-image"), size="60x60")
    t2i.ok("models", "import", tiny("z-image") / "vae", "--as", "autoencoder", "--name", "tiny")
    assert load("codec", "autoencoder", model="autoencoder/tiny", size="64x64").latent_shape == (16, 8, 8)


def test_a_flow_learns_over_its_latents_and_draws(t2i: Runner, tiny: Tiny, tmp_path: Path) -> None:
    import t2i_flow

    t2i.use(t2i_diffusers, t2i_flow)
    toys.prepared(tmp_path / "data", {"red": ["红色的盘子"], "blue": ["蓝色的盘子"]}, size=(64, 64))
    codec = ("-o", "codec=autoencoder", "-o", f"codec.source={tiny('stable-diffusion')}", "-o", "codec.size=64x64")
    small = ("-o", "width=16", "-o", "heads=2", "-o", "layers=1", "-o", "text_length=16", "--batch-size", "2")
    plan = ("--train-data", tmp_path / "data", "--max-steps", "2", "--device", "cpu", "--output", "run")
    t2i.ok("train", "flow", *codec, *small, *plan)
    t2i.ok("generate", "红色的盘子", "-m", "run/model", "-n", 1, "--output", "drawn")
    assert open_image(Path("drawn/000.png")).size == (64, 64)
