"""A recipe and the generator that draws with what it has learned: the mean picture of all pictures.

`t2i train sample --train-data FOLDER --output runs/one`, then `t2i generate PROMPT --model runs/one/model`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from t2icli import Card, Entry, Frozen, Generator, LoopSettings, Model, ParamGroup, Recipe, Turn, hookimpl, seal

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor, nn

    from t2icli import PreparedDataset


class TrainSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    size: Annotated[int, Meta(description="width and height in pixels", ge=1)] = 32
    loop: Annotated[LoopSettings, Meta(description="how long and how fast")] = LoopSettings(lr=0.05, epochs=20)


class Mean:
    """What training needs to know: a network, its samples, and the loss of a step."""

    def __init__(self, settings: TrainSettings) -> None:
        self.size = settings.size
        self.model = network(settings.size)

    def frozen(self) -> Sequence[Frozen]:
        return ()  # a codec or CLIP that runs once over all data, before the first step, would be named here

    def dataset(self, data: PreparedDataset, split: str, encoded: Mapping[str, Tensor]) -> list[Tensor]:
        from t2icli.nn.pixels import to_tensor

        return [to_tensor(data.image(i).resize((self.size, self.size))) for i in range(len(data))]

    def turns(self) -> Sequence[Turn]:
        return [Turn("picture", [ParamGroup(list(self.model.parameters()))], self.loss)]

    def loss(self, batch: Tensor, step: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        loss = (self.model(batch) - batch).square().mean()
        return loss, {"error": loss.detach().sqrt()}

    def preview(self, batch: Tensor, *, seed: int) -> Sequence[Image]:
        return [drawn(self.model)]

    def save(self, folder: Path) -> None:
        from t2icli.nn import weights

        weights.save(self.model, folder)
        seal(folder, Card(kind="generator", backend="sample", config={"size": self.size}))


def network(size: int) -> nn.Module:
    import torch  # here, not at the top: `t2i --help` imports this module

    class Picture(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pixels = torch.nn.Parameter(torch.full((3, size, size), 0.5))

        def forward(self, batch: Tensor) -> Tensor:
            return self.pixels.expand_as(batch)

    return Picture()


def drawn(model: nn.Module) -> Image:
    from t2icli.nn.pixels import to_images

    (image,) = to_images(model.get_parameter("pixels").detach()[None])
    return image


class DrawSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    model: Annotated[Model, Meta(description="what a run of `t2i train sample` has saved")]


class Drawer:
    def __init__(self, settings: DrawSettings) -> None:
        from t2icli.nn import weights

        self.model = weights.load(network(settings.model.card.config["size"]), settings.model)

    def generate(self, prompt: str, n: int, *, seed: int) -> Iterator[Image]:
        return (drawn(self.model) for _ in range(n))


@hookimpl
def t2i_recipes() -> list[Entry[Recipe]]:
    return [Entry("sample", "learns the mean of all pictures", TrainSettings, Mean)]


@hookimpl
def t2i_generators() -> list[Entry[Generator]]:
    return [Entry("sample", "draws the mean of all pictures", DrawSettings, Drawer)]
