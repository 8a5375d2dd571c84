"""Chinese-CLIP as an embedder."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch
from PIL.Image import Image
from torch import Tensor
from transformers import ChineseCLIPModel, ChineseCLIPProcessor

from t2icli.backends.chinese_clip import Settings
from t2icli.ground.errors import T2IError
from t2icli.nn.devices import pick_device
from t2icli.nn.embedding import Runner, finite


class ChineseClip:
    """Texts and images in Chinese-CLIP's space."""

    def __init__(self, model: Any, processor: Any, settings: Settings) -> None:
        device = pick_device(settings.device)
        self.model = model.eval().requires_grad_(False).to(device)
        self.processor, self.length = processor, settings.length
        self.width = int(model.config.projection_dim)
        self.run = Runner(f"model {settings.source!r}", self.width, settings.batch, device, settings.precision)

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        read = self.processor.tokenizer(list(texts), padding="max_length", truncation=True, max_length=self.length)
        for text, length in zip(texts, self._lengths(texts), strict=True):
            if length > self.length:
                message = f"prompt '{text[:40]}' has {length} tokens and was cut to the {self.length} the model reads"
                warnings.warn(message, stacklevel=2)
        pairs = list(zip(read["input_ids"], read["attention_mask"], strict=True))
        return self.run(pairs, _tensors, self._text_features)

    def embed_images(self, images: Sequence[Image]) -> Tensor:
        return self.run(images, self._pixels, self._image_features)

    def _lengths(self, texts: Sequence[str]) -> list[int]:
        return [len(ids) for ids in self.processor.tokenizer(list(texts), verbose=False)["input_ids"]] if texts else []

    def _pixels(self, image: Image) -> tuple[Tensor]:
        return (self.processor.image_processor(image.convert("RGB"), return_tensors="pt")["pixel_values"][0],)

    def _text_features(self, ids: Tensor, mask: Tensor) -> Tensor:
        return _features(self.model.get_text_features(input_ids=ids, attention_mask=mask))

    def _image_features(self, pixels: Tensor) -> Tensor:
        return _features(self.model.get_image_features(pixel_values=pixels))

    @property
    def patches(self) -> tuple[int, int]:
        vision = self.model.config.vision_config
        return (vision.image_size // vision.patch_size) ** 2, vision.hidden_size

    def embed_patches(self, images: Sequence[Image]) -> Tensor:
        """What the layer before the image tower's last gives for each patch."""
        count, width = self.patches
        run = dataclasses.replace(self.run, width=count * width)
        return run(images, self._pixels, self._patches, finish=finite).view(len(images), count, width)

    def _patches(self, pixels: Tensor) -> Tensor:
        states = self.model.vision_model(pixel_values=pixels, output_hidden_states=True).hidden_states
        patches: Tensor = states[-2][:, 1:]  # without the class token
        return patches.flatten(1)


def _features(output: Any) -> Tensor:
    """transformers before version 5 gave the features themselves."""
    features: Tensor = output if isinstance(output, Tensor) else output.pooler_output
    return features


def _tensors(pair: tuple[list[int], list[int]]) -> tuple[Tensor, Tensor]:
    ids, mask = pair
    return torch.tensor(ids), torch.tensor(mask)


def load(settings: Settings) -> ChineseClip:
    """From a model folder, or from that of a repository."""
    if settings.model is not None:
        settings.model.files()  # says so if one is damaged
        settings = msgspec.structs.replace(settings, source=str(settings.model.folder))
    place = str(Path(settings.source).expanduser())
    try:
        processor = ChineseCLIPProcessor.from_pretrained(place, local_files_only=True)
        return ChineseClip(ChineseCLIPModel.from_pretrained(place, local_files_only=True), processor, settings)
    except OSError as error:
        raise T2IError(f"'{place}' holds no Chinese-CLIP: {_first_line(error)}", code=1) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
