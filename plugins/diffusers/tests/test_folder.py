"""Folders that are no pipelines, damaged ones, and ones that would run code: each refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import t2i_diffusers
from t2i_diffusers import memory
from t2i_diffusers.folder import open_repository
from t2icli.contract.entries import Entry
from t2icli.ground.errors import T2IError
from t2icli.registry import configure
from t2icli.testing import Runner

Own = Callable[[str], Path]


@pytest.fixture
def refused(entry: Entry[Any]) -> Callable[..., str]:
    """What is said of a folder that cannot be loaded."""

    def load(folder: Path, **options: Any) -> str:
        with pytest.raises(T2IError) as caught:
            entry.load(configure.configure_entry("generator", entry, {"source": folder, **options}))
        return f"{caught.value.message}; {caught.value.hint}"

    return load


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_folder_without_an_index_is_refused(refused: Callable[..., str], own: Own, tmp_path: Path) -> None:
    own("z-image")
    assert "holds no pipeline: model_index.json is missing" in refused(tmp_path)
    assert "did you mean" in refused(tmp_path)
    assert "there is no folder of that name" in refused(tmp_path / "nowhere")


def test_a_layer_that_the_weights_lack_is_named(refused: Callable[..., str], own: Own) -> None:
    folder = own("z-image")
    edit(folder / "transformer/config.json", n_layers=2)
    said = refused(folder)
    assert "lack" in said and "tensors that its config.json requires: layers.1.adaLN_modulation" in said


def test_a_layer_that_a_text_encoder_lacks_is_named(refused: Callable[..., str], own: Own) -> None:
    folder = own("z-image")
    edit(folder / "text_encoder/config.json", num_hidden_layers=3, layer_types=["full_attention"] * 3)
    assert "model.layers.2." in refused(folder)


def test_a_cut_file_is_refused(refused: Callable[..., str], own: Own) -> None:
    folder = own("z-image")
    path = folder / "transformer/diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    assert "is incomplete: 1000 bytes are missing" in refused(folder)
    path.write_bytes(b"<html>not found</html>")
    assert "is damaged" in refused(folder)


def test_a_missing_shard_is_named(refused: Callable[..., str], own: Own) -> None:
    folder = own("z-image") / "transformer"
    whole = folder / "diffusion_pytorch_model.safetensors"
    names = sorted(load_file(whole))
    shards = [f"diffusion_pytorch_model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    whole.rename(folder / shards[0])
    table = {name: shards[i % 2] for i, name in enumerate(names)}
    index = {"metadata": {}, "weight_map": table}
    (folder / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    assert "lacks 1 of 2 files of weights: diffusion_pytorch_model-00002-of-00002" in refused(folder.parent)


@pytest.mark.parametrize("name", ["model.fp16-00001-of-00001.safetensors", "model-00001-of-00001.fp16.safetensors"])
def test_shards_of_a_variant_are_found_however_they_are_called(name: str, own: Own) -> None:
    folder = own("z-image") / "text_encoder"
    (folder / "model.safetensors").rename(folder / name)
    assert open_repository(folder.parent)["text_encoder"].weights() == ("fp16", [folder / name])


def test_weights_of_another_shape_are_refused(refused: Callable[..., str], own: Own) -> None:
    folder = own("z-image")
    edit(folder / "transformer/config.json", cap_feat_dim=32)
    assert "cannot be loaded" in refused(folder)
    edit(folder / "transformer/config.json", dim=64)
    assert "cannot be loaded: AssertionError" in refused(folder)


def test_a_pickle_is_never_opened(refused: Callable[..., str], own: Own, tmp_path: Path) -> None:
    folder, marker = own("z-image"), tmp_path / "ran"

    class Payload:
        def __reduce__(self) -> Any:
            return Path.touch, (marker,)

    (folder / "vae/diffusion_pytorch_model.safetensors").unlink()
    torch.save({"a": Payload()}, folder / "vae/diffusion_pytorch_model.bin")
    assert "are a pickle, 'diffusion_pytorch_model.bin', which could run any code" in refused(folder)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"_class_name": ["pipeline", "Mine"]}, "code from a repository is never run"),
        ({"_class_name": "WonderPipeline"}, "needs WonderPipeline, which diffusers"),
        ({"_class_name": "FlowMatchEulerDiscreteScheduler"}, "which diffusers"),
        ({"vae": ["os", "system"]}, "is a os.system, which neither diffusers nor transformers has"),
        ({"vae": ["diffusers_modules.mine", "Vae"]}, "which neither diffusers nor transformers has"),
        ({"vae": ["mine", "Vae"]}, "code from a repository is never run"),
        ({"../vae": ["diffusers", "AutoencoderKL"]}, "is damaged at '../vae'"),
        ({"other": ["diffusers", "AutoencoderKL"]}, "lacks its part 'other'"),
        ({"_class_name": "DDPMPipeline"}, "cannot draw from a prompt: its call takes no prompt"),
    ],
)
def test_an_index_that_asks_for_something_else_is_refused(
    changes: dict[str, Any], says: str, refused: Callable[..., str], own: Own
) -> None:
    folder = own("z-image")
    for script in ("mine.py", "pipeline.py", "vae/mine.py"):
        (folder / script).write_text("raise SystemExit('ran')")
    edit(folder / "model_index.json", **changes)
    assert says in refused(folder)


def test_an_auto_class_with_code_of_its_own_is_refused(refused: Callable[..., str], own: Own) -> None:
    folder = own("z-image")
    edit(folder / "model_index.json", tokenizer=["transformers", "AutoTokenizer"])
    edit(folder / "tokenizer/tokenizer_config.json", auto_map={"AutoTokenizer": ["mine.Tokenizer", None]})
    assert "needs custom code" in refused(folder)


def test_a_half_precision_variant_is_loaded_where_there_is_no_other(own: Own, entry: Entry[Any]) -> None:
    folder = own("stable-diffusion")
    for path in [*folder.rglob("*.safetensors")]:
        half = {
            name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in load_file(path).items()
        }
        save_file(half, path.with_name(path.name.replace(".safetensors", ".fp16.safetensors")), {"format": "pt"})
        path.unlink()
    options = {"source": folder, "steps": "1", "size": "64x64", "precision": "fp32"}
    generator = entry.load(configure.configure_entry("generator", entry, options))
    assert next(iter(generator.generate("a plate", 1, seed=0))).size == (64, 64)


def test_what_does_not_fit_into_memory_is_refused_with_flags_that_help(
    refused: Callable[..., str], own: Own, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = own("z-image")
    monkeypatch.setattr(memory, "SMALL", 0)
    monkeypatch.setattr(memory, "free", lambda device: 1_000_000)
    monkeypatch.setattr(memory, "size", lambda count: f"{count / 1e6:.2f} MB")
    said = refused(folder, precision="fp32", device="cpu")
    needed = sum(sum(load_numbers(path)) for path in folder.rglob("*.safetensors")) * 4 / 1e6
    assert f"the weights need {needed:.2f} MB and this machine has 1.00 MB of memory left" in said
    for flag in ("-o precision=bf16", "-o quantize=int8", "-o gguf=FILE"):
        assert flag in said


def load_numbers(path: Path) -> list[int]:
    return [tensor.numel() for tensor in load_file(path).values()]


def test_without_a_source_it_says_what_to_give(t2i: Runner) -> None:
    t2i.use(t2i_diffusers)
    t2i.fails("generate", "x", "-m", "diffusers", says="diffusers needs a pipeline")
