"""The figures of a run: `log.jsonl`, one line each time, and the boards that were chosen."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL.Image import Image

from t2icli.ground import files
from t2icli.training import boards


class Log:
    """Writes figures; lines of steps that a resumed run takes again are dropped first."""

    def __init__(self, folder: Path, step: int, report_to: str) -> None:
        self.path = folder / "log.jsonl"
        _keep_until(self.path, step)
        self.stream = self.path.open("a", encoding="utf-8")
        self.boards = boards.opened(report_to, folder, step)

    def write(self, step: int, what: str, **figures: Any) -> None:
        self.stream.write(json.dumps({"step": step, "what": what, **figures}, ensure_ascii=False) + "\n")
        self.stream.flush()
        numbers = {f"{what}/{name}": value for name, value in figures.items() if isinstance(value, (int, float))}
        for board in self.boards:
            board.figures(step, numbers)

    def picture(self, step: int, image: Image) -> None:
        for board in self.boards:
            board.picture(step, image)

    def close(self) -> None:
        self.stream.close()
        for board in self.boards:
            board.close()


def read(path: Path) -> list[Mapping[str, Any]]:
    """Every whole line of a log."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def _keep_until(path: Path, step: int) -> None:
    lines = [line for line in read(path) if line["step"] <= step and step > 0]
    files.write(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
