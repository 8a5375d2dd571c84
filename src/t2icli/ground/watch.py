"""Following a long job: progress, previews, and cancelling it. Whoever starts a job hands it a `Watch`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

NO_FIGURES: Mapping[str, float] = {}


class Watch:
    """Follows one job; this one ignores it. Any method may raise, which cancels the job."""

    def progress(
        self, job: str, done: int, of: int | None = None, figures: Mapping[str, float] = NO_FIGURES, *, unit: str = ""
    ) -> None:
        """How far a job has come, with what it has measured; `unit` "B" counts bytes.

        Call it with 0 when the job begins, so that its rate and the time left are right.
        """

    def result(self, job: str, done: int, of: int, figures: Mapping[str, float]) -> None:
        """Figures that a job has come to on its way, such as an evaluation; they stay on the screen."""

    def step(self, done: int, of: int) -> None:
        """`done` steps `of` those that the running batch of pictures takes."""

    def preview(self, index: int, picture: Callable[[], Image]) -> None:
        """Picture `index` of the job so far. `picture` paints it, which takes time: call it now or not at all."""

    def counting(self, job: str, of: int) -> Callable[[int], None]:
        """A function to call with how many more are done."""
        done = 0
        self.progress(job, 0, of)

        def advance(n: int) -> None:
            nonlocal done
            done += n
            self.progress(job, done, of)

        return advance

    def is_wanted(self, index: int) -> bool:
        """Whether picture `index` is still wanted; if not, its content does not matter."""
        return True


unwatched = Watch()
"""For a job whose progress is not shown."""
