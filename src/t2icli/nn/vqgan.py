"""The VQGAN of taming-transformers: encoder, quantizer, decoder, under its own parameter names.

Its released weights load untouched. diffusers' `VQModel` computes the same, but under other names, with
the codebook search done another way, without the Gumbel quantizer, and as a dependency of some size for
these few blocks; so they are here.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from t2icli.nn.patches import PatchDecoder, PatchEncoder
from t2icli.nn.shapes import VqganShape


def norm(width: int, shape: VqganShape) -> nn.GroupNorm:
    return nn.GroupNorm(math.gcd(shape.groups, width), width, eps=shape.eps)


class ResBlock(nn.Module):
    """Two convolutions beside a short cut."""

    def __init__(self, width: int, out: int, shape: VqganShape, kernel: int = 3) -> None:
        super().__init__()
        self.norm1, self.conv1 = norm(width, shape), nn.Conv2d(width, out, kernel, padding="same")
        self.norm2, self.conv2 = norm(out, shape), nn.Conv2d(out, out, kernel, padding="same")
        self.dropout = nn.Dropout(shape.dropout)
        self.nin_shortcut = nn.Conv2d(width, out, 1) if width != out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(self.dropout(F.silu(self.norm2(h))))
        return h + self.nin_shortcut(x)


class Attention(nn.Module):
    """One head over all positions of the map."""

    def __init__(self, width: int, shape: VqganShape) -> None:
        super().__init__()
        self.norm = norm(width, shape)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(width, width, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        q, k, v = (f(h).flatten(2).transpose(1, 2) for f in (self.q, self.k, self.v))  # (b, hw, d)
        h = F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]
        return x + self.proj_out(h.transpose(1, 2).unflatten(2, x.shape[2:]))


class Downsample(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))  # padded on the right and below only


class Upsample(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Level(nn.Module):
    """Blocks at one size, then a step to the next size, except at the last level."""

    def __init__(self, shape: VqganShape, width: int, out: int, blocks: int, attends: bool, kernel: int = 3) -> None:
        super().__init__()
        widths = [width] + [out] * blocks
        self.block = nn.ModuleList(ResBlock(a, b, shape, kernel) for a, b in pairwise(widths))
        self.attn = nn.ModuleList(Attention(out, shape) for _ in range(blocks if attends else 0))
        self.downsample: nn.Module = nn.Identity()
        self.upsample: nn.Module = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        for i, block in enumerate(self.block):
            x = block(x)
            if self.attn:
                x = self.attn[i](x)
        stepped: Tensor = self.upsample(self.downsample(x))
        return stepped


class Middle(nn.Module):
    def __init__(self, shape: VqganShape, width: int, kernel: int = 3) -> None:
        super().__init__()
        self.block_1 = ResBlock(width, width, shape, kernel)
        self.attn_1 = Attention(width, shape) if shape.middle_attention and kernel > 1 else nn.Identity()
        self.block_2 = ResBlock(width, width, shape, kernel)

    def forward(self, x: Tensor) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(x)))


def cut(x: Tensor, side: int) -> Tensor:
    """(b, c, h, w) -> (b * rows * columns, c, side, side): every tile an image of its own."""
    tiles: Tensor = x.unflatten(3, (-1, side)).unflatten(2, (-1, side))  # (b, c, rows, side, columns, side)
    return tiles.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)


def as_map(x: Tensor, rows: int, columns: int) -> Tensor:
    """(b * rows * columns, d, 1, 1) -> (b, d, rows, columns)."""
    latents: Tensor = x.flatten(1).unflatten(0, (-1, rows, columns))
    return latents.movedim(-1, 1)


class Encoder(nn.Module):
    """Pixels in [-1, 1] to latents."""

    def __init__(self, shape: VqganShape) -> None:
        super().__init__()
        widths, last = shape.widths, len(shape.widths) - 1
        self.patch, self.factor, self.apart = shape.patch, shape.factor, shape.apart
        self.conv_in = nn.Conv2d(3 * shape.patch**2, shape.ch, 3, padding=1)
        inputs = (shape.ch, *widths)
        # Of codes that see no neighbours the smallest map is one position: its neighbours would all be padding.
        kernels = [3] * last + [1 if shape.apart else 3]
        self.down = nn.ModuleList(
            Level(shape, inputs[i], widths[i], shape.num_res_blocks, shape.attends[i], kernels[i])
            for i in range(last + 1)
        )
        for level, width in zip(self.down[:-1], widths, strict=False):
            level.downsample = Downsample(width)
        self.mid = Middle(shape, widths[-1], kernels[-1])
        self.norm_out = norm(widths[-1], shape)
        self.conv_out = nn.Conv2d(widths[-1], shape.z_channels, kernels[-1], padding="same")

    def forward(self, x: Tensor) -> Tensor:
        if self.apart:
            rows, columns = (side // self.factor for side in x.shape[2:])
            return as_map(self._latents(cut(x, self.factor)), rows, columns)
        return self._latents(x)

    def _latents(self, x: Tensor) -> Tensor:
        x = self.conv_in(F.pixel_unshuffle(x, self.patch))
        for level in self.down:
            x = level(x)
        return self.conv_out(F.silu(self.norm_out(self.mid(x))))


class Decoder(nn.Module):
    """Latents to pixels, about [-1, 1]. `up.0` is the finest level, so it comes last."""

    def __init__(self, shape: VqganShape) -> None:
        super().__init__()
        widths, last = shape.widths, len(shape.widths) - 1
        self.patch = shape.patch
        self.conv_in = nn.Conv2d(shape.z_channels, widths[-1], 3, padding=1)
        self.mid = Middle(shape, widths[-1])
        inputs = (*widths[1:], widths[-1])
        self.up = nn.ModuleList(
            Level(shape, inputs[i], widths[i], shape.num_res_blocks + 1, shape.attends[i]) for i in range(last + 1)
        )
        for level, width in zip(self.up[1:], widths[1:], strict=True):
            level.upsample = Upsample(width)
        self.norm_out = norm(widths[0], shape)
        self.conv_out = nn.Conv2d(widths[0], (shape.finish or 3) * shape.patch**2, 3, padding=1)
        self.finish = nn.Conv2d(shape.finish, 3, 3, padding=1) if shape.finish else None

    @property
    def last(self) -> nn.Conv2d:
        """The layer that gives the pixels."""
        return self.finish or self.conv_out

    @property
    def hidden(self) -> list[nn.Parameter]:
        """Matrices for Muon: none, for it trains convolution kernels no faster than AdamW."""
        return []

    def forward(self, z: Tensor) -> Tensor:
        x = self.mid(self.conv_in(z))
        for level in reversed(self.up):
            x = level(x)
        x = F.pixel_shuffle(self.conv_out(F.silu(self.norm_out(x))), self.patch)
        return self.finish(F.silu(x)) if self.finish is not None else x


class Nearest(nn.Module):
    """The code whose vector lies nearest; with `cosine`, whose direction does."""

    def __init__(self, shape: VqganShape) -> None:
        super().__init__()
        self.cosine = shape.quantizer == "cosine"
        self.embedding = nn.Embedding(shape.n_embed, shape.embed_dim)
        nn.init.uniform_(self.embedding.weight, -1 / shape.n_embed, 1 / shape.n_embed)
        if self.cosine:
            nn.init.normal_(self.embedding.weight)

    def prepare(self, z: Tensor) -> Tensor:
        """What is compared with the codebook: the latent itself, or its direction."""
        return F.normalize(z, dim=1) if self.cosine else z

    def codebook(self) -> Tensor:
        return F.normalize(self.embedding.weight, dim=1) if self.cosine else self.embedding.weight

    def codes(self, z: Tensor) -> Tensor:
        """(b, d, h, w) latents -> (b, h, w) codes."""
        with torch.autocast(z.device.type, enabled=False):
            table = self.codebook().float()
            # One image at a time: all of them against 16384 codes would take gigabytes.
            return torch.stack([_nearest(one.float(), table) for one in self.prepare(z).movedim(1, -1)])

    def look_up(self, codes: Tensor) -> Tensor:
        return F.embedding(codes, self.codebook()).movedim(-1, 1)  # (b, d, h, w)


def _nearest(points: Tensor, table: Tensor) -> Tensor:
    """(h, w, d) points -> (h, w) rows of `table` (n, d)."""
    flat = points.flatten(0, 1)
    distance = flat.square().sum(1, keepdim=True) + table.square().sum(1) - 2 * flat @ table.T
    return distance.argmin(1).view(points.shape[:2])


class Gumbel(nn.Module):
    """The code a linear classifier finds likeliest; upstream draws from it instead, at random each time."""

    def __init__(self, shape: VqganShape) -> None:
        super().__init__()
        self.proj = nn.Conv2d(shape.embed_dim, shape.n_embed, 1)
        self.embed = nn.Embedding(shape.n_embed, shape.embed_dim)

    def codes(self, z: Tensor) -> Tensor:
        with torch.autocast(z.device.type, enabled=False):
            codes: Tensor = self.proj(z.float()).argmax(1)
        return codes

    def look_up(self, codes: Tensor) -> Tensor:
        return self.embed(codes).movedim(-1, 1)


class Vqgan(nn.Module):
    """Pixels in [-1, 1] to a map of codes and back."""

    def __init__(self, shape: VqganShape) -> None:
        super().__init__()
        self.shape = shape
        self.encoder: PatchEncoder | Encoder = PatchEncoder(shape) if shape.transformer else Encoder(shape)
        self.decoder: PatchDecoder | Decoder = PatchDecoder(shape) if shape.transformer else Decoder(shape)
        self.quantize = Gumbel(shape) if shape.quantizer == "gumbel" else Nearest(shape)
        self.quant_conv = nn.Conv2d(shape.z_channels, shape.embed_dim, 1)
        self.post_quant_conv = nn.Conv2d(shape.embed_dim, shape.z_channels, 1)

    def latents(self, x: Tensor) -> Tensor:
        return self.quant_conv(self.encoder(x))

    def reconstruct(self, z: Tensor) -> Tensor:
        return self.decoder(self.post_quant_conv(z))

    def to_codes(self, images: Tensor) -> Tensor:
        """(b, 3, h, w) in [0, 1] -> (b, rows, columns)."""
        return self.quantize.codes(self.latents(2 * images - 1))

    def to_images(self, codes: Tensor) -> Tensor:
        """(b, rows, columns) -> (b, 3, h, w) in [0, 1]."""
        return (self.reconstruct(self.quantize.look_up(codes)) + 1) / 2

    def to_latents(self, images: Tensor) -> Tensor:
        """(b, 3, h, w) in [0, 1] -> (b, embed_dim, rows, columns), before they are quantised."""
        return self.latents(2 * images - 1)

    def from_latents(self, latents: Tensor) -> Tensor:
        """(b, embed_dim, rows, columns) -> (b, 3, h, w) of the nearest codes, for the decoder knows no others."""
        return self.to_images(self.quantize.codes(latents))

    def forward(self, x: Tensor) -> Tensor:
        """Pixels in [-1, 1] as the codes show them."""
        return self.reconstruct(self.quantize.look_up(self.quantize.codes(self.latents(x))))


def meta(shape: VqganShape) -> Vqgan:
    """The network without memory, for its names and shapes."""
    with torch.device("meta"):
        return Vqgan(shape)
