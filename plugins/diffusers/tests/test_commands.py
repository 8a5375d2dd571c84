"""Through the front door: `t2i generate -m diffusers -o source=FOLDER`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import t2i_diffusers
from t2icli import load
from t2icli.contract.requests import Request
from t2icli.pictures.images import open_image
from t2icli.testing import FakeHub, Runner

QUICK = ("-o", "steps=2", "-o", "size=64x64", "-o", "precision=fp32")


def test_a_folder_draws_without_a_store_and_a_picture_is_replayed(t2i: Runner, tiny: Callable[[str], Path]) -> None:
    t2i.use(t2i_diffusers)
    model = ("-m", "diffusers", "-o", f"source={tiny('z-image')}", *QUICK)
    for n, folder in ((2, "two"), (1, "one")):
        t2i.ok("generate", "红烧牛肉面", *model, "-n", n, "--seed", 7, "--output", folder)
    drawn = sorted(Path("two").glob("*.png"))
    assert [open_image(path).size for path in drawn if path.name != "grid.png"] == [(64, 64)] * 2
    assert Path("one/000.png").read_bytes() == Path("two/000.png").read_bytes()
    assert "agrees in every pixel" in t2i.ok("replay", "two/001.png").stdout


def test_a_folder_becomes_a_model_whose_damage_is_noticed(t2i: Runner, own: Callable[[str], Path]) -> None:
    t2i.use(t2i_diffusers)
    t2i.ok("models", "import", own("z-image"), "--as", "diffusers", "--name", "tiny")
    assert "diffusers/tiny" in t2i.ok("models", "list").stdout
    t2i.ok("generate", "红烧牛肉面", "-m", "diffusers/tiny", *QUICK, "-n", 1, "--seed", 7, "--output", "model")
    t2i.ok("replay", "model/000.png")
    path = t2i.home / "models/diffusers/tiny/transformer/diffusion_pytorch_model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.unlink()
    path.write_bytes(content)
    t2i.fails("generate", "x", "-m", "diffusers/tiny", *QUICK, code=1, says="is damaged: sha256 is")


def test_a_repository_without_a_pipeline_is_not_taken_in(t2i: Runner, own: Callable[[str], Path]) -> None:
    t2i.use(t2i_diffusers)
    folder = own("z-image")
    (folder / "model_index.json").unlink()
    t2i.fails("models", "import", folder, "--as", "diffusers", says="holds no pipeline: model_index.json is missing")
    assert not (t2i.home / "models/diffusers").exists()


def test_a_pipeline_of_an_unknown_class_is_refused_before_its_weights_are_fetched(
    t2i: Runner, fake_hub: FakeHub, tiny: Callable[[str], Path]
) -> None:
    t2i.use(t2i_diffusers)
    place = tiny("z-image")
    files = {path.relative_to(place).as_posix(): path.read_bytes() for path in place.rglob("*") if path.is_file()}
    files["model_index.json"] = files["model_index.json"].replace(b"ZImagePipeline", b"FuturePipeline")
    fake_hub.add("Some/Future", files)
    says = "error: 'hf:Some/Future' needs FuturePipeline, which diffusers"
    t2i.fails("models", "pull", "hf:Some/Future", "--as", "diffusers", "--yes", says=says)
    assert not fake_hub.asked_of_store and not (t2i.home / "models/diffusers").exists()


def test_a_turbo_model_takes_few_steps_without_being_asked_to(t2i: Runner, own: Callable[[str], Path]) -> None:
    t2i.use(t2i_diffusers)
    folder = own("z-image").rename("Z-Image-Turbo")
    generator = load("generator", "diffusers", source=folder, size="64x64", precision="fp32")
    assert (generator.settings.steps, generator.settings.cfg_scale) == (8, 0.0)
    (usual,) = generator.draw([Request("红烧牛肉面", 7)])
    (same,) = generator.draw([Request("红烧牛肉面", 7, {"steps": 8, "cfg_scale": 0.0})])
    assert usual.tobytes() == same.tobytes()
    assert load("generator", "diffusers", source=folder, steps=3).settings.steps == 3
