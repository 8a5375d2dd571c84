"""BriVL's own checkpoints as model folders."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from torch import Tensor

from t2i_brivl.embed import VOCABULARY
from t2i_brivl.model import Brivl
from t2i_brivl.shape import FULL, Bert, BrivlShape
from t2icli.contract.entries import Upstream
from t2icli.ground.errors import T2IError
from t2icli.nn import weights
from t2icli.store import models, upstream
from t2icli.store.models import Card

RENAMED = (
    ("imgencoder.backbone.", "image.backbone.network."),
    ("imgencoder.learnable.max_pool.0.", "image.project."),
    ("imgencoder.learnable.imgAtt.", "image.attention."),
    ("imgencoder.learnable.imgFC.", "image."),
    ("textencoder.backbone.bert.", "text.backbone."),
    ("textencoder.backbone.", "text.backbone."),
    ("textencoder.learnable.textAtt.", "text.attention."),
    ("textencoder.learnable.textFC.", "text."),
)
UNUSED = re.compile(r"(imgencoder_mom|textencoder_mom)\.|.*\bposition_ids$|.*\bbert\.pooler\.|.*queue")
"""Momentum towers and queues are for training; BERT's pooler and position numbers are never read."""


def convert(files: Upstream, folder: Path) -> None:
    """A model folder from `BriVL-1.0-5500w.pth` and `vocab.txt`; a config .yml beside them for other sizes."""
    checkpoint, vocabulary, config = _sort(files.files)
    state = renamed(upstream.read(checkpoint).tensors("learnable"))
    shape = inferred(state, config)
    model = Brivl(shape)
    weights.fill(model, without_classifier(state, model), checkpoint.name)
    weights.save(model, folder)
    shutil.copyfile(vocabulary, folder / VOCABULARY)
    models.seal(
        folder,
        Card(
            kind="embedder",
            backend="brivl",
            about=f"BriVL, {shape.image}, {shape.image_size} px",
            licence="MIT",
            source=checkpoint.name,
            config=msgspec.to_builtins(shape),
        ),
    )


def _sort(files: tuple[Path, ...]) -> tuple[Path, Path, dict[str, Any]]:
    """The checkpoint, the vocabulary, and what BriVL's .yml and BERT's .json say about sizes."""
    vocabularies = [path for path in files if path.suffix == ".txt"]
    checkpoints = [path for path in files if path.suffix not in (".txt", ".yml", ".yaml", ".json")]
    if len(checkpoints) != 1 or len(vocabularies) != 1:
        raise T2IError(
            "BriVL is made of one checkpoint and one vocabulary",
            "run: t2i models import BriVL-1.0-5500w.pth vocab.txt --as brivl, "
            "with the vocab.txt of hfl/chinese-roberta-wwm-ext (the same as bert-base-chinese)",
        )
    config: dict[str, Any] = {}
    for path in files:
        if path.suffix in (".yml", ".yaml"):
            config.update(read_config(path))
        elif path.suffix == ".json":
            config.update(json.loads(path.read_text(encoding="utf-8")))
    return checkpoints[0], vocabularies[0], config


def read_config(path: Path) -> dict[str, Any]:
    """The `MODEL` table of a BriVL config: one level of `NAME: value` lines, so no YAML library is needed."""
    lines = (line.split("#")[0].rstrip() for line in path.read_text(encoding="utf-8").splitlines())
    pairs = (line.strip().partition(":") for line in lines if line.startswith((" ", "\t")))
    return {key.strip(): _number(value.strip()) for key, _, value in pairs if value.strip()}


def _number(word: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word.strip("'\"")


def renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our names; what is not read is left out."""
    ours = {}
    for name, value in state.items():
        name = name.removeprefix("module.")
        if UNUSED.match(name):
            continue
        for theirs, our in RENAMED:
            if name.startswith(theirs):
                name = our + name[len(theirs) :]
                break
        ours[name] = value.flatten(1) if name == "image.project.weight" else value  # a 1x1 convolution
    return ours


def without_classifier(state: Mapping[str, Tensor], model: Brivl) -> dict[str, Tensor]:
    """BriVL reads a network's last feature map, and its files keep what timm puts behind that: `fc`, `head.fc` ..."""
    import timm

    backbone = "image.backbone.network."
    own = model.state_dict().keys()
    behind = {backbone + name for name in timm.create_model(model.shape.image, pretrained=False).state_dict()} - own
    return {name: value for name, value in state.items() if name not in behind}


def inferred(state: Mapping[str, Tensor], config: Mapping[str, Any]) -> BrivlShape:
    """Sizes are seen in the weights; what leaves no trace there is taken from the config, else from BriVL 1.0."""
    try:
        words, positions = (
            state[f"text.backbone.embeddings.{kind}_embeddings.weight"] for kind in ("word", "position")
        )
        bert = Bert(
            vocabulary=words.shape[0],
            width=words.shape[1],
            layers=upstream.count(state, r"text\.backbone\.encoder\.layer\.(\d+)\."),
            heads=config.get("num_attention_heads", FULL.bert.heads),
            inner=state["text.backbone.encoder.layer.0.intermediate.dense.weight"].shape[0],
            positions=positions.shape[0],
            top_layers=upstream.count(state, r"text\.attention\.layers\.(\d+)\."),
            top_heads=config.get("TEXT_TRANSFORMER_HEAD", FULL.bert.top_heads),
            length=config.get("MAX_TEXT_LEN", FULL.bert.length),
        )
        return BrivlShape(
            width=state["image.fc2.weight"].shape[0],
            image=_timm_name(str(config.get("CNN", FULL.image))),
            image_size=config.get("IMG_SIZE", FULL.image_size),
            features=state["image.project.weight"].shape[0],
            grid=config.get("GRID_SIZE", FULL.grid),
            boxes=config.get("MAX_IMG_LEN", FULL.boxes),
            top_layers=upstream.count(state, r"image\.attention\.layers\.(\d+)\."),
            top_heads=config.get("IMG_TRANSFORMER_HEAD", FULL.top_heads),
            text="bert",
            bert=bert,
        )
    except KeyError as missing:
        raise T2IError(f"the file holds no BriVL: {missing} is not among its weights") from missing


def _timm_name(name: str) -> str:
    """timm's current name for it; BriVL 1.0 says `tf_efficientnet_b5_ns`."""
    return name.removesuffix("_ns")
