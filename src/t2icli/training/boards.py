"""Programs that show a run's figures: each gets what log.jsonl gets, and the previews."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from t2icli.ground import files
from t2icli.ground.errors import T2IError, did_you_mean

if TYPE_CHECKING:
    from PIL.Image import Image


class Board(Protocol):
    def figures(self, step: int, figures: Mapping[str, float]) -> None: ...
    def picture(self, step: int, image: Image) -> None: ...
    def close(self) -> None: ...


class TensorBoard:
    """In `tensorboard/` of the run."""

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer: Any = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def figures(self, step: int, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            self.writer.add_scalar(name, value, step)

    def picture(self, step: int, image: Image) -> None:
        import numpy as np

        self.writer.add_image("preview", np.asarray(image.convert("RGB")), step, dataformats="HWC")

    def close(self) -> None:
        self.writer.close()


class Wandb:
    """Weights & Biases, in `wandb/` of the run. WANDB_MODE, WANDB_PROJECT and its other variables apply."""

    def __init__(self, folder: Path, step: int) -> None:
        self.wandb: Any = import_module("wandb")
        # The console stays ours: their copy of it would wrap stdout.
        chosen = self.wandb.Settings(console="off", quiet=True)
        project = os.environ.get("WANDB_PROJECT", "t2i")
        names = {"project": project, "name": folder.name, "dir": folder, "id": run_id(folder, step), "resume": "allow"}
        self.run: Any = self.wandb.init(**names, mode=_mode("WANDB_MODE"), settings=chosen)

    def figures(self, step: int, figures: Mapping[str, float]) -> None:
        self.run.log(dict(figures), step=step)

    def picture(self, step: int, image: Image) -> None:
        self.run.log({"preview": self.wandb.Image(image)}, step=step)

    def close(self) -> None:
        self.run.finish()


class SwanLab:
    """SwanLab, in `swanlog/` of the run. SWANLAB_MODE, SWANLAB_PROJECT and its other variables apply."""

    def __init__(self, folder: Path, step: int) -> None:
        self.swanlab: Any = import_module("swanlab")
        project = os.environ.get("SWANLAB_PROJECT", "t2i")
        names = {"project": project, "name": folder.name, "log_dir": str(folder / "swanlog")}
        again = {"id": run_id(folder, step), "resume": "allow"}
        # The console stays ours: their copy of it would wrap stdout.
        chosen = self.swanlab.Settings(terminal={"proxy_type": "none"}, interactive=False)
        with redirect_stdout(sys.stderr):
            self.swanlab.init(**names, **again, mode=_mode("SWANLAB_MODE"), settings=chosen)

    def figures(self, step: int, figures: Mapping[str, float]) -> None:
        self.swanlab.log(dict(figures), step=step)

    def picture(self, step: int, image: Image) -> None:
        self.swanlab.log({"preview": self.swanlab.Image(image.convert("RGB"))}, step=step)

    def close(self) -> None:
        with redirect_stdout(sys.stderr):
            self.swanlab.finish()


BOARDS: Mapping[str, Callable[[Path, int], Board]] = {"tensorboard": TensorBoard, "wandb": Wandb, "swanlab": SwanLab}
EXTRAS = {"tensorboard": "train", "wandb": "wandb", "swanlab": "swanlab"}


def names(report_to: str) -> list[str]:
    """`"wandb,swanlab"`: the boards that are meant, all of which are installed; `auto` is tensorboard if it is."""
    if report_to == "auto":
        return [name for name in ("tensorboard",) if find_spec(name)]
    chosen = [] if report_to == "none" else [word.strip() for word in report_to.split(",")]
    for name in chosen:
        if name not in BOARDS:
            hint = did_you_mean(name, BOARDS) or "use auto, none, or several of tensorboard, wandb, swanlab"
            raise T2IError(f"there is no {name!r} to report to", hint)
        if not find_spec(name):
            raise T2IError(f"{name} is not installed", f"run: t2i install 't2icli[{EXTRAS[name]}]'")
    return list(dict.fromkeys(chosen))


def opened(report_to: str, folder: Path, step: int) -> list[Board]:
    return [BOARDS[name](folder, step) for name in names(report_to)]


def run_id(folder: Path, step: int) -> str:
    """The id by which a board recognises a resumed run; a run started over gets another."""
    path = folder / "run-id"
    if step and path.is_file():
        return path.read_text(encoding="utf-8").strip()
    files.write(path, f"{(chosen := secrets.token_hex(8))}\n")
    return chosen


def _mode(variable: str) -> str | None:
    """`offline` where the network is forbidden; else what the variable says, or the board itself."""
    return "offline" if os.environ.get("T2I_OFFLINE") else os.environ.get(variable)
