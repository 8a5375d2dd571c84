"""The adversary of a codec: a patch discriminator, its hinge loss, and the weight of its loss."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ActNorm(nn.Module):
    """A shift and a scale for each channel, set from the first batch and then learnt."""

    initialized: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(1, width, 1, 1))
        self.scale = nn.Parameter(torch.ones(1, width, 1, 1))
        self.register_buffer("initialized", torch.tensor(0, dtype=torch.uint8))

    @torch.no_grad()
    def _begin(self, x: Tensor) -> None:
        over = (0, 2, 3)
        self.loc.copy_(-x.mean(over, keepdim=True))
        self.scale.copy_(1 / (x.std(over, keepdim=True) + 1e-6))
        self.initialized.fill_(1)

    def forward(self, x: Tensor) -> Tensor:
        if self.training and not self.initialized:
            self._begin(x)
        return self.scale * (x + self.loc)


class PatchDiscriminator(nn.Module):
    """Pictures in [-1, 1] to a map of how real each patch looks. Parameter names are taming's."""

    def __init__(self, width: int = 64, layers: int = 3, *, act_norm: bool = False) -> None:
        super().__init__()
        widths = [width * min(2**i, 8) for i in range(layers + 1)]
        steps: list[nn.Module] = [nn.Conv2d(3, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        for i in range(1, layers + 1):
            stride = 2 if i < layers else 1
            steps += [
                nn.Conv2d(widths[i - 1], widths[i], 4, stride, 1, bias=act_norm),
                ActNorm(widths[i]) if act_norm else nn.BatchNorm2d(widths[i]),
                nn.LeakyReLU(0.2),
            ]
        self.main = nn.Sequential(*steps, nn.Conv2d(widths[-1], 1, 4, 1, 1))
        self.apply(_begin)

    def forward(self, images: Tensor) -> Tensor:
        realness: Tensor = self.main(images)
        return realness


def _begin(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)


def hinge(real: Tensor, fake: Tensor) -> Tensor:
    """The discriminator's loss: real patches above 1, generated ones below -1."""
    return (F.relu(1 - real).mean() + F.relu(1 + fake).mean()) / 2


def heed(reconstruction: Tensor, adversary: Tensor, last_layer: Tensor) -> Tensor:
    """The weight of the adversarial loss that makes both gradients of the decoder's last layer equally large."""
    (pull,) = torch.autograd.grad(reconstruction, last_layer, retain_graph=True)
    (push,) = torch.autograd.grad(adversary, last_layer, retain_graph=True)
    weight: Tensor = pull.norm() / (push.norm() + 1e-4)
    return weight.clamp(0, 1e4).detach()
