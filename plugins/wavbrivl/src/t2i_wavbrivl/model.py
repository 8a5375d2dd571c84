"""The tower: a log-mel spectrogram to a unit vector."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from t2i_wavbrivl import TowerShape
from t2icli.nn.attention import attend
from t2icli.nn.transformer import join_heads, split_heads

RATE, WINDOW, HOP, POINTS = 16_000, 400, 160, 512
LOWEST, HIGHEST = 50.0, 7600.0
LEAST = 25
"""Frames of a spectrogram at least; a shorter one is filled up with silence."""
STRIDE = 4
"""Frames that become one place of the tower."""


class Tower(nn.Module):
    """Two strided convolutions, depthwise blocks, one layer of attention, and pools that each look elsewhere."""

    def __init__(self, shape: TowerShape, out: int) -> None:
        super().__init__()
        self.shape, self.width = shape, out
        w = shape.width
        self.enter = nn.ModuleList([nn.Conv1d(n, w, 5, stride=2, padding=2) for n in (shape.bands, w)])
        self.blocks = nn.ModuleList([Block(w) for _ in range(shape.blocks)])
        self.attention = Attention(w, shape.heads)
        self.widen, self.narrow = nn.Linear(w, 4 * w), nn.Linear(4 * w, w)
        self.norms = nn.ModuleList([nn.LayerNorm(w) for _ in range(3)])
        self.look = nn.Linear(w, shape.pools)
        self.out = nn.Sequential(nn.Linear(shape.pools * w, 2 * w), nn.GELU(), nn.Linear(2 * w, out))

    @property
    def last(self) -> nn.Linear:
        layer = self.out[-1]
        assert isinstance(layer, nn.Linear)
        return layer

    def ends(self) -> list[nn.Parameter]:
        """Matrices that lead out of the hidden features."""
        return [self.look.get_parameter("weight"), self.last.get_parameter("weight")]

    def forward(self, mel: Tensor, frames: Tensor) -> Tensor:
        """(b, bands, n), of which the first `frames` (b,) hold sound -> (b, out); what comes after changes nothing."""
        return self.vector(self.features(mel, frames))

    def vector(self, features: Tensor) -> Tensor:
        return F.normalize(self.last(features), dim=-1)

    def features(self, mel: Tensor, frames: Tensor) -> Tensor:
        """What the last layer reads."""
        x, left = mel * _mask(frames, mel.shape[2])[:, None], frames
        for convolution in self.enter:
            x = F.gelu(convolution(x))
            left = (left + 1) // 2
            x = x * _mask(left, x.shape[2])[:, None]
        inside = _mask(left, x.shape[2])
        x = x.transpose(1, 2)  # (b, n, w)
        for block in self.blocks:
            x = block(x, inside)
        x = x + self.attention(self.norms[0](x), inside)
        x = x + self.narrow(F.gelu(self.widen(self.norms[1](x))))
        x = self.norms[2](x)
        weights = self.look(x).masked_fill(~inside[..., None], -math.inf).softmax(dim=1)  # (b, n, pools)
        features: Tensor = self.out[:-1]((weights.transpose(1, 2) @ x).flatten(1))
        return features


class Block(nn.Module):
    """A wide depthwise convolution over time, then a small network for each place."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.over_time = nn.Conv1d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor, inside: Tensor) -> Tensor:
        mixed = self.over_time((x * inside[..., None]).transpose(1, 2)).transpose(1, 2)
        return x + self.narrow(F.gelu(self.widen(self.norm(mixed))))


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor, inside: Tensor) -> Tensor:
        q, k, v = split_heads(self.qkv(x), 3, self.heads)
        mask = inside[:, None, None].expand(-1, -1, x.shape[1], -1)
        gathered: Tensor = self.out(join_heads(attend(q, k, v, mask)))
        return gathered


def _mask(frames: Tensor, n: int) -> Tensor:
    """(b, n), True for the frames that hold sound."""
    return torch.arange(n, device=frames.device) < frames[:, None]


def spectrogram(samples: Tensor, bands: int) -> Tensor:
    """(n,) at `RATE` -> log-mel (bands, frames) of mean 0 and deviation 1."""
    wanted = WINDOW + (LEAST - 1) * HOP
    samples = F.pad(samples, (0, max(0, wanted - len(samples))))
    windows = samples.unfold(0, WINDOW, HOP) * torch.hann_window(WINDOW)
    power = torch.fft.rfft(windows, n=POINTS).abs().square()
    mel = (power @ _filters(bands)).clamp(min=1e-8).log().T
    level: Tensor = (mel - mel.mean()) / mel.std().clamp(min=1e-4)
    return level


@lru_cache(maxsize=4)
def _filters(bands: int) -> Tensor:
    """(points / 2 + 1, bands): triangles whose corners are evenly spaced in mel."""
    corners = np.linspace(_mel(LOWEST), _mel(HIGHEST), bands + 2)
    hertz = 700 * (10 ** (corners / 2595) - 1)
    bins = np.fft.rfftfreq(POINTS, 1 / RATE)[:, None]
    up = (bins - hertz[:-2]) / (hertz[1:-1] - hertz[:-2])
    down = (hertz[2:] - bins) / (hertz[2:] - hertz[1:-1])
    return torch.from_numpy(np.minimum(up, down).clip(min=0).astype(np.float32))


def _mel(hertz: float) -> float:
    return 2595 * math.log10(1 + hertz / 700)
