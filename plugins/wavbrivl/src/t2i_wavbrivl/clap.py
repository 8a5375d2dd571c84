"""CLAP as transformers keeps it: sounds and English texts in one space, without pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor

from t2i_wavbrivl import ClapSettings
from t2i_wavbrivl.embed import averaged, pieces
from t2icli.contract.kinds import AudioClip
from t2icli.ground.errors import T2IError
from t2icli.nn.devices import pick_device
from t2icli.nn.embedding import Runner
from t2icli.registry import parts
from t2icli.store.models import Card

RATE, SECONDS = 48_000, 10.0
"""What CLAP was trained on; a longer sound is embedded in pieces."""


def adopt(folder: Path) -> Card:
    config = _config(folder)
    width = config.get("projection_dim", 512)
    about = f"CLAP: sounds and English texts, {width} numbers"
    return Card(kind="embedder", backend="clap", about=about, config={"width": width})


def load(settings: ClapSettings) -> Clap:
    folder = settings.model.folder if settings.model is not None else settings.source
    if folder is None:
        raise T2IError("clap needs a model", "pull one: t2i models pull hf:laion/clap-htsat-unfused --as clap")
    _config(folder)
    return Clap(folder, settings, parts.space("clap", settings))


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise T2IError(f"'{folder}' is not a CLAP: its config.json cannot be read") from error
    if not isinstance(config, dict) or config.get("model_type") != "clap":
        kind = config.get("model_type") if isinstance(config, dict) else None
        raise T2IError(f"'{folder}' is not a CLAP: its config.json says {kind!r}")
    return config


class Clap:
    """One network for both; pictures have no place in its space."""

    def __init__(self, folder: Path, settings: ClapSettings, space: str) -> None:
        from transformers import AutoTokenizer, ClapFeatureExtractor, ClapModel

        how: dict[str, Any] = {"local_files_only": True}
        try:
            model, report = ClapModel.from_pretrained(folder, use_safetensors=True, output_loading_info=True, **how)
            self.tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, **how)
            self.features = ClapFeatureExtractor.from_pretrained(folder, **how)
        except (OSError, ValueError, RuntimeError) as error:
            raise T2IError(f"the CLAP in '{folder}' cannot be loaded: {str(error).splitlines()[0]}") from error
        if missing := sorted(name for name in report["missing_keys"] if not name.endswith("position_ids")):
            raise T2IError(f"the CLAP in '{folder}' lacks weights: {', '.join(missing[:4])}", "pull it again")
        device = pick_device(settings.device)
        self.model = model.eval().requires_grad_(False).to(device)
        self.width, self.space = int(model.config.projection_dim), space
        self.run = Runner(f"the CLAP in '{folder}'", self.width, 1, device)

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        def prepare(text: str) -> tuple[Tensor, Tensor]:
            tokens = self.tokenizer(text, truncation=True, return_tensors="pt")
            return tokens["input_ids"][0], tokens["attention_mask"][0]

        return self.run(texts, prepare, self._of_texts)

    def embed_images(self, images: Sequence[Image]) -> Tensor:
        raise T2IError("CLAP knows sounds and texts, but no pictures", "use wavbrivl or wav2clip")

    def embed_audio(self, clips: Sequence[AudioClip]) -> Tensor:
        cut = [pieces(clip, RATE, SECONDS) for clip in clips]
        vectors = self.run([piece for each in cut for piece in each], self._prepare, self._of_sounds)
        return averaged(vectors, cut)

    def _prepare(self, samples: Tensor) -> tuple[Tensor]:
        features = self.features(np.asarray(samples), sampling_rate=RATE, return_tensors="pt")
        return (features["input_features"][0],)

    def _of_texts(self, ids: Tensor, mask: Tensor) -> Tensor:
        return _vector(self.model.get_text_features(input_ids=ids, attention_mask=mask))

    def _of_sounds(self, features: Tensor) -> Tensor:
        # The extractor calls one of a batch "longer" at random where none is; pieces never are.
        longer = torch.zeros(len(features), 1, dtype=torch.bool, device=features.device)
        return _vector(self.model.get_audio_features(input_features=features, is_longer=longer))


def _vector(output: Any) -> Tensor:
    """Of a version of transformers that gives the vector, or one that gives all outputs."""
    vector: Tensor = output if isinstance(output, Tensor) else output.pooler_output
    return vector
