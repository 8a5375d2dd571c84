"""Any dual encoder of transformers as an embedder, and so as a ranker by cosine."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import transformers
from PIL.Image import Image
from torch import Tensor

from t2i_transformers import repository
from t2i_transformers.load import first_line, network, processor
from t2icli.ground.errors import T2IError
from t2icli.nn.devices import pick_device
from t2icli.nn.embedding import Runner, report_prompt

if TYPE_CHECKING:
    from pathlib import Path

    from t2i_transformers import DualEncoderSettings

LENGTHS = {"siglip": 64, "siglip2": 64, "align": 64, "altclip": 77, "chinese_clip": 52}
"""Tokens of a text in training, of models whose configuration allows more."""


class HubClip:
    """Texts and images in the space of a dual encoder. Every text is padded to one length, as in training."""

    def __init__(self, model: Any, processor: Any, settings: DualEncoderSettings, owner: str) -> None:
        self.model, self.processor = model, processor
        self.length = settings.length or _length(model.config)
        self.text_names = inspect.signature(model.get_text_features).parameters.keys()
        self.image_names = inspect.signature(model.get_image_features).parameters.keys()
        self.width = self._width()
        self.run = Runner(owner, self.width, settings.batch, pick_device(settings.device), settings.precision)

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        for text in texts:
            count = len(self.processor.tokenizer(text, verbose=False)["input_ids"])
            if count > self.length:
                report_prompt(text, count, self.length)
        return self._run(texts, self._tokens, self.text_names, self.model.get_text_features)

    def embed_images(self, images: Sequence[Image]) -> Tensor:
        return self._run(images, self._pixels, self.image_names, self.model.get_image_features)

    @torch.inference_mode()
    def _width(self) -> int:
        read = self._tokens("a").to(self.model.device)
        inputs = {name: value for name, value in read.items() if name in self.text_names}
        return int(_vectors(self.model.get_text_features(**inputs)).shape[1])

    def _run(self, items: Sequence[Any], read: Any, names: Any, features: Any) -> Tensor:
        if not items:
            return torch.empty(0, self.width)
        used = [name for name in read(items[0]) if name in names]

        def encode(*columns: Tensor) -> Tensor:
            return _vectors(features(**dict(zip(used, columns, strict=True))))

        def prepare(item: Any) -> tuple[Tensor, ...]:
            inputs = read(item)
            return tuple(inputs[name][0] for name in used)

        return self.run(items, prepare, encode)

    def _tokens(self, text: str) -> Any:
        return self.processor.tokenizer(
            [text], padding="max_length", truncation=True, max_length=self.length, return_tensors="pt"
        )

    def _pixels(self, image: Image) -> Any:
        return self.processor.image_processor(images=[image.convert("RGB")], return_tensors="pt")


def _vectors(output: Any) -> Tensor:
    """transformers before version 5 gave the features themselves."""
    vectors: Tensor = getattr(output, "pooler_output", output)
    return vectors


def _length(config: Any) -> int:
    longest = int(getattr(config.text_config, "max_position_embeddings", 77))
    return min(LENGTHS.get(config.model_type, longest), longest)


def load(settings: DualEncoderSettings) -> HubClip:
    folder = repository.locate(settings.model, settings.source, "hub-clip")
    model = network(transformers.AutoModel, folder, torch.float32, pick_device(settings.device))
    for method in ("get_text_features", "get_image_features"):
        if not hasattr(model, method):
            raise T2IError(
                f"'{folder}' is a {model.config.model_type}, which does not embed texts and pictures",
                f"hub-clip takes: {', '.join(repository.DUAL_ENCODERS)}",
            )
    try:
        return HubClip(model, processor(folder), settings, f"model '{folder}'")
    except (ValueError, IndexError, RuntimeError, TypeError) as error:
        raise _unfit(folder, error) from error


def _unfit(folder: Path, error: Exception) -> T2IError:
    return T2IError(f"'{folder}' cannot embed a text: {first_line(error)}", "download the repository again", code=1)
