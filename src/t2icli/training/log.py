"""The figures of a run: `log.jsonl`, one line each time, and TensorBoard where it is installed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL.Image import Image

from t2icli.ground import files
from t2icli.ground.errors import T2IError


class Log:
    """Writes figures; lines of steps that a resumed run takes again are dropped first."""

    def __init__(self, folder: Path, step: int, report_to: str) -> None:
        self.path = folder / "log.jsonl"
        _keep_until(self.path, step)
        self.stream = self.path.open("a", encoding="utf-8")
        self.board = _board(folder / "tensorboard", step, report_to)

    def write(self, step: int, what: str, **figures: Any) -> None:
        self.stream.write(json.dumps({"step": step, "what": what, **figures}, ensure_ascii=False) + "\n")
        self.stream.flush()
        for name, value in figures.items():
            if self.board is not None and isinstance(value, (int, float)):
                self.board.add_scalar(f"{what}/{name}", value, step)

    def picture(self, step: int, image: Image) -> None:
        import numpy as np

        if self.board is not None:
            self.board.add_image("preview", np.asarray(image.convert("RGB")), step, dataformats="HWC")

    def close(self) -> None:
        self.stream.close()
        if self.board is not None:
            self.board.close()


def read(path: Path) -> list[Mapping[str, Any]]:
    """Every whole line of a log."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def _keep_until(path: Path, step: int) -> None:
    lines = [line for line in read(path) if line["step"] <= step and step > 0]
    files.write(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def _board(folder: Path, step: int, report_to: str) -> Any:
    if report_to == "none":
        return None
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        if report_to == "auto":
            return None
        raise T2IError("tensorboard is not installed", "run: t2i install 't2icli[train]'") from error
    return SummaryWriter(str(folder), purge_step=step + 1)
