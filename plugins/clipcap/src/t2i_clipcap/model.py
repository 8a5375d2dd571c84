"""ClipCap: an image embedding becomes a few vectors that GPT-2 continues from.

Three mappers make those vectors: `mlp` and `bert` as in the Chinese original, `transformer` as in the
first, English one. The two transformers differ only in where they normalise and how wide they are. A fourth,
`patches`, reads the image tower's features of each patch instead of the embedding.
"""

from __future__ import annotations

from typing import Literal

import msgspec
import torch
from torch import Tensor, nn

from t2icli.ground.errors import T2IError
from t2icli.nn import gpt
from t2icli.nn.tied import Tied
from t2icli.nn.transformer import pick

MapperName = Literal["mlp", "bert", "transformer", "patches"]


class MapperShape(msgspec.Struct, frozen=True):
    name: MapperName = "mlp"
    condition: int = 512
    """Numbers in the image embedding, or for each patch."""
    prefix: int = 10
    """Vectors handed to the language model; one per patch with `patches`."""
    given: int = 10
    """Vectors the embedding is spread over before the transformer; the others have none."""
    layers: int = 8
    heads: int = 8
    hidden: int = 3072
    positions: int = 512
    """Of `bert` alone."""


class ClipCapShape(msgspec.Struct, frozen=True):
    """The network's sizes, as stored in a model's card. The language model's are the Chinese GPT-2's."""

    mapper: MapperShape = MapperShape()
    words: int = 21128
    positions: int = 1024
    width: int = 768
    layers: int = 12
    heads: int = 12


class MLPMapper(nn.Module):
    def __init__(self, shape: MapperShape, width: int) -> None:
        super().__init__()
        self.size = (shape.prefix, width)
        out = shape.prefix * width
        self.layers = nn.Sequential(nn.Linear(shape.condition, out // 2), nn.Tanh(), nn.Linear(out // 2, out))

    def forward(self, embedding: Tensor) -> Tensor:
        prefix: Tensor = self.layers(embedding).unflatten(1, self.size)
        return prefix  # (b, prefix, width)


class TransformerMapper(nn.Module):
    """Learned vectors that look at the embedding; their outputs are the prefix."""

    def __init__(self, shape: MapperShape, width: int) -> None:
        super().__init__()
        self.size = (shape.given, width)
        self.linear = nn.Linear(shape.condition, shape.given * width)
        self.learned = nn.Parameter(torch.randn(shape.prefix, width))
        layer = nn.TransformerEncoderLayer(
            width, shape.heads, shape.hidden, dropout=0.0, activation="relu", norm_first=True, batch_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, shape.layers, enable_nested_tensor=False)

    def forward(self, embedding: Tensor) -> Tensor:
        given = self.linear(embedding).unflatten(1, self.size)  # (b, given, width)
        learned = self.learned.expand(len(embedding), -1, -1)  # (b, prefix, width)
        return self.transform(torch.cat([given, learned], dim=1))[:, self.size[0] :]

    def transform(self, x: Tensor) -> Tensor:
        return self.encoder(x)


class BertMapper(TransformerMapper):
    """The same through a BERT: its own positions, normalised after each step, GELU."""

    EPS = 1e-12

    def __init__(self, shape: MapperShape, width: int, dropout: float = 0.1) -> None:
        super().__init__(shape, width)
        self.position = nn.Parameter(torch.randn(shape.positions, width) * 0.02)
        self.segment = nn.Parameter(torch.randn(width) * 0.02)
        self.norm = nn.LayerNorm(width, eps=self.EPS)
        self.dropout = nn.Dropout(dropout)
        layer = nn.TransformerEncoderLayer(
            width, shape.heads, shape.hidden, dropout, "gelu", layer_norm_eps=self.EPS, batch_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, shape.layers, enable_nested_tensor=False)

    def transform(self, x: Tensor) -> Tensor:
        return self.encoder(self.dropout(self.norm(x + self.position[: x.shape[1]] + self.segment)))


class PatchMapper(nn.Module):
    """A vector per patch of a picture; the language model's own positions tell them apart."""

    def __init__(self, shape: MapperShape, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(shape.condition)
        self.linear = nn.Linear(shape.condition, width)

    def forward(self, patches: Tensor) -> Tensor:
        prefix: Tensor = self.linear(self.norm(patches.to(self.linear.weight)))
        return prefix  # (b, prefix, width)


MAPPERS = {"mlp": MLPMapper, "bert": BertMapper, "transformer": TransformerMapper, "patches": PatchMapper}


class ClipCap(nn.Module):
    """A mapper and a GPT-2 whose output layer is its word table."""

    def __init__(self, shape: ClipCapShape, dropout: float = 0.0) -> None:
        super().__init__()
        self.shape = shape
        self.mapper = MAPPERS[shape.mapper.name](shape.mapper, shape.width)
        self.words = nn.Embedding(shape.words, shape.width)
        self.position = nn.Embedding(shape.positions, shape.width)
        for table in (self.words, self.position):
            nn.init.normal_(table.weight, std=0.02)
        self.head = Tied(self.words)
        self.dropout = nn.Dropout(dropout)
        self.decoder = gpt.Decoder(gpt.GptShape(shape.width, shape.layers, shape.heads, tanh=True, dropout=dropout))

    def forward(self, embedding: Tensor, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Logits after the prefix and after each token: (b, condition), (b, n) -> (b, prefix + n, words).

        With the mapper `patches` the first is (b, prefix, condition).

        `mask` (b, prefix + n) is False where nothing may look; only the original's way of training needs it.
        """
        x = torch.cat([self.mapper(embedding), self.words(tokens)], dim=1)
        return self.head(self.decoder(self.placed(x), mask=mask))

    def placed(self, x: Tensor, start: int | Tensor = 0) -> Tensor:
        return self.dropout(x + pick(self.position.weight, 0, start, x.shape[1]))

    def language_model(self) -> list[nn.Module]:
        """What stays as it is when only the mapper is trained."""
        return [self.words, self.position, self.decoder]

    def prefill(self, embedding: Tensor, length: int) -> tuple[Tensor, gpt.AnyCache]:
        """The logits of the first word, (b, words), and the state `step` continues from."""
        prefix = self.mapper(embedding.to(self.words.weight))
        positions = prefix.shape[1] + length - 1
        if positions > self.shape.positions:
            raise T2IError(
                f"{length} tokens behind a prefix of {prefix.shape[1]} are more than the model's "
                f"{self.shape.positions} positions",
                f"set -o max_tokens={self.shape.positions - prefix.shape[1] + 1}",
            )
        cache = self.decoder.reserve(prefix, positions)
        return self.next(prefix, cache), cache

    def step(self, tokens: Tensor, cache: gpt.AnyCache) -> Tensor:
        return self.next(self.words(tokens)[:, None], cache)

    def next(self, x: Tensor, cache: gpt.AnyCache) -> Tensor:
        """(b, n, width) at the first free positions -> the logits after the last, (b, words)."""
        return self.head(self.decoder(self.placed(x, cache.filled), cache)[:, -1])
