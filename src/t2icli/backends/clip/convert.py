"""Checkpoints of OpenAI's CLIP, open_clip's trainer and text2img as model folders."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from open_clip.transform import PreprocessCfg
from torch import Tensor

from t2icli.backends.clip.model import build, named, read_json
from t2icli.contract.entries import Upstream
from t2icli.ground.errors import T2IError
from t2icli.nn import weights
from t2icli.registry import parts
from t2icli.store import models, unpickle, upstream
from t2icli.store.models import Card

NOT_WEIGHTS = ("input_resolution", "context_length", "vocab_size")
"""Numbers OpenAI keeps among the weights."""
OWN_VOCABULARY = 49408
HEADS = {1280: 80, 1408: 88, 1664: 104}
"""Width of a head in open_clip's ViT-H, ViT-g and ViT-bigG, by the tower's width: it leaves no trace in the weights."""


def convert(upstream: Upstream, folder: Path) -> None:
    """A model folder from a checkpoint and, where the shape cannot be seen in it, open_clip's JSON or params.txt."""
    checkpoint, described = _sort(upstream.files)
    state, from_trainer, run = read(checkpoint)
    architecture = described.get("model_cfg") or inferred(state, quick_gelu=not from_trainer or "quickgelu" in run)
    network = build(architecture)
    weights.fill(network, state, checkpoint.name)
    weights.save(network, folder)
    about = f"CLIP, {_summary(architecture)}"
    config = {"architecture": architecture, "preprocess": preprocessing(architecture, described)}
    if architecture["text_cfg"].get("vocab_size", OWN_VOCABULARY) != OWN_VOCABULARY:
        config["frame"] = _keep_vocabulary(upstream, folder)
    models.seal(folder, Card(kind="embedder", backend="clip", about=about, source=checkpoint.name, config=config))


def _sort(files: tuple[Path, ...]) -> tuple[Path, dict[str, Any]]:
    """The checkpoint, and what the files beside it say about its shape."""
    checkpoints = [path for path in files if path.suffix not in (".json", ".txt")]
    if len(checkpoints) != 1:
        raise T2IError(f"one CLIP checkpoint is needed, not {len(checkpoints)}", "give the .pt or .safetensors file")
    described: dict[str, Any] = {}
    for path in files:
        if path.suffix == ".json":
            described.update(read_json(path))
        elif path.suffix == ".txt":
            described["model_cfg"] = named(_trained_model(path))
    return checkpoints[0], described


def _keep_vocabulary(upstream: Upstream, folder: Path) -> list[int]:
    """Keep the vocabulary the model was trained with; returns the ids a text stands between."""
    if "tokenizer" not in upstream.parts:
        raise T2IError(
            "this CLIP was not trained with CLIP's own vocabulary", "give the one it reads: --part tokenizer=vocab.txt"
        )
    parts.convert("tokenizer", "chinese", upstream, "tokenizer", folder)
    lines = (folder / "tokenizer/vocab.txt").read_text(encoding="utf-8").splitlines()
    return [lines.index("[CLS]"), lines.index("[SEP]")]


def _trained_model(params: Path) -> str:
    """The architecture that open_clip's trainer noted in params.txt."""
    for line in params.read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model":
            return value.strip()
    raise T2IError(f"'{params}' does not name a model", "give the params.txt that open_clip's trainer wrote")


def read(path: Path) -> tuple[dict[str, Tensor], bool, str]:
    """Weights by open_clip's names; whether its trainer wrote them; and under which run name."""
    if unpickle.is_torchscript(path):  # OpenAI's own files
        state, from_trainer, run = _torchscript(path), False, ""
    else:
        contents = upstream.read(path)
        from_trainer = isinstance(contents.data, Mapping) and "state_dict" in contents.data
        state = contents.tensors("state_dict") if from_trainer else contents.tensors()
        run = str(contents.data.get("name", "")).lower() if from_trainer else ""
    state = {key.removeprefix("module."): value for key, value in state.items()}
    return {key: value for key, value in state.items() if key not in NOT_WEIGHTS}, from_trainer, run


def _torchscript(path: Path) -> dict[str, Tensor]:
    """The weights of a TorchScript archive, read by torch's C++ code, which knows no Python."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # deprecated for making archives; these exist
        warnings.simplefilter("ignore", DeprecationWarning)
        return dict(torch.jit.load(str(path), map_location="cpu").float().state_dict())


def preprocessing(architecture: Mapping[str, Any], described: Mapping[str, Any]) -> dict[str, Any]:
    """open_clip's preprocessing: CLIP's mean and deviation unless the checkpoint's JSON says otherwise."""
    default = PreprocessCfg(size=architecture["vision_cfg"].get("image_size", 224))
    own = {key: getattr(default, key) for key in default.__dataclass_fields__}
    return {**own, **described.get("preprocess_cfg", {})}


def inferred(state: Mapping[str, Tensor], *, quick_gelu: bool) -> dict[str, Any]:
    """The shape of OpenAI's network that holds these weights; only the activation leaves no trace in them."""
    try:
        vision = _resnet(state) if "visual.layer1.0.conv1.weight" in state else _transformer(state)
        context, width = state["positional_embedding"].shape
        text = {
            "context_length": context,
            "vocab_size": state["token_embedding.weight"].shape[0],
            "width": width,
            "heads": width // 64,
            "layers": upstream.count(state, r"transformer\.resblocks\.(\d+)\."),
        }
        return {
            "embed_dim": state["text_projection"].shape[1],
            "quick_gelu": quick_gelu,
            "vision_cfg": vision,
            "text_cfg": text,
        }
    except KeyError as missing:
        raise T2IError(
            f"the file holds no OpenAI CLIP: {missing} is not among its weights",
            "give open_clip's JSON of the architecture, or the run's params.txt, beside the checkpoint",
        ) from missing


def _transformer(state: Mapping[str, Tensor]) -> dict[str, Any]:
    width, _, patch, _ = state["visual.conv1.weight"].shape
    grid = round((state["visual.positional_embedding"].shape[0] - 1) ** 0.5)
    layers = upstream.count(state, r"visual\.transformer\.resblocks\.(\d+)\.")
    hidden = state["visual.transformer.resblocks.0.mlp.c_fc.weight"].shape[0]
    shape = {"image_size": grid * patch, "layers": layers, "width": width, "patch_size": patch}
    ratio = {} if hidden == 4 * width else {"mlp_ratio": hidden / width}
    return {**shape, "head_width": HEADS.get(width, 64), **ratio}


def _resnet(state: Mapping[str, Tensor]) -> dict[str, Any]:
    layers = [upstream.count(state, rf"visual\.layer{stage}\.(\d+)\.") for stage in (1, 2, 3, 4)]
    width = state["visual.layer1.0.conv1.weight"].shape[0]
    grid = round((state["visual.attnpool.positional_embedding"].shape[0] - 1) ** 0.5)
    return {"image_size": grid * 32, "layers": layers, "width": width, "patch_size": None}


def _summary(architecture: Mapping[str, Any]) -> str:
    vision, text = architecture["vision_cfg"], architecture["text_cfg"]
    tower = vision.get("timm_model_name") or (
        "ResNet" if isinstance(vision.get("layers"), list) else f"ViT, patch {vision.get('patch_size')}"
    )
    return f"{tower}, {vision.get('image_size', 224)} px, {text.get('vocab_size', 49408)} token ids"
