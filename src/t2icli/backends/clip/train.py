"""The recipe `clip`: open_clip's models and loss, contrasted over the whole batch of all processes."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import open_clip
import torch
from open_clip.transform import AugmentationCfg, PreprocessCfg, image_transform_v2
from PIL.Image import Image
from torch import Tensor, distributed, nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import Dataset

from t2icli.backends.clip import RecipeSettings, hub
from t2icli.backends.clip.convert import preprocessing
from t2icli.backends.clip.embed import text_reader
from t2icli.backends.clip.model import Texts, build, named
from t2icli.contract.fields import Part
from t2icli.contract.kinds import Tokenizer
from t2icli.contract.recipes import Figures, Frozen, ParamGroup, Samples, Turn
from t2icli.ground.errors import T2IError
from t2icli.nn import weights
from t2icli.nn.embedding import report_captions
from t2icli.registry import parts
from t2icli.store import models
from t2icli.store.models import Card

if TYPE_CHECKING:
    from t2icli.backends.clip.model import Network
    from t2icli.data.dataset import PreparedDataset

HOTTEST = math.log(100)
"""open_clip lets the logits' scale grow to 100 and no further."""


class ClipRecipe:
    """Trains both towers of an open_clip model."""

    without_caption = "skipped"

    def __init__(self, settings: RecipeSettings) -> None:
        if settings.loop.grad_accum > 1:
            raise T2IError(
                "grad_accum would contrast each micro-batch only with itself",
                f"to save memory use: -o chunk={max(1, settings.loop.batch_size // settings.loop.grad_accum)}",
            )
        self.settings = settings
        self.config, self.model, self.tokenizer = start(settings)
        self.texts = text_reader(self.config, self.tokenizer, report_captions)

    def frozen(self) -> Sequence[Frozen]:
        return ()

    def dataset(self, data: PreparedDataset, split: str, encoded: Mapping[str, Tensor]) -> Samples[Any]:
        train = split == "train"
        augment = AugmentationCfg(scale=(self.settings.crop, 1.0))
        transform = image_transform_v2(PreprocessCfg(**self.config["preprocess"]), is_train=train, aug_cfg=augment)
        return ImageTextPairs(data, transform, self.texts, any_caption=train)

    def turns(self) -> Sequence[Turn]:
        return [Turn("contrast", groups(self.model), self.loss, self.cool)]

    def loss(self, batch: Mapping[str, Tensor], step: int) -> tuple[Tensor, Figures]:
        """open_clip's loss over the pairs of all processes: the same on each, and the same as on one."""
        images, texts, scale = self.encode(batch["image"], batch["text"])
        images, texts = everywhere(images), everywhere(texts)
        accuracy = ((images @ texts.T).argmax(1) == torch.arange(len(images), device=images.device)).float().mean()
        return open_clip.ClipLoss()(images, texts, scale), {"accuracy": accuracy.detach(), "scale": scale.detach()}

    def encode(self, image: Tensor, text: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Unit features of a batch. In chunks, activations of one chunk at a time are in memory: those of the others
        are computed again in the backward pass, so that the contrast and its gradient stay those of the batch."""
        chunk = self.settings.chunk
        if not chunk or not torch.is_grad_enabled():
            images, texts, scale = self.model(image, text)[:3]
            return images, texts, scale
        pieces = [
            checkpoint(self.model, *piece, use_reentrant=False)
            for piece in zip(image.split(chunk), text.split(chunk), strict=True)
        ]
        return torch.cat([piece[0] for piece in pieces]), torch.cat([piece[1] for piece in pieces]), pieces[0][2]

    def cool(self) -> None:
        with torch.no_grad():
            self.model.logit_scale.clamp_(0, HOTTEST)

    def preview(self, batch: Any, *, seed: int) -> Sequence[Image]:
        return ()

    def save(self, folder: Path) -> None:
        weights.save(self.model, folder)
        if "frame" in self.config:
            parts.keep(self.tokenizer, folder, "tokenizer")
        models.seal(folder, Card(kind="embedder", backend="clip", about="CLIP, trained here", config=self.config))


class Gathered(torch.autograd.Function):
    """The rows of all processes, in the same order on each; gradients flow back to the processes the rows came from."""

    @staticmethod
    def forward(context: Any, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.contiguous()
        distributed.all_reduce(gradient)
        return gradient.chunk(distributed.get_world_size())[distributed.get_rank()]


def everywhere(rows: Tensor) -> Tensor:
    several = distributed.is_available() and distributed.is_initialized()
    return Gathered.apply(rows) if several else rows


def start(settings: RecipeSettings) -> tuple[dict[str, Any], Network, Part[Tokenizer]]:
    """The model's config, the network and the tokenizer: new ones, or those to continue from."""
    if settings.start is not None:
        config = dict(settings.start.card.config)
        return config, weights.go_on(build(config["architecture"]), settings.start), settings.tokenizer
    config = fresh_config(settings)
    network = build(config["architecture"])
    if settings.pretrained is not None:
        record = hub.known_tag(settings.architecture, settings.pretrained)
        open_clip.load_checkpoint(network, str(hub.fetch(settings.architecture, settings.pretrained, record)))
    return config, network, settings.tokenizer


def fresh_config(settings: RecipeSettings) -> dict[str, Any]:
    """The shape of a new model; with a vocabulary that is not CLIP's own, two ids are added to frame a text."""
    shape = deepcopy(named(settings.architecture))
    if settings.context is not None:
        shape["text_cfg"]["context_length"] = settings.context
    config: dict[str, Any] = {"architecture": shape, "preprocess": preprocessing(shape, {})}
    if settings.tokenizer.name != "clip":
        if settings.tokenizer.model is None:
            raise T2IError(
                f"tokenizer {settings.tokenizer.name!r} must be a model, to travel with the CLIP trained on it",
                f"run: t2i models import FILE --as {settings.tokenizer.name} --name mine, "
                f"and add: -o tokenizer.model={settings.tokenizer.name}/mine",
            )
        known = settings.tokenizer.load().vocabulary
        shape["text_cfg"].update(vocab_size=known + 2, pool_type="eos", eos_id=known + 1)
        config["frame"] = [known, known + 1]
    return config


class ImageTextPairs(Dataset[dict[str, Tensor]]):
    """Pictures with one of their captions; rows without any are left out."""

    def __init__(
        self, data: PreparedDataset, transform: Callable[[Image], Tensor], texts: Texts, *, any_caption: bool
    ) -> None:
        self.data, self.transform, self.texts, self.any_caption = data, transform, texts, any_caption
        self.rows = [i for i in range(len(data)) if data.captions(i)]

    def __len__(self) -> int:
        return len(self.rows)

    def captions_of(self, index: int) -> Sequence[str]:
        return self.data.captions(self.rows[index])

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        captions = self.captions_of(index)
        caption = random.choice(captions) if self.any_caption else captions[0]
        return {"image": self.transform(self.data.image(self.rows[index])), "text": self.texts([caption])[0]}


def groups(model: nn.Module) -> list[ParamGroup]:
    """As in open_clip: gains, biases, norms and the logits' scale do not decay."""
    names = model.named_parameters()
    spared = [p for name, p in names if p.ndim < 2 or "bn" in name or "ln" in name or "logit_scale" in name]
    return [ParamGroup(weights.besides(model.parameters(), spared)), ParamGroup(spared, weight_decay=0.0)]
