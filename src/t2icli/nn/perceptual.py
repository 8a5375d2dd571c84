"""How unlike two pictures look: LPIPS over VGG16, and what takes its place where its weights are not at hand."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLICES = {1: (3, (0, 2)), 2: (64, (5, 7)), 3: (128, (10, 12, 14)), 4: (256, (17, 19, 21)), 5: (512, (24, 26, 28))}
"""Input width and convolutions of each slice, numbered as in torchvision's VGG16."""
WIDTHS = {1: 64, 2: 128, 3: 256, 4: 512, 5: 512}


class Slice(nn.Module):
    """VGG16 between two of the places LPIPS looks at. All but the first begin by halving the size."""

    def __init__(self, number: int) -> None:
        super().__init__()
        width, self.numbers = SLICES[number]
        self.halves = number > 1
        for i in self.numbers:
            self.add_module(str(i), nn.Conv2d(width, WIDTHS[number], 3, padding=1))
            width = WIDTHS[number]

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(x, 2) if self.halves else x
        for i in self.numbers:
            x = F.relu(self.get_submodule(str(i))(x))
        return x


class Vgg(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        for number in SLICES:
            self.add_module(f"slice{number}", Slice(number))

    def forward(self, x: Tensor) -> list[Tensor]:
        features = []
        for number in SLICES:
            x = self.get_submodule(f"slice{number}")(x)
            features.append(x)
        return features


class Scaling(nn.Module):
    """From [-1, 1] to the range VGG16 was trained on."""

    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188])[None, :, None, None])
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450])[None, :, None, None])

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.shift) / self.scale


class Weighing(nn.Module):
    """A weight for each feature. Upstream has a dropout before it, so the convolution is number 1."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.model = nn.ModuleDict({"1": nn.Conv2d(width, 1, 1, bias=False)})

    def forward(self, x: Tensor) -> Tensor:
        weighed: Tensor = self.model["1"](x)
        return weighed


class Lpips(nn.Module):
    """Learned perceptual distance, under upstream's parameter names."""

    def __init__(self) -> None:
        super().__init__()
        self.scaling_layer, self.net = Scaling(), Vgg()
        for i, width in enumerate(WIDTHS.values()):
            self.add_module(f"lin{i}", Weighing(width))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Two batches in [-1, 1] -> (b,)."""
        pairs = zip(self.net(self.scaling_layer(a)), self.net(self.scaling_layer(b)), strict=True)
        total = a.new_zeros(len(a))
        for i, (x, y) in enumerate(pairs):
            apart = (F.normalize(x, dim=1) - F.normalize(y, dim=1)).square()
            total = total + self.get_submodule(f"lin{i}")(apart).mean((1, 2, 3))
        return total


def laplacian(a: Tensor, b: Tensor, levels: int = 4) -> Tensor:
    """Mean difference of the details at each of several scales and of the rest, (b, c, h, w) twice -> (b,).

    A picture that is merely blurred pays at the fine scales. No weights, and a hundredth of LPIPS' cost.
    """
    apart, total = a - b, a.new_zeros(len(a))
    for _ in range(levels):
        if min(apart.shape[2:]) < 2:
            break
        coarse = F.avg_pool2d(apart, 2, ceil_mode=True)
        detail = apart - F.interpolate(coarse, size=apart.shape[2:], mode="bilinear", align_corners=False)
        total = total + detail.abs().mean((1, 2, 3))
        apart = coarse
    return total + apart.abs().mean((1, 2, 3))
