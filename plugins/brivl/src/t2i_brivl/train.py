"""The recipe `brivl`: what the training loop needs to know."""

from __future__ import annotations

import random
import shutil
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import torch
from PIL.Image import Image
from torch import Tensor, nn
from torch.utils.data import Dataset

from t2i_brivl.contrast import Batch, Contrast
from t2i_brivl.embed import VOCABULARY
from t2i_brivl.inputs import HashedNgrams, WordPieces, pixels, scaled_boxes
from t2i_brivl.model import BertTower, Brivl, TimmBackbone
from t2i_brivl.recipe import RecipeSettings
from t2i_brivl.shape import BrivlShape
from t2icli.contract.recipes import Figures, Frozen, ParamGroup, Samples, Turn
from t2icli.ground.errors import T2IError
from t2icli.nn import weights
from t2icli.nn.embedding import report_captions
from t2icli.store import models
from t2icli.store.models import Card

if TYPE_CHECKING:
    from t2icli.data.dataset import PreparedDataset


class BrivlRecipe:
    """Trains both towers against their slow copies."""

    without_caption = "skipped"

    def __init__(self, settings: RecipeSettings) -> None:
        self.settings = settings
        start = settings.start
        self.shape = msgspec.convert(start.card.config, BrivlShape) if start is not None else settings.shape
        towers = weights.go_on(Brivl(self.shape), start)
        self.vocabulary = Path(settings.vocabulary) if settings.vocabulary else None
        if start is not None:
            self.vocabulary = start.file(VOCABULARY) if self.shape.text == "bert" else None
        self.texts = self._text_reader()
        freeze(towers, settings)
        self.model = Contrast(towers, settings.objective)

    def _text_reader(self) -> HashedNgrams | WordPieces:
        if self.shape.text == "ngrams":
            return HashedNgrams(self.shape.ngrams, report_captions)
        if self.vocabulary is None:
            raise T2IError("the bert text tower needs a vocabulary", "give one: -o vocabulary=vocab.txt")
        return WordPieces(self.vocabulary, self.shape.bert.length, report_captions)

    def frozen(self) -> Sequence[Frozen]:
        return ()

    def dataset(self, data: PreparedDataset, split: str, encoded: Mapping[str, Tensor]) -> Samples[Any]:
        return ImageTextPairs(data, self.shape, self.texts, self.settings.crop if split == "train" else 1.0)

    def turns(self) -> Sequence[Turn]:
        return [Turn("contrast", groups(self.model.towers), self._loss, self.model.follow)]

    def _loss(self, batch: Batch, step: int) -> tuple[Tensor, Figures]:
        return self.model(batch, step)

    def preview(self, batch: Batch, *, seed: int) -> Sequence[Image]:
        return ()

    def save(self, folder: Path) -> None:
        weights.save(self.model.towers, folder)
        if self.vocabulary is not None:
            shutil.copyfile(self.vocabulary, folder / VOCABULARY)
        config = msgspec.to_builtins(self.shape)
        about = f"BriVL, {self.shape.image} and {self.shape.text}, {self.shape.image_size} px"
        models.seal(folder, Card(kind="embedder", backend="brivl", about=about, config=config))


class ImageTextPairs(Dataset[dict[str, Tensor]]):
    """Pictures with one of their sentences; rows without any are left out."""

    def __init__(self, data: PreparedDataset, shape: BrivlShape, texts: Any, crop: float) -> None:
        self.data, self.shape, self.texts, self.crop = data, shape, texts, crop
        self.rows = [i for i in range(len(data)) if data.captions(i)]

    def __len__(self) -> int:
        return len(self.rows)

    def captions_of(self, index: int) -> Sequence[str]:
        return self.data.captions(self.rows[index])

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        i, captions = self.rows[index], self.captions_of(index)
        caption = random.choice(captions) if self.crop < 1 else captions[0]
        image, listed = self.data.image(i), ()
        if self.shape.boxes > 1:
            listed = self.data.extra(i).get("bbox", ())
        elif self.crop < 1:  # boxes would have to move with the crop
            image = cropped(image, self.crop)
        boxes, n = scaled_boxes(listed, image.size, self.shape.image_size, self.shape.boxes)
        return {
            "pixels": pixels(image, self.shape.image_size),
            "boxes": boxes,
            "n_boxes": torch.tensor(n),
            "ids": self.texts([caption])[0],
            "who": torch.tensor([zlib.crc32(self.data.image_sha256(i).encode()), zlib.crc32(caption.encode())]),
        }


def cropped(image: Image, smallest: float) -> Image:
    """A random part of the picture, each side at least `smallest` of the whole."""
    sides = [max(1, round(side * random.uniform(smallest, 1))) for side in image.size]
    x, y = (random.randint(0, whole - side) for whole, side in zip(image.size, sides, strict=True))
    return image.crop((x, y, x + sides[0], y + sides[1]))


def freeze(towers: Brivl, settings: RecipeSettings) -> None:
    """Leave the lower part of large backbones as they are: BriVL 1.0 trained CNN blocks from 3 and BERT from 8."""
    if settings.cnn_from and isinstance(towers.image.backbone, TimmBackbone):
        network = towers.image.backbone.network
        lower = [part for name, part in network.named_children() if name in ("conv_stem", "bn1")]
        for part in [*lower, *getattr(network, "blocks", [])[: settings.cnn_from]]:
            part.requires_grad_(False)
    if settings.bert_from and isinstance(towers.text, BertTower):
        bert = towers.text.backbone
        for part in [bert.embeddings, *bert.encoder.layer[: settings.bert_from]]:
            part.requires_grad_(False)


def groups(towers: nn.Module) -> list[ParamGroup]:
    """Weight matrices decay; biases, norms and scales do not."""
    trained = [parameter for parameter in towers.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in trained if parameter.ndim > 1]
    return [ParamGroup(matrices), ParamGroup([p for p in trained if p.ndim <= 1], weight_decay=0.0)]
