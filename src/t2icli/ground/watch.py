"""Following a long job: progress, previews, and cancelling it. Whoever starts a job hands it a `Watch`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image


class Watch:
    """Follows one job; this one ignores it. Any method may raise, which cancels the job."""

    def step(self, done: int, of: int) -> None:
        """`done` steps `of` those that the running batch of pictures takes."""

    def preview(self, index: int, picture: Callable[[], Image]) -> None:
        """Picture `index` of the job so far. `picture` paints it, which takes time: call it now or not at all."""


unwatched = Watch()
"""For a job whose progress is not shown."""
