"""ClipCap as a recipe: embeddings computed once, captions as ids, one cross-entropy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL.Image import Image
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from t2i_clipcap import gpt2
from t2i_clipcap.caption import Config, conditions, with_patches
from t2i_clipcap.convert import card
from t2i_clipcap.model import ClipCap, ClipCapShape, MapperShape
from t2i_clipcap.words import FILE, Words, open_words
from t2icli.contract.kinds import Embedder
from t2icli.contract.recipes import Figures, Frozen, ParamGroup, Samples, Turn
from t2icli.data.dataset import PreparedDataset
from t2icli.ground import files
from t2icli.ground.errors import T2IError
from t2icli.nn import weights
from t2icli.nn.loss import cross_entropy
from t2icli.nn.pixels import FullSize, from_full_size
from t2icli.prepare import languages
from t2icli.registry import parts
from t2icli.store import models

if TYPE_CHECKING:
    from t2i_clipcap import RecipeSettings

Batch = Mapping[str, Tensor]


class ClipCapRecipe:
    without_caption = "skipped"

    def __init__(self, settings: RecipeSettings) -> None:
        self.settings = settings
        self.embedder: Embedder = settings.embedder.load()
        self.pretrained = gpt2.find(settings.gpt2) if settings.gpt2 is not None else None
        self.words = open_words(vocabulary(settings, self.pretrained))
        self.cached_as = "patches" if settings.mapper == "patches" else "images" if settings.unit else "features"
        """The name that other recipes use too, so that whichever comes second finds the embeddings in the cache."""
        self.shape = shape_of(settings, self.pretrained, self.words.size, self.embedder)
        # A GPT-2 that is not trained is not disturbed either.
        self.model = ClipCap(self.shape, settings.dropout if settings.tune else 0.0)
        if self.pretrained is not None:
            adopt(self.model, self.pretrained.tensors(), settings.gpt2 or "")
        for part in self.model.language_model():
            part.requires_grad_(settings.tune)

    def frozen(self) -> Sequence[Frozen]:
        return [Frozen(self.cached_as, parts.identity(self.settings.embedder), FullSize, self.embed)]

    def embed(self, batch: Any) -> Tensor:
        s = self.settings
        given = conditions(self.embedder, from_full_size(batch), s.mapper, unit=s.unit)
        return given.half() if s.mapper == "patches" else given  # there are many, and the mapper normalises them

    def dataset(self, data: PreparedDataset, split: str, encoded: Mapping[str, Tensor]) -> Samples[dict[str, Tensor]]:
        s = self.settings
        return EmbeddingTextPairs(data, encoded[self.cached_as], self.words, s.max_tokens, language=s.language)

    def turns(self) -> Sequence[Turn]:
        hidden = [p for p in self.model.decoder.parameters() if p.requires_grad and p.ndim == 2]
        others = weights.besides((p for p in self.model.parameters() if p.requires_grad), hidden)
        groups = [ParamGroup(others), *([ParamGroup(hidden, hidden=True)] if hidden else [])]
        return [Turn("clipcap", groups, self.loss)]

    def loss(self, batch: Batch, step: int) -> tuple[Tensor, Figures]:
        tokens, length = batch["tokens"], batch["length"]
        real = torch.arange(tokens.shape[1], device=tokens.device) < length[:, None]  # (b, n)
        prefix = self.shape.mapper.prefix
        # What follows a caption is left out of the loss, so only the original's way needs to hide it.
        mask = F.pad(real, (prefix, 0), value=True) if self.settings.padding_in_loss else None
        logits = self.model(batch["embedding"], tokens, mask)[:, prefix - 1 : -1]
        each = cross_entropy(logits.flatten(0, 1), tokens.flatten()).view_as(tokens)
        per_token = each[real].mean()
        return (each.mean() if self.settings.padding_in_loss else per_token), {"per_token": per_token.detach()}

    def preview(self, batch: Batch, *, seed: int) -> Sequence[Image]:
        return ()

    def save(self, folder: Path) -> None:
        weights.save(self.model, folder)
        files.write(folder / FILE, self.words.tokenizer.to_str(pretty=True))
        longest = min(self.settings.max_tokens, self.shape.positions - self.shape.mapper.prefix + 1)
        own = {"max_tokens": longest} | parts.keep(self.settings.embedder, folder, "embedder")
        config = Config(self.shape, unit=self.settings.unit)
        models.seal(folder, card(config, about=f"ClipCap, {self.shape.mapper.name} mapper, trained here", settings=own))


def vocabulary(settings: RecipeSettings, pretrained: gpt2.Pretrained | None) -> Path:
    if settings.vocabulary is not None:
        return settings.vocabulary
    if pretrained is not None:
        return pretrained.folder
    model = settings.tokenizer.model
    if model is None or FILE not in model.card.files:
        raise T2IError(
            "clipcap needs a GPT-2 to fine-tune, or a vocabulary to train one from scratch",
            f"-o gpt2=FOLDER_OR_NAME ({gpt2.KNOWN}), -o vocabulary=vocab.txt, or a tokenizer trained by t2i",
        )
    return model.file(FILE)


def shape_of(
    settings: RecipeSettings, pretrained: gpt2.Pretrained | None, words: int, embedder: Embedder
) -> ClipCapShape:
    sizes = pretrained or settings
    prefix, condition, positions = settings.prefix, embedder.width, sizes.positions
    if settings.mapper == "patches":
        prefix, condition = with_patches(embedder).patches
        needed = prefix + settings.max_tokens - 1
        if pretrained is None:
            positions = max(positions, needed)
        elif positions < needed:
            raise T2IError(
                f"{prefix} patches and a caption of {settings.max_tokens} tokens are more than the GPT-2's {positions} "
                "positions",
                "set a smaller -o max_tokens, or use an embedder with fewer patches",
            )
    mapper = MapperShape(
        name=settings.mapper,
        condition=condition,
        prefix=prefix,
        given=settings.given,
        layers=settings.mapper_layers,
        heads=settings.mapper_heads,
        hidden=settings.mapper_hidden,
    )
    return ClipCapShape(mapper, words, positions, sizes.width, sizes.layers, sizes.heads)


def adopt(model: ClipCap, tensors: Mapping[str, Tensor], name: str) -> None:
    """Take a GPT-2's weights; the mapper keeps its own, for no GPT-2 has one."""
    mapper = {key: value for key, value in model.state_dict().items() if key.startswith("mapper.")}
    weights.fill(model, {**tensors, **mapper}, f"the GPT-2 {name!r}")


class EmbeddingTextPairs(Dataset[dict[str, Tensor]]):
    """Each caption with its image's embedding; ids are padded to the longest caption there is."""

    def __init__(
        self,
        data: PreparedDataset,
        embeddings: Tensor,
        words: Words,
        max_tokens: int,
        *,
        language: str | None = None,
    ) -> None:
        captions = [(i, caption) for i in range(len(data)) for caption in data.captions(i)]
        if language is not None:
            captions = [pair for pair in captions if languages.language(pair[1]) == language]
        if not captions:
            kind = "captions" if language is None else f"captions in the language {language!r}"
            raise T2IError(f"there are no {kind} to learn from", "clipcap trains on images with captions")
        self.embeddings = embeddings
        self.images = [i for i, _ in captions]
        self.ids = [ids[:max_tokens] for ids in words.encode([caption for _, caption in captions])]
        self.longest = max(map(len, self.ids))

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        ids = self.ids[i]
        tokens = torch.zeros(self.longest, dtype=torch.int64)
        tokens[: len(ids)] = torch.tensor(ids)
        return {"embedding": self.embeddings[self.images[i]], "tokens": tokens, "length": torch.tensor(len(ids))}
