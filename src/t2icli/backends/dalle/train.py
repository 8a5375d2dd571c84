"""How a DALL-E learns: text and image codes as one sequence, each predicted from those before it."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from t2icli.backends.dalle import TrainSettings
from t2icli.backends.dalle.config import Config, Options
from t2icli.backends.dalle.generate import DallEGenerator
from t2icli.backends.dalle.model import DallE
from t2icli.contract.kinds import Tokenizer
from t2icli.contract.recipes import Frozen, ParamGroup, Samples, Turn
from t2icli.data.dataset import PreparedDataset
from t2icli.nn import decode, weights
from t2icli.nn.pixels import Squares, to_images
from t2icli.registry import parts
from t2icli.registry.settings import chosen_in
from t2icli.store import models
from t2icli.store.models import Card, Model
from t2icli.training.captions import Ids


class TokensAndCodes(Dataset[tuple[Tensor, Tensor]]):
    """The ids of a text, 0 being padding, and the codes of its image."""

    def __init__(
        self, data: PreparedDataset, codes: Tensor, tokenizer: Tokenizer, length: int, *, at_random: bool
    ) -> None:
        self.data, self.codes, self.at_random = data, codes, at_random
        self.ids = Ids(tokenizer, length)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        captions = self.data.captions(i) or ("",)
        caption = random.choice(captions) if self.at_random else captions[0]
        return self.ids(caption), self.views(i).long()

    def views(self, i: int) -> Tensor:
        if self.codes.ndim == 2:
            return self.codes[i]
        return self.codes[random.randrange(len(self.codes)) if self.at_random else 0, i]


OF_TRAINING = ("attention_dropout", "feed_forward_dropout", "image_weight")
"""What may be changed when training continues from a model."""

DRAWN_WITH = ("temperature", "cfg_scale")
"""Kept for the generator where it differs from the default."""


def as_started(start: Model, wanted: Config, settings: TrainSettings) -> Config:
    """The config of the model to continue from; settings that would need another network are refused."""
    trained = msgspec.convert(start.card.config, Config)
    of_network = {*Options.__struct_fields__, "text_length"} - {*OF_TRAINING}
    chosen = sorted(of_network & chosen_in(settings))
    weights.check_start(start, trained, wanted, [*chosen, "text_vocabulary", "codes", "grid"])
    return msgspec.structs.replace(trained, **{name: getattr(wanted, name) for name in OF_TRAINING})


class DallERecipe:
    without_caption = "learnt without words"

    def __init__(self, settings: TrainSettings) -> None:
        self.settings = settings
        self.tokenizer, self.codec = settings.tokenizer.load(), parts.load_codec(settings.codec)
        rows, columns = self.codec.grid
        self.config = Config(
            text_vocabulary=self.tokenizer.vocabulary,
            text_length=settings.text_length,
            codes=self.codec.codes,
            grid=(rows, columns),
            **{name: getattr(settings, name) for name in Options.__struct_fields__},
        )
        if settings.start is not None:
            self.config = as_started(settings.start, self.config, settings)
        self.model = weights.go_on(DallE(self.config), settings.start)

    def frozen(self) -> Sequence[Frozen]:
        """The image codes: of the middle square, or of some random cuts, which training then chooses from."""
        s, size = self.settings, self.image_size()
        cuts = f"middle {size}" if s.crops == 1 else f"random {size} from {s.crop_from}"

        def samples(data: PreparedDataset) -> Samples[Tensor]:
            return Squares(data, size, at_random=s.crops > 1, smallest=s.crop_from)

        def run(images: Tensor) -> Tensor:
            return self.codec.encode(images).to(torch.int32)

        return [Frozen("codes", f"{parts.identity(s.codec)} {cuts}", samples, run, s.crops)]

    def image_size(self) -> int:
        return self.codec.size[1]

    def dataset(self, data: PreparedDataset, split: str, encoded: Mapping[str, Tensor]) -> Samples[Any]:
        return TokensAndCodes(
            data, encoded["codes"], self.tokenizer, self.config.text_length, at_random=split == "train"
        )

    def turns(self) -> Sequence[Turn]:
        hidden = [p for p in self.model.layers.parameters() if p.ndim == 2]
        others = weights.besides(self.model.parameters(), hidden)
        return [Turn("dalle", [ParamGroup(others), ParamGroup(hidden, hidden=True)], self.loss)]

    def loss(self, batch: Sequence[Tensor], step: int) -> tuple[Tensor, dict[str, Tensor]]:
        text, codes = batch
        if self.model.training and self.settings.null_condition:
            # No text is all padding: what guidance compares with when sampling.
            left_out = torch.rand(len(text), 1, device=text.device) < self.settings.null_condition
            text = text.masked_fill(left_out, 0)
        return self.model.loss(text, codes)

    def preview(self, batch: Sequence[Tensor], *, seed: int) -> Sequence[Image.Image]:
        """What is drawn for the texts, and below it the real codes decoded."""
        text, codes = batch
        drawn_with = decode.Sampling(self.settings.temperature, cfg_scale=self.settings.cfg_scale)
        generator = DallEGenerator(self.model, self.tokenizer, self.codec, drawn_with)
        null = generator.null()
        drawn = generator.paint(generator.row(*generator.after(row[None], null), seed) for row in text)
        return list(drawn) + to_images(self.codec.decode(codes))

    def save(self, folder: Path) -> None:
        weights.save(self.model, folder)
        config = dict(msgspec.to_builtins(self.config))
        own = parts.keep(self.settings.codec, folder, "codec")
        own |= parts.keep(self.settings.tokenizer, folder, "tokenizer")
        own |= {name: value for name in DRAWN_WITH if (value := getattr(self.settings, name)) != 1.0}
        models.seal(
            folder, Card(kind="generator", backend="dalle", about=self.config.about, config=config, settings=own)
        )
