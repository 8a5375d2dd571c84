"""DALL-E: a decoder-only transformer over text tokens followed by image codes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from t2icli.backends.dalle.config import Config
from t2icli.backends.dalle.layers import Attention, C, FeedForward, Layer, Memory, Place, rotation, visible
from t2icli.ground.errors import T2IError
from t2icli.nn.loss import cross_entropy
from t2icli.nn.tied import Tied
from t2icli.nn.transformer import FixedCache, KVCache, pick, reserve


@dataclass
class State(Generic[C]):
    """What `step` needs of a sequence that is being drawn."""

    layers: list[Memory[C]]
    place: Place
    """Number of image codes in the sequence so far."""

    def select(self: State[KVCache], rows: Tensor) -> State[KVCache]:
        return State([layer.select(rows) for layer in self.layers], self.place)

    def concatenated(self: State[KVCache], others: Sequence[State[KVCache]]) -> State[KVCache]:
        layers = [[each.layers[i] for each in others] for i in range(len(self.layers))]
        return State([layer.concatenated(rest) for layer, rest in zip(self.layers, layers, strict=True)], self.place)

    def fixed(self: State[KVCache]) -> State[FixedCache]:
        layers = [layer.fixed() for layer in self.layers]
        return State(layers, layers[0].cache.length.new_full((1,), int(self.place)))


class DallE(nn.Module):
    """Text ids (b, text_length), 0 being padding, and codes (b, n) to logits of what comes next at every position."""

    turn: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.text = config.text_length + 1  # <bos> in front
        rows, columns = config.grid
        self.head = nn.Linear(config.dim, config.text_classes + config.codes)
        self.code_head = Tied(self.head, first=config.text_classes)
        if not config.shared_embeddings:
            self.text_embedding = nn.Embedding(config.text_classes, config.dim)
            self.code_embedding = nn.Embedding(config.codes, config.dim)
        if config.rotary:
            self.register_buffer("turn", rotation(config.dim_head, self.text, config.grid), persistent=False)
        else:
            self.text_position = nn.Embedding(self.text, config.dim)
            self.row_position = nn.Parameter(torch.randn(rows, config.dim))
            self.column_position = nn.Parameter(torch.randn(columns, config.dim))
        for kind in set(config.attention) - {"full"}:
            self.register_buffer(f"seen_{kind}", visible(kind, self.text, config.grid), persistent=False)
        self.layers = nn.ModuleList(_layers(config))
        self.norm = nn.LayerNorm(config.dim)

    def forward(self, text: Tensor, codes: Tensor | None = None) -> Tensor:
        """Logits (b, n, text classes + codes); what a position cannot give is at the format's minimum.

        Position p predicts what stands at p + 1, so the last of all codes is not read.
        """
        words, images = self._logits(text, codes)
        never = torch.finfo(words.dtype).min
        words = F.pad(words, (0, self.config.codes), value=never)
        images = F.pad(images, (self.config.text_classes, 0), value=never)
        return torch.cat([words, images], dim=1)

    def loss(self, text: Tensor, codes: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Weighted cross entropy of words (padding included) and codes; and the two parts, for the log."""
        words, images = self._logits(text, codes)
        of_text = cross_entropy(words.flatten(0, 1), self._padded(text).flatten()).mean()
        of_image = cross_entropy(images.flatten(0, 1), codes.flatten()).mean()
        weight = self.config.image_weight
        parts = {"text_loss": of_text.detach(), "image_loss": of_image.detach()}
        return (of_text + weight * of_image) / (1 + weight), parts

    def prefill(self, condition: tuple[Tensor, Tensor], length: int) -> tuple[Tensor, State[KVCache]]:
        """Read text (b, text_length) and the codes (b, m) that the image begins with, often none."""
        text, codes = condition
        x = self._embed(text, codes)
        state = self._reserve(x, room=x.shape[1] + length)
        logits = self.code_head(self._run(x, self.text, state)[:, -1])
        state.place += codes.shape[1]
        return logits, state

    def step(self, codes: Tensor, state: State[KVCache] | State[FixedCache]) -> Tensor:
        """Append one code to each row: logits (b, codes) of the next."""
        logits = self.code_head(self._run(self._embed_codes(codes[:, None], state.place), 0, state)[:, 0])
        state.place += 1
        return logits

    def _logits(self, text: Tensor, codes: Tensor | None) -> tuple[Tensor, Tensor]:
        """Of the positions that predict text, over words; and of those that predict codes, over codes.

        The two never compete, so each half needs only its own rows of the output layer.
        """
        x = self._embed(text, text[:, :0] if codes is None else codes)[:, : self.text - 1 + self.config.image_length]
        if self.config.stable:
            x = 0.1 * x + 0.9 * x.detach()
        x = self._run(x, self.text)
        # Both halves of each parameter by one split, whose gradients are joined once.
        halves = [self.config.text_classes, self.config.codes]
        of_words, of_codes = zip(self.head.weight.split(halves), self.head.bias.split(halves), strict=True)
        return F.linear(x[:, : self.text - 1], *of_words), F.linear(x[:, self.text - 1 :], *of_codes)

    def _run(self, x: Tensor, text: int, state: State[KVCache] | State[FixedCache] | None = None) -> Tensor:
        """(b, n, dim) through all layers: a sequence that begins with `text` words, or the codes after `state`."""
        place = state.place if state else 0
        at, n = self.text - text + place, x.shape[1]
        turn = pick(self.turn, 1, at, n) if self.config.rotary else None
        masks = {kind: _seen(mask, at, n) for kind, mask in self._masks()}
        a = b = x
        for i, layer in enumerate(self.layers):
            kind = self.config.attention[i % len(self.config.attention)]
            a, b = layer(a, b, text, place, turn, masks.get(kind), state.layers[i] if state else None)
        x = (a + b) / 2
        if self.config.stable:
            x = x / x.amax(dim=-1, keepdim=True).detach()
        return self.norm(x)

    def _embed(self, text: Tensor, codes: Tensor) -> Tensor:
        words = F.embedding(F.pad(self._padded(text), (1, 0)), self._embeddings[0])  # <bos> is 0
        if not self.config.rotary:
            words = words + self.text_position.weight
        return torch.cat([words, self._embed_codes(codes, 0)], dim=1)

    def _embed_codes(self, codes: Tensor, place: Place) -> Tensor:
        """Codes (b, n), the first of which stands at `place` in the image."""
        x = F.embedding(codes, self._embeddings[1])
        if self.config.rotary:
            return x
        places = place + torch.arange(codes.shape[1], device=codes.device)
        columns = self.config.grid[1]
        return x + self.row_position[places // columns] + self.column_position[places % columns]

    @property
    def _embeddings(self) -> tuple[Tensor, Tensor]:
        if self.config.shared_embeddings:
            return self.head.weight[: self.config.text_classes], self.head.weight[self.config.text_classes :]
        return self.text_embedding.weight, self.code_embedding.weight

    def _padded(self, text: Tensor) -> Tensor:
        """Each position has a padding class of its own, in place of 0."""
        padding = self.config.text_vocabulary + torch.arange(text.shape[1], device=text.device)
        return torch.where(text == 0, padding, text)

    def _masks(self) -> Iterable[tuple[str, Tensor]]:
        """Which positions attend to which, for the kinds of attention that are not simply causal."""
        return [(kind, getattr(self, f"seen_{kind}")) for kind in set(self.config.attention) - {"full"}]

    def _reserve(self, x: Tensor, room: int) -> State[KVCache]:
        """Memory for `room` positions, words among them."""
        c = self.config
        places = c.grid[1] + room - self.text if c.shift_tokens else 0
        layers = [
            Memory(
                reserve(self, x, c.heads, room, c.dim_head, narrowed=kind != "full"),
                *x.new_zeros(2, len(x), places, 2 * -(-c.dim // 4)),
            )
            for kind in (self.config.attention[i % len(self.config.attention)] for i in range(len(self.layers)))
        ]
        return State(layers, 0)


def _seen(mask: Tensor, at: Place, n: int) -> Tensor:
    """What positions `at` and on look at: of one at a known place the places alone, else True for each, (n, m)."""
    if n == 1 and isinstance(at, int):
        return mask[at, : at + 1].nonzero()[:, 0]
    return mask[:n, :n] if isinstance(at, int) else pick(mask, 0, at)


def _layers(config: Config) -> Iterator[Layer]:
    """The layers in order; those with the same id share one attention, or one feed-forward."""
    attentions: dict[str, tuple[str, Attention]] = {}
    feed_forwards: dict[str, FeedForward] = {}
    for i in range(config.depth):
        kind = config.attention[i % len(config.attention)]
        name = _cycled(config.shared_attention, i)
        known, attention = attentions.setdefault(name, (kind, Attention(config)))
        if known != kind:
            raise T2IError(f"layers {name!r} share one attention but are {known!r} and {kind!r}")
        name = _cycled(config.shared_feed_forward, i)
        feed_forward = feed_forwards.setdefault(name, FeedForward(config))
        yield Layer(attention, feed_forward, config, i + 1)


def _cycled(ids: Sequence[str], i: int) -> str:
    return ids[i % len(ids)] if ids else f"layer {i}"
