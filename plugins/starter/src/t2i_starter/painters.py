"""Pictures that are drawn when they are wanted, by several processes where there are many.

Drawing holds the interpreter, so threads alone would not help. Each painter is a program of its own that reads what to
draw and writes the picture: it needs no guard in the caller's script as `multiprocessing` does, and ends when its input
does.
"""

from __future__ import annotations

import io
import pickle
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from t2i_starter import photos, plates
from t2i_starter.plates import Plating
from t2i_starter.servings import Serving
from t2i_starter.words import Dish
from t2icli.ground import machine
from t2icli.ground.errors import T2IError

MOST = 8
"""Each keeps the vessels that it has filled, up to 200 MB."""
WORTH_IT = 200
"""Pictures from which starting processes pays."""


class Crew:
    """Painters, started as they are needed; they end with the last drawing that knows of them."""

    def __init__(self) -> None:
        self._free = threading.Semaphore(min(machine.cores(), MOST))
        self._painters: list[subprocess.Popen[bytes]] = []
        self._idle: list[subprocess.Popen[bytes]] = []
        weakref.finalize(self, _dismiss, self._painters)

    def draw(self, drawing: PlateDrawing) -> bytes:
        with self._painter() as painter:
            assert painter.stdin is not None and painter.stdout is not None
            try:
                pickle.dump(drawing, painter.stdin)
                painter.stdin.flush()
                return bytes(pickle.load(painter.stdout))
            except (EOFError, OSError, pickle.UnpicklingError):
                raise T2IError(f"the process drawing {drawing.what} died", "its own message is above") from None

    @contextmanager
    def _painter(self) -> Iterator[subprocess.Popen[bytes]]:
        with self._free:
            try:
                painter = self._idle.pop()
            except IndexError:
                painter = _start()
                self._painters.append(painter)
            yield painter
            self._idle.append(painter)


def _start() -> subprocess.Popen[bytes]:
    # In a session of its own, for Ctrl-C is the caller's to deal with.
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-m", __name__], stdin=pipe, stdout=pipe, start_new_session=True)


def _dismiss(painters: list[subprocess.Popen[bytes]]) -> None:
    for painter in painters:
        painter.kill()
        painter.communicate()


def crew(count: int) -> Crew | None:
    """Painters for so many pictures; None where one process is enough."""
    return Crew() if count >= WORTH_IT and machine.cores() > 1 else None


@dataclass(frozen=True)
class PlateDrawing:
    """A picture as the bytes of a PNG, when called."""

    what: Dish | Serving | str
    """A dish, drawn; one as it is served, composed of layers; or a single thing by its character."""
    seed: int
    size: int
    plating: Plating
    crew: Crew | None = field(default=None, compare=False, repr=False)

    def __call__(self) -> bytes:
        return self.draw() if self.crew is None else self.crew.draw(self)

    def __reduce__(self) -> tuple[Any, ...]:  # the painters stay where they are
        return PlateDrawing, (self.what, self.seed, self.size, self.plating)

    def draw(self) -> bytes:
        stream = io.BytesIO()
        self._image().save(
            stream, "PNG", compress_level=1
        )  # half of the time of a picture went into packing it tighter
        return stream.getvalue()

    def _image(self) -> Image.Image:
        if isinstance(self.what, Serving):
            return photos.draw(self.what, self.seed, self.size)
        if isinstance(self.what, str):
            return plates.draw_thing(self.what, self.seed, self.size, self.plating)
        return plates.draw(self.what, self.seed, self.size, self.plating)


def main() -> None:
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # the caller has ended
    while True:
        try:
            drawing = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        pickle.dump(drawing.draw(), sys.stdout.buffer)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
