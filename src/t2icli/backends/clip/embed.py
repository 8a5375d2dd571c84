"""CLIP as an embedder: both towers loaded once, batches in, unit vectors out."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import open_clip
import torch
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from open_clip.transform import PreprocessCfg, image_transform_v2, merge_preprocess_dict
from PIL.Image import Image
from torch import Tensor, nn
from torch.nn import functional as F

from t2icli.backends.clip import Settings, hub
from t2icli.backends.clip.model import (
    FramedTexts,
    OwnTexts,
    Texts,
    build,
    context_of,
    named,
    set_pool,
    text_tower,
)
from t2icli.contract.fields import Part
from t2icli.contract.kinds import Tokenizer
from t2icli.ground.errors import T2IError
from t2icli.nn import devices, weights
from t2icli.nn.embedding import Runner, finite, report_prompt
from t2icli.nn.pixels import to_tensor
from t2icli.store.models import Model

if TYPE_CHECKING:
    from t2icli.backends.clip.model import Network


class ClipEmbedder:
    """Texts and images in CLIP's space."""

    def __init__(
        self, model: Network, preprocess: Callable[[Image], Tensor], texts: Texts, settings: Settings, name: str
    ) -> None:
        device = devices.pick_device(settings.device)
        self.model = model.eval().requires_grad_(False).to(device)
        self.preprocess, self.texts = preprocess, texts
        self.width = _width(model)
        self.run = Runner(f"model {name!r}", self.width, settings.batch, device, settings.precision)

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        return self.run(self.texts(texts).unbind(), lambda ids: (ids,), self.model.encode_text)

    def embed_tokens(self, texts: Sequence[str]) -> Tensor:
        """What the text tower's last norm gives for each token, (n, context, its width); zeros after the end token."""
        ids = self.texts(texts)
        width = _last_norm(self.model).weight.shape[0]
        run = dataclasses.replace(self.run, width=ids.shape[1] * width)
        last = threading.local()  # texts go through the tower in several threads at a time
        listening = _last_norm(self.model).register_forward_hook(
            lambda _, inputs, output: setattr(last, "output", output)
        )
        try:
            rows = run(
                ids.unbind(), lambda one: (one,), partial(_tokens, self.model, self.texts.end, last), finish=finite
            )
        finally:
            listening.remove()
        return rows.view(len(ids), ids.shape[1], width)

    def embed_images(self, images: Sequence[Image]) -> Tensor:
        return self.run(images, lambda image: (self.preprocess(image),), self.model.encode_image)

    def image_features(self, images: Sequence[Image]) -> Tensor:
        """As the image tower gives them, of any length."""
        return self.run(images, lambda image: (self.preprocess(image),), self.model.encode_image, finish=finite)

    @cached_property
    def patches(self) -> tuple[int, int]:
        size = self.model.visual.image_size
        height, width = (size, size) if isinstance(size, int) else size
        with torch.inference_mode():
            _, count, features = self._patches(torch.zeros(1, 3, height, width, device=self.run.device)).shape
        return count, features

    def embed_patches(self, images: Sequence[Image]) -> Tensor:
        """What the block before the image tower's last gives for each patch."""
        count, width = self.patches
        run = dataclasses.replace(self.run, width=count * width)
        rows = run(
            images,
            lambda image: (self.preprocess(image),),
            lambda pixels: self._patches(pixels).flatten(1),
            finish=finite,
        )
        return rows.view(len(images), count, width)

    def _patches(self, pixels: Tensor) -> Tensor:
        """(b, patches, width)"""
        given = self.model.visual.forward_intermediates(pixels, indices=[-2], intermediates_only=True)
        features: Tensor = given["image_intermediates"][0]  # (b, width, rows, columns)
        return features.flatten(2).transpose(1, 2)


def _last_norm(model: Network) -> nn.LayerNorm:
    norm: nn.LayerNorm | None = getattr(text_tower(model), "ln_final", None)
    if norm is None:
        raise T2IError("this CLIP's text tower does not give token encodings", "use one of open_clip's own towers")
    return norm


def _tokens(model: Network, end: int, last: threading.local, ids: Tensor) -> Tensor:
    """(b, context * width) of what the tower's last norm leaves in `last.output`."""
    model.encode_text(ids)
    is_end = ids == end
    is_text = is_end.cumsum(1) - is_end.long() == 0  # up to the first end token, which is one of them
    encodings: Tensor = last.output
    return (encodings * is_text[..., None]).flatten(1)


def _width(model: Network) -> int:
    projection: nn.Linear | Tensor = text_tower(model).text_projection
    return projection.out_features if isinstance(projection, nn.Linear) else projection.shape[1]


def load(settings: Settings) -> ClipEmbedder:
    """From a model folder, or from open_clip's hub when a tag is asked for."""
    if settings.pretrained is not None:
        network, preprocess, texts, name = load_tag(settings.architecture, settings.pretrained, settings.keep_end)
    else:
        assert settings.model is not None  # checked in `t2icli.backends.clip.load`
        network, preprocess, texts, name = load_folder(settings.model, settings.tokenizer, settings.keep_end)
    if settings.pool != "model":
        set_pool(network, settings.pool, texts.end)
    if settings.pixels != "model":
        preprocess = partial(raw if settings.pixels == "raw" else whole, size=network.visual.image_size)
    return ClipEmbedder(network, preprocess, texts, settings, name)


def raw(image: Image, size: int | tuple[int, int]) -> Tensor:
    """Pixels from -1 to 1, stretched to the tower's size, without CLIP's mean and deviation: (3, h, w).

    CLIP-GEN ranks its pictures so, as they come from its VQGAN; CLIP was not trained with such pixels.
    """
    return F.interpolate(to_tensor(image)[None] * 2 - 1, size, mode="bilinear")[0]


def whole(image: Image, size: int | tuple[int, int]) -> Tensor:
    """All of the picture, its longer side as long as the tower's, with black around it: (3, h, w)."""
    pixels = to_tensor(image)
    height, width = (size, size) if isinstance(size, int) else size
    scale = max(height, width) / max(pixels.shape[1:])
    rows, columns = (round(length * scale) for length in pixels.shape[1:])
    fitted = F.interpolate(pixels[None], (rows, columns), mode="bicubic", antialias=True)[0]
    top, left = (height - rows) // 2, (width - columns) // 2
    framed = F.pad(fitted, (left, width - columns - left, top, height - rows - top))
    mean, std = (torch.tensor(each)[:, None, None] for each in (OPENAI_DATASET_MEAN, OPENAI_DATASET_STD))
    return (framed - mean) / std


def load_tag(architecture: str, tag: str, keep_end: bool) -> tuple[Network, Callable[[Image], Tensor], Texts, str]:
    record = hub.known_tag(architecture, tag)
    path = hub.fetch(architecture, tag, record)
    # The tag knows which activation its weights were trained with; an architecture's name may say otherwise.
    network = build({**named(architecture), "quick_gelu": record.get("quick_gelu", False)})
    open_clip.load_checkpoint(network, str(path))
    described = {**merge_preprocess_dict(PreprocessCfg(), record), "size": network.visual.image_size}
    texts = OwnTexts(
        open_clip.get_tokenizer(architecture), context_of(named(architecture)), report_prompt, keep_end=keep_end
    )
    return network, image_transform_v2(PreprocessCfg(**described), is_train=False), texts, f"{architecture}:{tag}"


def load_folder(
    model: Model, tokenizer: Part[Tokenizer], keep_end: bool
) -> tuple[Network, Callable[[Image], Tensor], Texts, str]:
    config = model.card.config
    network = weights.load(weights.unfilled(build, config["architecture"]), model)
    texts = text_reader(config, tokenizer, report_prompt, keep_end=keep_end)
    return network, image_transform_v2(PreprocessCfg(**config["preprocess"]), is_train=False), texts, model.name


def text_reader(
    config: Mapping[str, Any],
    tokenizer: Part[Tokenizer],
    report: Callable[[str, int, int], None],
    *,
    keep_end: bool = True,
) -> Texts:
    """CLIP's own tokenizer as open_clip has it, or another one's ids framed as the model was trained to see them."""
    context = context_of(config["architecture"])
    if "frame" in config:
        if not keep_end:
            raise T2IError("'keep_end=false' needs a model with CLIP's own vocabulary", "omit it")
        return FramedTexts(tokenizer.load(), context, *config["frame"])
    return OwnTexts(open_clip.SimpleTokenizer(), context, report, keep_end=keep_end)
