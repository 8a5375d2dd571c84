"""Which files of a repository are fetched."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from t2icli.ground.errors import T2IError
from t2icli.store import layout
from t2icli.store.layout import HubFile

INDEX = {
    "_class_name": "SomePipeline",
    "_diffusers_version": "0.30",
    "force_zeros": True,
    "sizes": [1, 2],
    "safety_checker": [None, None],
    "unet": ["diffusers", "UNet"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "scheduler": ["diffusers", "Euler"],
}
SMALL = ["model_index.json", "unet/config.json", "text_encoder/config.json", "scheduler/scheduler_config.json"]


def chosen(*paths: str, index: object = None, **rules: object) -> set[str]:
    """The files that are chosen of a pipeline with these beside its small ones."""
    content = json.dumps(INDEX if index is None else index).encode()
    files = [HubFile(path, 10) for path in (*SMALL, *paths)]
    return {file.path for file in layout.choose(files, lambda _: content, **rules)} - set(SMALL)  # type: ignore[arg-type]


UNET = "unet/diffusion_pytorch_model"
PLAIN = {f"{UNET}.safetensors", "text_encoder/model.safetensors"}
FP16 = {f"{UNET}.fp16.safetensors", "text_encoder/model.fp16.safetensors"}


def test_one_set_of_weights_is_chosen_and_nothing_for_other_programs() -> None:
    others = [
        *(
            "sd_xl_base.safetensors",
            "pipeline.py",
            "unet/custom.py",
            "unet/diffusion_pytorch_model.bin",
            ".gitattributes",
        ),
        *("text_encoder/flax_model.msgpack", "text_encoder/openvino_model.xml", "vae_1_0/config.json", "assets/a.png"),
        *("unet/diffusion_pytorch_model.non_ema.safetensors", "text_encoder/pytorch_model.bin.index.json"),
        *("text_encoder/model.onnx", "text_encoder/old.safetensors", "unet/deeper/config.json"),
    ]
    assert chosen(*others, *PLAIN, *FP16, "README.md", "LICENSE.txt") == {*PLAIN, "README.md", "LICENSE.txt"}


def test_the_plain_weights_are_taken_unless_a_variant_is_asked_for() -> None:
    assert chosen(*PLAIN, *FP16) == PLAIN
    assert chosen(*PLAIN, *FP16, variant="fp16") == FP16
    assert chosen(*PLAIN, f"{UNET}.fp16.safetensors", variant="fp16") == {
        f"{UNET}.fp16.safetensors",
        "text_encoder/model.safetensors",
    }


def test_where_there_are_only_halves_the_better_is_taken() -> None:
    bf16 = {path.replace("fp16", "bf16") for path in FP16}
    assert chosen(*FP16, *bf16, f"{UNET}.ema.safetensors") == bf16


@pytest.mark.parametrize(
    ("shards", "index", "variant"),
    [
        ("{}-0000{}-of-00002.safetensors", "{}.safetensors.index.json", None),
        ("{}.fp16-0000{}-of-00002.safetensors", "{}.safetensors.index.fp16.json", "fp16"),
        ("{}-0000{}-of-00002.fp16.safetensors", "{}.fp16.safetensors.index.json", "fp16"),
    ],
)
def test_shards_come_with_their_index_and_all_of_them(shards: str, index: str, variant: str | None) -> None:
    whole = {shards.format(UNET, 1), shards.format(UNET, 2), index.format(UNET)}
    both = {f"{UNET}.safetensors.index.bf16.json", f"{UNET}.bin.index.json", "text_encoder/model.safetensors"}
    assert chosen(*whole, *both, variant=variant) == {*whole, "text_encoder/model.safetensors"}
    with pytest.raises(T2IError, match=r"is incomplete: .*00002-of-00002.* of unet is missing"):
        chosen(*(whole - {shards.format(UNET, 2)}), *both, variant=variant)


def test_one_file_goes_before_shards_of_the_same() -> None:
    shards = [f"{UNET}-00001-of-00001.safetensors", f"{UNET}.safetensors.index.json"]
    assert chosen(*PLAIN, *shards) == PLAIN


def test_pickles_are_named_and_refused() -> None:
    with pytest.raises(T2IError, match=r"has text_encoder/pytorch_model.bin as a pickle only"):
        chosen(f"{UNET}.safetensors", "text_encoder/pytorch_model.bin")


@pytest.mark.parametrize(
    ("index", "says"),
    [
        ({"unet": ["diffusers", "UNet"], "vae": ["diffusers", "VAE"]}, "names 'vae', but it has no such folder"),
        ([], "names no parts"),
    ],
)
def test_a_pipeline_whose_list_of_parts_is_wrong_says_so(index: object, says: str) -> None:
    with pytest.raises(T2IError, match=says):
        chosen(*PLAIN, index=index)


def model(*paths: str, **rules: object) -> set[str]:
    files = [HubFile(path, 10) for path in paths]
    return {file.path for file in layout.choose(files, lambda _: b"", **rules)}  # type: ignore[arg-type]


def test_a_single_model_lies_at_the_top() -> None:
    whole = {"config.json", "vocab.txt", "merges.txt", "model.safetensors", "chat_template.jinja"}
    assert model(*whole, "onnx/model.onnx", "sub/config.json", "pytorch_model.bin", "run.py") == whole


def test_who_converts_may_have_the_pickle_where_there_is_nothing_else() -> None:
    assert model("config.json", "pytorch_model.bin", "training.pt", pickles=True) == {
        "config.json",
        "pytorch_model.bin",
    }
    assert model("pytorch_model.bin", "model.safetensors", pickles=True) == {"model.safetensors"}
    with pytest.raises(T2IError, match=r"several weights: a\.pt, b\.pt"):
        model("a.pt", "b.pt", pickles=True)


def test_weights_among_which_nobody_can_choose_are_named() -> None:
    with pytest.raises(T2IError, match="several weights and none is the usual one: big, small"):
        model("big.safetensors", "small.safetensors")
    assert model("big.safetensors") == {"big.safetensors"}


def test_patterns_take_the_place_of_the_rules() -> None:
    paths = ("config.json", "a-Q4.gguf", "a-Q8.gguf", "sub/b.pt")
    assert model(*paths, patterns=["*-Q4.gguf", "sub/*"]) == {"a-Q4.gguf", "sub/b.pt"}
    with pytest.raises(T2IError, match=r"no file of the repository is called 'a-Q5.gguf'"):
        model(*paths, patterns=["a-Q5.gguf"])


def test_a_folder_is_listed_without_what_is_hidden(tmp_path: Path) -> None:
    for name in ("config.json", "unet/model.safetensors", ".git/config", "unet/.cache"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"123")
    assert [(file.path, file.size) for file in layout.in_folder(tmp_path)] == [
        ("config.json", 3),
        ("unet/model.safetensors", 3),
    ]
