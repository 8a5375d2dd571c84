"""Progress of a long job; the caller decides how to show it. Light: no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Progress:
    """How far one job has come."""

    what: str
    """`train`, `evaluate`, `estimate` for how long training will take, or the name of a part that is encoded."""
    done: int
    total: int
    rate: float = 0.0
    """Samples a second."""
    batch: int = 1
    """Samples in one of what `done` counts."""
    figures: Mapping[str, float] = field(default_factory=dict)


Watch = Callable[[Progress], None]


def unwatched(progress: Progress) -> None:
    """For those who do not want to know."""
