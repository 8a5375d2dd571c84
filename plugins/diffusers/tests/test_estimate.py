"""What training a LoRA takes is known before anything is loaded; sizes suit GPUs of 8, 12 and 24 GB."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import t2i_diffusers
from t2i_diffusers import LoraRecipeSettings, autoencoder, estimate, families, folder, lora, memory, presets, train
from t2i_diffusers.libraries import diffusers, quiet
from t2i_diffusers.live import Live, plain
from t2i_diffusers.testing.shapes import BASES
from t2icli.nn import devices
from t2icli.registry import settings as registry_settings
from t2icli.store.models import Card, Model
from t2icli.testing import Runner, toys

FAMILIES = ["z-image", "qwen-image", "flux2-klein", "stable-diffusion-xl"]
BASE = Model(Path("base"), Card(kind="generator", backend="diffusers", about=""), "any")
README = Path(__file__).parents[1] / "README.md"
Tiny = Callable[[str], Path]


def shadow(place: Path, precision: str = "fp32", **chosen: Any) -> estimate.Shadow:
    made = registry_settings.convert(
        LoraRecipeSettings, {"base": BASE, "rank": 4, "text_length": 64, "pixels": 64, **chosen}, "lora"
    )
    with quiet():
        return estimate.Shadow(folder.open_repository(place), made, precision)


def measured(place: Path, latents: tuple[int, ...], chosen: dict[str, Any]) -> tuple[int, int, int]:
    """Bytes of a true step on true tensors: saved for the way back, at the most; and of decoding."""
    with quiet():
        pipeline = diffusers.DiffusionPipeline.from_pretrained(place)
        denoiser = pipeline.unet if hasattr(pipeline, "unet") else pipeline.transformer
        if chosen.get("quantize") == "int8":
            from torchao.quantization import Int8WeightOnlyConfig, quantize_

            quantize_(denoiser.requires_grad_(False), Int8WeightOnlyConfig())
        family = families.family(pipeline, type(pipeline).__name__)
        lora.adapt(denoiser, 4, family.targets)
        if chosen.get("checkpointing"):
            denoiser.enable_gradient_checkpointing()
        networks = [value for value in pipeline.components.values() if isinstance(value, nn.Module)]
        known = [tensor for network in networks for tensor in (*network.parameters(), *network.buffers())]
        for parameter in denoiser.parameters():
            if parameter.requires_grad:
                parameter.grad = torch.zeros_like(parameter)
                known.append(parameter.grad)
        inputs = [torch.randn(1, *latents), torch.ones(1, *family.text_shape(64))]
        ours = {part.untyped_storage().data_ptr() for tensor in known for part in plain(tensor)}
        saved: dict[int, int] = {}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            for part in plain(tensor):
                storage = part.untyped_storage()
                if storage.data_ptr() not in ours:
                    saved[storage.data_ptr()] = storage.nbytes()
            return tensor

        hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
        with hooks, Live([*inputs, *known]) as live:
            family.loss(*inputs).backward()
        with torch.no_grad(), Live(known) as decoding:
            autoencoder.decode(pipeline.vae, inputs[0])
    return sum(saved.values()), live.peak, decoding.peak


@pytest.mark.parametrize(
    "chosen",
    [
        {"pixels": 128, "checkpointing": True},
        pytest.param({}, marks=pytest.mark.slow),
        pytest.param({"pixels": 256}, marks=pytest.mark.slow),
        pytest.param({"pixels": 128, "checkpointing": True, "quantize": "int8"}, marks=pytest.mark.slow),
    ],
    ids=str,
)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_takes_what_was_estimated(family: str, chosen: dict[str, Any], tiny: Tiny) -> None:
    made = shadow(tiny(family), **chosen)
    _, latents = made.encoding()
    forward, on_top = made.step(latents)
    saved, peak, decoding = measured(tiny(family), latents, chosen)
    assert forward + on_top == pytest.approx(peak, rel=0.25)
    assert saved <= 1.25 * (forward + on_top)
    assert made.drawing(latents) == pytest.approx(decoding, rel=0.25)


@pytest.mark.slow
@pytest.mark.parametrize("checkpointing", [False, True])
def test_blocks_that_repeat_count_as_often_as_there_are(
    checkpointing: bool, own: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = own("flux2-klein")
    path = place / "transformer/config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "num_layers": 4, "num_single_layers": 5}))
    few = shadow(place, checkpointing=checkpointing)
    assert sorted(stack.length for stack in few.stacks) == [4, 5]
    _, latents = few.encoding()
    trained, held, step = few.full(latents)
    monkeypatch.setattr(estimate, "stacks", lambda network: [])
    every = shadow(place, checkpointing=checkpointing)
    assert (trained, held) == every.full(latents)[:2]
    assert step == pytest.approx(every.full(latents)[2], rel=0.1)


@pytest.fixture
def base(t2i: Runner, tiny: Tiny) -> str:
    t2i.use(t2i_diffusers)
    t2i.ok("models", "import", tiny("stable-diffusion-xl"), "--as", "diffusers", "--name", "xl")
    return "diffusers/xl"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    toys.prepared(tmp_path / "data", {"red": ["红色的盘子"], "blue": []}, size=(64, 64))
    return tmp_path / "data"


def test_a_dry_run_tells_the_memory_and_loads_nothing(
    t2i: Runner, base: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "load_pipeline", lambda *words: pytest.fail("the base was loaded"))
    for weights in (t2i.home / "models" / base).rglob("*.safetensors"):
        with weights.open("r+b") as stream:  # a table of contents is left, and no numbers
            stream.seek(8 + int.from_bytes(stream.read(8), "little"))
            stream.write(b"\xff" * (weights.stat().st_size - stream.tell()))
    said = t2i.ok("train", "lora", "-m", base, "--train-data", data, "--dry-run", "-o", "pixels=128")
    assert re.search(r"memory\W+\d+\.\d GB: weights \d+\.\d; LoRA", said.stdout), said.stdout
    assert "1 of 2 pictures to train on have no caption: they are learnt without words" in said.stderr


def test_training_that_does_not_fit_is_refused_with_flags_that_help(
    t2i: Runner, base: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "SMALL", 0)
    monkeypatch.setattr(memory, "free", lambda device: 1_000_000)
    monkeypatch.setattr(memory, "size", lambda count: f"{count / 1e6:.2f} MB")
    words = ("train", "lora", "-m", base, "--train-data", data, "--size", "original", "-o", "pixels=300")
    said = t2i.fails(*words, "--device", "cpu", says="training needs", code=1).stderr
    needed, *less = (float(number) for number in re.findall(r"([\d.]+) MB", said) if number != "1.00")
    assert "this machine has 1.00 MB of memory left" in said and len(less) == 3 and max(less) < needed
    assert "-o pixels=256 (" in said and "a smaller base" in said


def test_a_size_suits_the_family_of_its_base(t2i: Runner, base: str, tiny: Tiny) -> None:
    t2i.ok("models", "import", tiny("z-image"), "--as", "diffusers", "--name", "z")
    assert presets.suited("8gb", {"base": base})["quantize"] == "none"
    assert not presets.suited("8gb", {"base": "diffusers/z"}) and not presets.suited("8gb", {})


def test_the_size_is_that_of_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    from t2icli.pipelines import sizes

    entry = t2i_diffusers.t2i_recipes()[0]
    assert sizes.pick(entry, "auto", {}, "cpu") == "8gb"
    monkeypatch.setattr(devices, "pick_device", lambda word: torch.device("cuda"))
    for there, size in ((6e9, "8gb"), (8.3e9, "8gb"), (12.6e9, "12gb"), (16.8e9, "12gb"), (25.2e9, "24gb")):
        monkeypatch.setattr(devices, "memory_of", lambda device, there=there: there)
        assert sizes.pick(entry, "auto", {}, "auto") == size


@pytest.mark.slow  # networks of the true sizes, though without numbers
@pytest.mark.parametrize("name", BASES)
def test_the_readme_has_the_memory_of_the_published_bases(name: str, tmp_path: Path) -> None:
    shape = BASES[name]
    place = shape.write(tmp_path / "base")
    (row,) = re.findall(rf"^\| {re.escape(name)} \| (.*) \|$", README.read_text(encoding="utf-8"), re.MULTILINE)
    for size, cell in zip(presets.LORA_SIZES, row.split(" | "), strict=True):
        differing = presets.BY_FAMILY.get(shape.pipeline, {}).get(size, {})
        chosen = registry_settings.merge({**presets.LORA_SIZES[size], "text_length": 256}, differing)
        text = round(shape.text * (1.05 if chosen["quantize"] == "int8" else 2))
        made = shadow(place, "bf16", **chosen).estimate(text, all_at_once=False)
        needed = sum(made.memory.values())
        fits = needed <= int(size.removesuffix("gb")) * 2**30 - 600e6
        assert cell.endswith(f"{needed / 1e9:.1f} GB" if fits else "-"), (size, needed)
