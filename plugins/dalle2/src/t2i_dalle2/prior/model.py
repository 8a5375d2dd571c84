"""The diffusion prior: from a text's embedding and encodings to an image's embedding.

The network is that of dalle2-pytorch 1.15.6 and holds its weights: `convert.py` has the names.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from t2i_dalle2.layers import Attention, Waves, or_null
from t2i_dalle2.shapes import PriorShape


class Feed(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, bias=False)
        self.up = nn.Linear(width, 8 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        values, gate = self.up(self.norm(x)).chunk(2, dim=-1)
        return self.down(values * F.silu(gate))


class Layer(nn.Module):
    def __init__(self, shape: PriorShape) -> None:
        super().__init__()
        self.attention = Attention(shape.width, shape.heads, shape.head_width, cosine=True)
        self.feed = Feed(shape.width)

    def forward(self, x: Tensor, bias: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
        x = x + self.attention(x, bias, turns)
        return x + self.feed(x)


class Distances(nn.Module):
    """A learned bias by the distance to a key, which also masks later positions."""

    BUCKETS, FARTHEST = 32, 128

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.bias = nn.Embedding(self.BUCKETS, heads)

    def forward(self, n: int) -> Tensor:
        """(1, heads, n, n + 1); the keys begin with the learned one, which is always seen."""
        at = torch.arange(n + 1, device=self.bias.weight.device)
        back = (at[:n, None] - at).clamp(min=0)
        exact = self.BUCKETS // 2
        far = (back / exact).clamp(min=1).log() / math.log(self.FARTHEST / exact) * (self.BUCKETS - exact)
        bucket = torch.where(back < exact, back, (exact + far.long()).clamp(max=self.BUCKETS - 1))
        ahead = at > at[:n, None] + 1
        return self.bias(bucket).permute(2, 0, 1).masked_fill(ahead, -torch.inf)[None]


class Prior(nn.Module):
    """Says what a noisy image embedding was, given the text it goes with."""

    rates: Tensor

    def __init__(self, shape: PriorShape) -> None:
        super().__init__()
        self.shape = shape
        d = shape.width
        self.query = nn.Parameter(torch.randn(d))
        self.null_encodings = nn.Parameter(torch.randn(1, shape.text_length, d))
        self.null_text = nn.Parameter(torch.randn(1, shape.text_tokens, d))
        self.null_image = nn.Parameter(torch.randn(1, d))
        self.encoding = nn.Identity() if shape.encodings in (0, d) else nn.Linear(shape.encodings, d, bias=False)
        self.text, self.image = several(d, shape.text_tokens), several(d, shape.image_tokens)
        of_time = d * shape.time_tokens
        self.time = nn.Embedding(shape.timesteps, of_time) if shape.time_table else waves(d, of_time)
        self.distances = Distances(shape.heads)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = nn.LayerNorm(d, bias=False)
        self.out = nn.Linear(d, d, bias=False)
        rotary = min(32, shape.head_width)
        self.register_buffer("rates", 10000.0 ** -(torch.arange(0, rotary, 2) / rotary))

    def forward(
        self,
        noisy: Tensor,
        times: Tensor,
        text: Tensor,
        encodings: Tensor | None = None,
        keep_text: Tensor | None = None,
        keep_image: Tensor | None = None,
        before: Tensor | None = None,
    ) -> Tensor:
        """(b, width) of embeddings brought to `shape.length`; `keep...` (b,) is true where the condition is kept.

        A network with `self_cond` also reads the clean embedding of the step before; None is zeros.
        """
        tokens = [
            self.words(encodings, keep_text, len(noisy)),
            or_null(keep_text, self.tokens(self.text(text)), self.null_text),
            self.tokens(self.time(times)),
            or_null(keep_image, self.tokens(self.image(noisy)), self.null_image),
        ]
        if self.shape.self_cond:
            tokens.append((torch.zeros_like(noisy) if before is None else before)[:, None])
        x = torch.cat([*tokens, self.query.expand(len(noisy), 1, -1)], dim=1)  # (b, n, d)
        bias, turns = self.distances(x.shape[1]).to(x.dtype), self.turns(x.shape[1])
        for layer in self.layers:
            x = layer(x, bias, turns)
        x = x[:, -1].float()
        return self.out(self.norm(x / x.amax(-1, keepdim=True).detach()))

    def tokens(self, x: Tensor) -> Tensor:
        """(b, n * width) -> (b, n, width)."""
        tokens: Tensor = x.unflatten(-1, (-1, self.shape.width))
        return tokens

    def words(self, encodings: Tensor | None, keep: Tensor | None, rows: int) -> Tensor:
        """The text's encodings, (b, text_length, d); a place without one has a learned vector of its own."""
        null = self.null_encodings.expand(rows, -1, -1)
        if encodings is None or not self.shape.encodings:
            return null
        length = self.shape.text_length
        padded = F.pad(encodings[:, :length], (0, 0, 0, max(0, length - encodings.shape[1])))
        is_word = padded.ne(0).any(-1)
        if keep is not None:
            is_word = is_word & keep[:, None]
        return torch.where(is_word[..., None], self.encoding(padded), null)

    def turns(self, n: int) -> tuple[Tensor, Tensor]:
        angles = (torch.arange(n, device=self.rates.device)[:, None] * self.rates).repeat_interleave(2, dim=-1)
        return angles.cos(), angles.sin()


def several(width: int, tokens: int) -> nn.Module:
    """What makes tokens of an embedding, where it is not the one token itself."""
    return nn.Linear(width, width * tokens) if tokens > 1 else nn.Identity()


def waves(width: int, outer: int) -> nn.Module:
    hidden = 2 * outer
    return nn.Sequential(
        Waves(width),
        nn.Linear(width, hidden),
        nn.SiLU(),
        nn.Linear(hidden, hidden),
        nn.SiLU(),
        nn.Linear(hidden, outer),
    )
