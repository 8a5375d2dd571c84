"""A codec: each square of an image becomes one of a few hundred colours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from t2icli import Codec, Entry, hookimpl

if TYPE_CHECKING:
    from torch import Tensor


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    cells: Annotated[int, Meta(description="squares in a row", ge=1)] = 16
    levels: Annotated[int, Meta(description="shades of red, of green and of blue", ge=2)] = 8


class Mosaic:
    square = 8

    def __init__(self, settings: Settings) -> None:
        self.levels = settings.levels
        self.codes = settings.levels**3
        self.grid = (settings.cells, settings.cells)
        self.size = (self.square * settings.cells, self.square * settings.cells)

    def encode(self, images: Tensor) -> Tensor:
        import torch  # here, not at the top: `t2i --help` imports this module

        cells = torch.nn.functional.adaptive_avg_pool2d(images, self.grid)  # (b, 3, rows, columns)
        red, green, blue = (cells * (self.levels - 1)).round().long().flatten(2).unbind(1)
        return (red * self.levels + green) * self.levels + blue  # (b, rows x columns)

    def decode(self, codes: Tensor) -> Tensor:
        import torch

        shades = torch.stack([codes // self.levels**2, codes // self.levels % self.levels, codes % self.levels], dim=1)
        cells = (shades.float() / (self.levels - 1)).reshape(len(codes), 3, *self.grid)
        return torch.nn.functional.interpolate(cells, scale_factor=self.square)


@hookimpl
def t2i_codecs() -> list[Entry[Codec]]:
    return [Entry("sample", "squares of one colour", Settings, Mosaic)]
