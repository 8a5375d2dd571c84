"""`t2i train lora` on tiny pipelines: the loss falls, pictures move towards the data, others load the result."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import t2i_diffusers
from t2i_diffusers import lora
from t2icli import load
from t2icli.ground.errors import T2IError
from t2icli.nn import devices
from t2icli.registry import configure
from t2icli.store import models
from t2icli.testing import Runner, toys
from t2icli.training.turns import RunningTurn

FAMILIES = ["z-image", "qwen-image", "flux2-klein", "stable-diffusion-xl"]
QUICK = ("-o", "steps=2", "-o", "size=64x64", "-o", "precision=fp32")
Tiny = Callable[[str], Path]
Base = Callable[[str], str]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two plain pictures with captions."""
    captions = {"red": ["红色的盘子"], "blue": ["蓝色的盘子", "a blue plate"]}
    toys.prepared(tmp_path / "data", captions, size=(64, 64))
    return tmp_path / "data"


def words(base: str, data: Path, *more: object) -> tuple[object, ...]:
    own = ("-m", base, "-o", "pixels=64", "-o", "preview_steps=2", "-o", "rank=4", "-o", "text_length=64")
    return ("lora", "--train-data", data, "--size", "original", "--device", "cpu", *own, *more)


@pytest.fixture
def base(t2i: Runner, tiny: Tiny) -> Callable[[str], str]:
    """`base("z-image")`: a pipeline of that family in the store."""
    t2i.use(t2i_diffusers)

    def take_in(family: str) -> str:
        name = f"diffusers/{family}"
        if not (t2i.home / "models" / name).is_dir():
            t2i.ok("models", "import", tiny(family), "--as", "diffusers", "--name", family)
        return name

    return take_in


@pytest.fixture
def recipe(base: Callable[[str], str]) -> Callable[..., Any]:
    def make(family: str, **options: Any) -> Any:
        entry = t2i_diffusers.t2i_recipes()[0]
        chosen = {"base": base(family), "pixels": 64, "text_length": 64, "rank": 8, "preview_steps": 2, **options}
        return entry.load(configure.configure_entry("recipe", entry, chosen))

    return make


def encoded(made: Any, data: Any) -> dict[str, torch.Tensor]:
    parts = {}
    for part in made.frozen():
        samples = part.samples(data)
        parts[part.name] = part.run(torch.utils.data.default_collate([samples[i] for i in range(len(samples))]))
    return parts


def recording(own: Any, ends: list[torch.Tensor]) -> Any:
    """The pipeline's scheduler, which keeps what its steps end with."""

    class Recording(type(own)):  # type: ignore[misc]
        @functools.wraps(type(own).step)
        def step(self, *words: Any, **options: Any) -> Any:
            result = super().step(*words, **options)
            ends.append(result[0])
            return result

    return Recording.from_config(own.config)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_falls_and_pictures_move_towards_the_data(
    family: str, recipe: Callable[..., Any], tmp_path: Path
) -> None:
    torch.manual_seed(0)  # of the LoRA's first matrices
    made = recipe(family, preview_steps=4)
    data = toys.prepared(tmp_path / "data", {"red": ["红色的盘子"]}, size=(64, 64))
    samples = made.dataset(data, "val", encoded(made, data))
    (turn,) = made.turns()
    batch = torch.utils.data.default_collate([samples[0]] * 4)
    optimizer = torch.optim.AdamW(turn.groups[0].parameters, lr=0.02)

    def losses(step: int) -> torch.Tensor:
        torch.manual_seed(step % 8)
        return turn.loss(batch, step)[0]

    def latents() -> torch.Tensor:
        """Those of a preview, as the last step leaves them."""
        made.preview({"texts": batch["texts"][:1]}, seed=0)
        return ends[-1]

    ends: list[torch.Tensor] = []
    made.pipeline.scheduler = recording(made.pipeline.scheduler, ends)

    aim = batch["latents"][:1]
    if latents().ndim == 3:  # rows of patches
        aim = made.kind._packed(aim) if family == "qwen-image" else aim.flatten(2).transpose(1, 2)
    with torch.no_grad():
        before, far = sum(losses(step) for step in range(8)), (latents() - aim).norm()
    for step in range(60):
        optimizer.zero_grad()
        losses(step).backward()
        optimizer.step()
    with torch.no_grad():
        after, near = sum(losses(step) for step in range(8)), (latents() - aim).norm()
    assert after < 0.95 * before, (before, after)
    assert near < far, (far, near)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_was_trained_draws_by_itself_and_beside_its_base(
    family: str, t2i: Runner, base: Base, tiny: Tiny, data: Path
) -> None:
    t2i.ok("train", *words(base(family), data, "--max-steps", 4, "--lr", "0.05", "--output", "run"))
    assert sorted(path.name for path in Path("run/model").iterdir()) == ["model.toml", lora.FILE]
    for name, model in {
        "lora": ("-m", "run/model"),
        "beside": ("-m", "diffusers", "-o", f"source={tiny(family)}", "-o", "lora=run/model"),
        "base": ("-m", "diffusers", "-o", f"source={tiny(family)}"),
    }.items():
        t2i.ok("generate", "红色的盘子", *model, *QUICK, "-n", 1, "--seed", 7, "--output", name)
    drawn = {name: np.asarray(Image.open(f"{name}/000.png")) for name in ("lora", "beside", "base")}
    assert np.array_equal(drawn["lora"], drawn["beside"])
    assert not np.array_equal(drawn["lora"], drawn["base"])


@pytest.mark.slow  # another process imports everything anew
def test_diffusers_itself_loads_the_file_in_another_process(t2i: Runner, base: Base, tiny: Tiny, data: Path) -> None:
    t2i.ok("train", *words(base("z-image"), data, "--max-steps", 2, "--lr", "0.05", "--output", "run"))
    code = (
        "import sys, diffusers; p = diffusers.DiffusionPipeline.from_pretrained(sys.argv[1]);"
        "p.load_lora_weights(sys.argv[2]); print(p.get_active_adapters())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tiny("z-image")), "run/model"], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "['default_0']", done.stderr


def test_a_run_that_was_stopped_ends_with_the_same_bytes(
    t2i: Runner, base: Base, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = words(base("z-image"), data, "--save-every", 1, "--preview-every", 2, "--max-steps", 4)
    t2i.ok("train", *plan, "--output", "whole")
    gradients = RunningTurn.gradients

    def stopping(self: RunningTurn, pieces: Any, step: int) -> Any:
        if step == 2 and Path("parts").is_dir():
            raise T2IError("stopped")
        return gradients(self, pieces, step)

    with monkeypatch.context() as broken:
        broken.setattr(RunningTurn, "gradients", stopping)
        t2i.fails("train", *plan, "--output", "parts", says="stopped")
    sizes = [path.stat().st_size for path in Path("parts/checkpoints").iterdir() if path.is_file()]
    assert sizes and max(sizes) < 500_000, "a checkpoint holds the LoRA, not the base of 1.6 MB"
    t2i.ok("train", *plan, "--output", "parts", "--resume")
    assert Path("whole/model", lora.FILE).read_bytes() == Path("parts/model", lora.FILE).read_bytes()


def test_int8_and_checkpointing_train_too(recipe: Callable[..., Any], tmp_path: Path) -> None:
    made = recipe("z-image", quantize="int8", checkpointing=True)
    data = toys.prepared(tmp_path / "data", {"red": ["红色的盘子"]}, size=(64, 64))
    samples = made.dataset(data, "train", encoded(made, data))
    (turn,) = made.turns()
    loss, _ = turn.loss(torch.utils.data.default_collate([samples[0]]), 0)
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in turn.groups[0].parameters)
    assert {p.dtype for p in turn.groups[0].parameters} == {torch.float32}


def test_its_base_is_a_part_that_is_not_copied(t2i: Runner, base: Base, data: Path) -> None:
    t2i.ok("train", *words(base("z-image"), data, "--max-steps", 1, "--output", "run"))
    trained, pipeline = models.open_model(Path("run/model")), models.find("diffusers/z-image")
    assert trained.card.links == {"base": "diffusers/z-image"}
    assert trained.card.parts == {"base": pipeline.sha256} and trained.part("base").folder == pipeline.folder
    assert trained.size < pipeline.size / 5
    t2i.ok("models", "import", "run/model", "--name", "noodles")
    taken = t2i.home / "models/diffusers/noodles"
    assert sorted(path.name for path in taken.iterdir()) == ["model.toml", lora.FILE]
    states = {row["name"]: row["problems"] for row in t2i.ok("models", "check", "--json").json()}
    assert states == {"diffusers/noodles": [], "diffusers/z-image": []}
    t2i.ok("generate", "红色的盘子", "-m", "diffusers/noodles", *QUICK, "-n", 1, "--output", "drawn")
    assert "it is needed by: diffusers/noodles" in t2i.ok("models", "rm", "diffusers/z-image", "--yes").stderr
    t2i.fails("models", "check", "diffusers/noodles", code=1)
    t2i.fails("generate", "x", "-m", "diffusers/noodles", says="needs 'diffusers/z-image', its base, which is not in")


def test_a_lora_finds_its_base_under_another_name_and_refuses_another_of_that_name(
    t2i: Runner, base: Base, own: Tiny, data: Path
) -> None:
    t2i.ok("train", *words(base("z-image"), data, "--max-steps", 1, "--output", "run"))
    store = t2i.home / "models/diffusers"
    (store / "z-image").rename(store / "mine")
    assert load("generator", "diffusers", model="run/model").loras.always
    from safetensors.torch import load_file, save_file

    folder = own("z-image")
    path = folder / "transformer/diffusion_pytorch_model.safetensors"
    save_file({name: tensor + 1 for name, tensor in load_file(path).items()}, path, {"format": "pt"})
    t2i.ok("models", "import", folder, "--as", "diffusers", "--name", "z-image")
    assert load("generator", "diffusers", model="run/model").loras.always
    t2i.ok("models", "rm", "diffusers/mine", "--yes")
    with pytest.raises(T2IError, match="base of model 'run/model' is not the one it was made with") as caught:
        load("generator", "diffusers", model="run/model")
    assert caught.value.hint and "-m BASE -o lora=run/model" in caught.value.hint
    assert load("generator", "diffusers", model="diffusers/z-image", lora="run/model").settings.lora == ("run/model",)


def test_a_base_is_a_pipeline_of_the_store(t2i: Runner, base: Base, tiny: Tiny, data: Path) -> None:
    t2i.fails("train", "lora", "--train-data", data, says="needs base\n  set it with -m MODEL")
    t2i.fails(
        "train", *words(str(tiny("z-image")), data), says=f"run: t2i models import {tiny('z-image')} --as diffusers"
    )
    t2i.ok("train", *words(base("z-image"), data, "--max-steps", 1, "--output", "run"))
    t2i.ok("models", "import", "run/model", "--name", "noodles")
    t2i.fails("train", *words("diffusers/noodles", data), says="'diffusers/noodles' is a LoRA itself")


def test_the_denoiser_comes_to_the_gpu_when_the_text_encoders_have_gone(
    recipe: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "pick_device", lambda word: torch.device("meta"))  # in place of a GPU
    made = recipe("z-image", base_precision="fp32")
    at = {name: next(made.pipeline.components[name].parameters()).device.type for name in ("text_encoder", "vae")}
    assert at == {"text_encoder": "meta", "vae": "meta"}
    assert {parameter.device.type for parameter in made.denoiser.parameters()} == {"cpu"}
    made.model.to("meta")
    made.turns()
    assert made.pipeline.text_encoder is None
    assert {parameter.device.type for parameter in made.denoiser.parameters()} == {"meta"}


def test_other_families_cannot_be_trained(t2i: Runner, base: Base, data: Path) -> None:
    t2i.fails("train", *words(base("sana"), data), says="LoRAs cannot be trained here for SanaPipeline")
