"""A metric: how unlike two pictures look, by their edges more than by their colours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from t2icli import Entry, Metric, hookimpl

if TYPE_CHECKING:
    from torch import Tensor


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    edges: Annotated[float, Meta(description="how much edges count beside colours", ge=0)] = 4.0


class Edges:
    name = "edges"

    def __init__(self, settings: Settings) -> None:
        self.edges = settings.edges

    def distance(self, images: Tensor, others: Tensor) -> Tensor:
        off = images - others  # (b, 3, h, w)
        across, down = off.diff(dim=3), off.diff(dim=2)
        return _power(off) + self.edges * (_power(across) + _power(down))


def _power(x: Tensor) -> Tensor:
    return x.square().mean((1, 2, 3))


@hookimpl
def t2i_metrics() -> list[Entry[Metric]]:
    return [Entry("sample", "squared difference of colours and edges", Settings, Edges)]
