"""The decoder: a cascade of unets, from an image's embedding to its pixels, or one unet to a codec's latents.

The networks are those of dalle2-pytorch 1.15.6 and hold its weights: `convert.py` has the names.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from t2i_dalle2.layers import Attention, Waves, or_null
from t2i_dalle2.shapes import DecoderShape, UnetShape


class CrossAttention(nn.Module):
    """From every pixel to the condition's tokens, and to a learned one."""

    def __init__(self, width: int, condition: int, heads: int, head_width: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width, bias=False)
        self.null_kv = nn.Parameter(torch.randn(2, head_width))
        self.to_q = nn.Linear(width, heads * head_width, bias=False)
        self.to_kv = nn.Linear(condition, 2 * heads * head_width, bias=False)
        self.out = nn.Linear(heads * head_width, width, bias=False)
        self.out_norm = nn.LayerNorm(width, bias=False)

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        q = self.to_q(self.norm(x)).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (b, h, n, d)
        k, v = (y.unflatten(-1, (self.heads, -1)).transpose(1, 2) for y in self.to_kv(tokens).chunk(2, dim=-1))
        null = self.null_kv[:, None, None, None].expand(2, len(x), self.heads, 1, -1).to(k.dtype)
        k, v = torch.cat([null[0], k], dim=2), torch.cat([null[1], v], dim=2)
        gathered = F.scaled_dot_product_attention(q, k, v)
        return self.out_norm(self.out(gathered.transpose(1, 2).flatten(2)))


class Block(nn.Module):
    def __init__(self, inner: int, outer: int, groups: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(inner, outer, 3, padding=1)
        self.norm = nn.GroupNorm(groups, outer)

    def forward(self, x: Tensor, scale_shift: tuple[Tensor, Tensor] | None = None) -> Tensor:
        x = self.norm(self.project(x))
        if scale_shift is not None:
            x = x * (scale_shift[0] + 1) + scale_shift[1]
        return F.silu(x)


class Residual(nn.Module):
    """Two convolutions, the first moved by the time, with the condition read in between."""

    def __init__(self, inner: int, outer: int, shape: UnetShape, *, reads: bool = False) -> None:
        super().__init__()
        self.time_mlp = nn.Sequential(nn.SiLU(), nn.Linear(4 * shape.width, 2 * outer))
        sizes = (shape.condition, shape.cross_heads, shape.cross_head_width)
        self.cross_attn = CrossAttention(outer, *sizes) if reads else None
        self.block1 = Block(inner, outer, shape.groups)
        self.block2 = Block(outer, outer, shape.groups)
        self.res_conv = nn.Conv2d(inner, outer, 1) if inner != outer else nn.Identity()

    def forward(self, x: Tensor, time: Tensor, tokens: Tensor) -> Tensor:
        scale, shift = self.time_mlp(time)[..., None, None].chunk(2, dim=1)
        h = self.block1(x, (scale, shift))
        if self.cross_attn is not None:
            h = h + as_map(self.cross_attn(as_tokens(h), tokens), h)
        return self.block2(h) + self.res_conv(x)


class SelfAttention(nn.Module):
    def __init__(self, width: int, shape: UnetShape) -> None:
        super().__init__()
        self.attention = Attention(width, shape.heads, shape.head_width)

    def forward(self, x: Tensor) -> Tensor:
        return x + as_map(self.attention(as_tokens(x)), x)


class Level(nn.Module):
    """The blocks at one size, on the way down or up, and the way to the next."""

    def __init__(self, first: Residual, blocks: list[Residual], attention: nn.Module, to_next: nn.Module) -> None:
        super().__init__()
        self.first, self.blocks, self.attention, self.to_next = first, nn.ModuleList(blocks), attention, to_next


class Stem(nn.Module):
    """Convolutions of several sizes side by side."""

    def __init__(self, channels: int, width: int, kernels: tuple[int, ...]) -> None:
        super().__init__()
        ordered = sorted(kernels)
        widths = [width // 2**i for i in range(1, len(ordered))]
        widths.append(width - sum(widths))
        self.convs = nn.ModuleList(
            nn.Conv2d(channels, d, k, padding=k // 2) for k, d in zip(ordered, widths, strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([conv(x) for conv in self.convs], dim=1)


class Unet(nn.Module):
    """Says what noise is in a picture, given an image embedding and a text's encodings, or a smaller picture."""

    def __init__(self, shape: UnetShape, whole: DecoderShape, *, enlarges: bool) -> None:
        super().__init__()
        self.shape = shape
        hidden, channels = 4 * shape.width, whole.channels
        self.init_conv = Stem(2 * channels if enlarges else channels, shape.width, shape.kernels)
        self.to_time_hiddens = nn.Sequential(Waves(shape.width), nn.Linear(shape.width, hidden), nn.GELU())
        self.to_time_tokens = nn.Linear(hidden, shape.condition * shape.time_tokens)
        self.to_time_cond = nn.Linear(hidden, hidden)
        self.reads_embedding = not enlarges
        if self.reads_embedding:
            self.image_to_tokens = nn.Linear(whole.embedding, shape.condition * shape.image_tokens)
            self.to_image_hiddens = nn.Linear(whole.embedding, hidden)
            self.null_image_embed = nn.Parameter(torch.randn(1, shape.image_tokens, shape.condition))
            self.null_image_hiddens = nn.Parameter(torch.randn(1, hidden))
        self.reads_text = bool(whole.text) and not enlarges
        if self.reads_text:
            self.text_to_cond = nn.Linear(whole.text, shape.condition)
            self.null_text_embed = nn.Parameter(torch.randn(1, whole.text_length, shape.condition))
        self.norm_cond = nn.LayerNorm(shape.condition)
        self.norm_mid_cond = nn.LayerNorm(shape.condition)
        self.downs, self.ups = nn.ModuleList(downs(shape)), nn.ModuleList(ups(shape))
        middle = shape.widths[-1]
        self.mid_block1 = Residual(middle, middle, shape, reads=True)
        self.mid_attn = SelfAttention(middle, shape)
        self.mid_block2 = Residual(middle, middle, shape, reads=True)
        self.final_resnet_block = Residual(2 * shape.width, shape.width, shape)
        out = 2 * channels if shape.learned_variance else channels
        self.to_out = nn.Conv2d(shape.width + (channels if enlarges else 0), out, 1)
        nn.init.zeros_(self.to_out.weight)
        nn.init.zeros_(self.to_out.get_parameter("bias"))

    def forward(
        self,
        noisy: Tensor,
        times: Tensor,
        embedding: Tensor | None = None,
        smaller: Tensor | None = None,
        keep: Tensor | None = None,
        text: Tensor | None = None,
    ) -> Tensor:
        """(b, channels or twice as many, h, w); pictures in [-1, 1], the smaller one already of this one's size."""
        x = self.init_conv(noisy if smaller is None else torch.cat([noisy, smaller], dim=1))
        stem = x
        time, tokens = self.condition(times, embedding, keep)
        around, middle = self.norm_cond(tokens), self.norm_mid_cond(self.with_text(tokens, text))
        skips: list[Tensor] = []
        for level in cast(Iterable[Level], self.downs):
            x = level.first(x, time, around)
            for block in level.blocks:
                x = block(x, time, around)
                skips.append(x)
            x = level.attention(x)
            skips.append(x)
            x = level.to_next(x)
        x = self.mid_block2(self.mid_attn(self.mid_block1(x, time, middle)), time, middle)
        for level in cast(Iterable[Level], self.ups):
            for block in (level.first, *level.blocks):
                x = block(torch.cat([x, skips.pop()], dim=1), time, around)
            x = level.to_next(level.attention(x))
        x = self.final_resnet_block(torch.cat([x, stem], dim=1), time, around)
        return self.to_out(x if smaller is None else torch.cat([x, smaller], dim=1))

    def inner(self) -> list[nn.Module]:
        """What lies between the first convolution, the conditions and the last one."""
        return [self.downs, self.ups, self.mid_block1, self.mid_attn, self.mid_block2, self.final_resnet_block]

    def condition(self, times: Tensor, embedding: Tensor | None, keep: Tensor | None) -> tuple[Tensor, Tensor]:
        """A vector for every block and tokens for cross attention, of the time and the embedding."""
        hidden = self.to_time_hiddens(times)
        time = self.to_time_cond(hidden)
        tokens = self.to_time_tokens(hidden).unflatten(-1, (self.shape.time_tokens, -1))
        if self.reads_embedding:
            assert embedding is not None
            vector = F.gelu(self.to_image_hiddens(embedding))
            time = time + or_null(keep, vector, self.null_image_hiddens)
            image = self.image_to_tokens(embedding).unflatten(-1, (self.shape.image_tokens, -1))
            tokens = torch.cat([tokens, or_null(keep, image, self.null_image_embed)], dim=1)
        return time, tokens

    def with_text(self, tokens: Tensor, text: Tensor | None) -> Tensor:
        """Only the middle, where the picture is smallest, reads the text; an encoding of zeros is none."""
        if not self.reads_text:
            return tokens
        assert text is not None
        read = torch.where(text.ne(0).any(-1, keepdim=True), self.text_to_cond(text), self.null_text_embed)
        return torch.cat([tokens, read.to(tokens)], dim=1)


def downs(shape: UnetShape) -> list[Level]:
    """From fine to coarse; all but the finest read the condition, though none with its first block."""
    levels = []
    coarsest = len(shape.multipliers) - 1
    for i, (d, coarser) in enumerate(pairwise(shape.widths)):
        blocks = [Residual(d, d, shape, reads=i > 0) for _ in range(shape.blocks)]
        halved = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4 * d, coarser, 1))
        to_next = nn.Conv2d(d, coarser, 1) if i == coarsest else halved
        levels.append(Level(Residual(d, d, shape), blocks, attention(d, shape, i), to_next))
    return levels


def ups(shape: UnetShape) -> list[Level]:
    """From coarse to fine; each block also sees what the way down saw."""
    levels = []
    for i, (finer, d) in reversed(list(enumerate(pairwise(shape.widths)))):
        first, *blocks = (Residual(d + finer, d, shape, reads=i > 0) for _ in range(1 + shape.blocks))
        to_next = larger(d, finer) if i > 0 else nn.Identity()
        levels.append(Level(first, blocks, attention(d, shape, i), to_next))
    return levels


def attention(width: int, shape: UnetShape, level: int) -> nn.Module:
    return SelfAttention(width, shape) if shape.attends[level] else nn.Identity()


def larger(inner: int, outer: int) -> nn.Module:
    """Twice the size; the four pixels of one are initialised equal, so that no grid shows."""
    conv = nn.Conv2d(inner, 4 * outer, 1)
    one = torch.empty(outer, inner, 1, 1)
    nn.init.kaiming_uniform_(one)
    with torch.no_grad():
        conv.weight.copy_(one.repeat_interleave(4, dim=0))
    nn.init.zeros_(conv.get_parameter("bias"))
    return nn.Sequential(conv, nn.SiLU(), nn.PixelShuffle(2))


def as_tokens(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)


def as_map(tokens: Tensor, like: Tensor) -> Tensor:
    return tokens.transpose(1, 2).reshape(like.shape)


class Decoder(nn.Module):
    """The unets, each called by its number."""

    def __init__(self, shape: DecoderShape) -> None:
        super().__init__()
        self.shape = shape
        self.unets = nn.ModuleList(Unet(one, shape, enlarges=i > 0) for i, one in enumerate(shape.unets))

    def forward(
        self,
        number: int,
        noisy: Tensor,
        times: Tensor,
        embedding: Tensor | None = None,
        smaller: Tensor | None = None,
        keep: Tensor | None = None,
        text: Tensor | None = None,
    ) -> Tensor:
        noise: Tensor = self.unets[number](noisy, times, embedding, smaller, keep, text)
        return noise
