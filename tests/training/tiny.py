"""A recipe that trains in milliseconds and uses all that the loop offers: a frozen part, dropout, random crops,
two turns, a buffer, previews."""

from __future__ import annotations

import functools
import os
import random
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import torch
from msgspec import Meta
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset

from t2icli.contract.entries import Entry
from t2icli.contract.hookspecs import hookimpl
from t2icli.contract.recipes import Frozen, ParamGroup, Samples, Turn
from t2icli.data.dataset import PreparedDataset
from t2icli.nn import weights
from t2icli.nn.pixels import to_images, to_tensor
from t2icli.registry import discovery
from t2icli.store import models
from t2icli.training.settings import LoopSettings

LOOP = LoopSettings(max_steps=12, batch_size=4, lr=1e-2, log_every=3, eval_every=4, save_every=3, preview_every=6)


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    width: Annotated[int, Meta(description="hidden size")] = 8
    dropout: Annotated[float, Meta(description="part of the features left out")] = 0.1
    frozen: Annotated[bool, Meta(description="whether there is a part that runs once")] = True
    judged: Annotated[bool, Meta(description="whether there is a second turn")] = True
    nan_at: Annotated[int, Meta(description="step whose loss is not a number")] = -1
    slow: Annotated[float, Meta(description="seconds a step takes longer")] = 0.0
    loop: Annotated[LoopSettings, Meta(description="the loop")] = LOOP


class Net(nn.Module):
    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(12, width), nn.Linear(width, 12)])
        self.critic = nn.Linear(12, 1)
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        if self.training and self.dropout.p:  # several processes count, and draw, each for itself
            self.seen += len(x)
        return self.blocks[1](self.dropout(torch.relu(self.blocks[0](x))))


class Crops(Dataset[Tensor]):
    """Two by two pixels from anywhere, and the frozen part's opinion."""

    def __init__(self, data: PreparedDataset, means: Tensor | None) -> None:
        self.data, self.means = data, means

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, i: int) -> Tensor:
        image = self.data.image(i)
        left, top = random.randrange(image.width - 1), random.randrange(image.height - 1)
        pixels = to_tensor(image.crop((left, top, left + 2, top + 2))).flatten()
        return pixels if self.means is None else torch.cat([pixels[:9], self.means[i]])


class Means(Dataset[Tensor]):
    def __init__(self, data: PreparedDataset) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, i: int) -> Tensor:
        return to_tensor(self.data.image(i))


class Tiny:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.model = Net(settings.width, settings.dropout)

    def frozen(self) -> Sequence[Frozen]:
        return [Frozen("means", "mean colour", Means, lambda x: x.mean((2, 3)))] if self.settings.frozen else ()

    def dataset(self, data: PreparedDataset, split: str, encoded: Mapping[str, Tensor]) -> Samples[Any]:
        return Crops(data, encoded.get("means"))

    def turns(self) -> Sequence[Turn]:
        net = self.model
        draw = Turn("draw", [ParamGroup(list(net.blocks.parameters()))], self.draw, self.count)
        judge = Turn("judge", [ParamGroup(list(net.critic.parameters()), weight_decay=0.0, lr_scale=0.5)], self.judge)
        return [draw, judge] if self.settings.judged else [draw]

    def draw(self, batch: Tensor, step: int) -> tuple[Tensor, dict[str, Any]]:
        time.sleep(self.settings.slow)
        loss = (self.model(batch) - batch).square().mean()
        self.hang(f"draw-{step}" if self.model.training else f"evaluate-{step}")
        if step == self.settings.nan_at:
            loss = loss * float("nan")
        return loss, {"error": loss.detach().sqrt()}

    def judge(self, batch: Tensor, step: int) -> tuple[Tensor, dict[str, Any]]:
        loss = (self.model.critic(self.model(batch)) - 1).square().mean()
        self.hang(f"judge-{step}")
        return loss, {}

    def hang(self, moment: str) -> None:
        """As long as there is a file of that name: a step of minutes, for tests of what ends it."""
        if Path(f"hang-{moment}").exists():
            Path("hangs").touch()
            time.sleep(110)

    def count(self) -> None:
        self.model.steps += 1

    def preview(self, batch: Tensor, *, seed: int) -> Sequence[Image.Image]:
        return to_images(self.model(batch).unflatten(1, (3, 2, 2)))

    def save(self, folder: Path) -> None:
        weights.save(self.model, folder)
        models.seal(folder, models.Card(kind="generator", backend="tiny", config={"width": self.settings.width}))


class Plugin:
    __name__ = "tiny"

    def __init__(self, recipe: type[Tiny] = Tiny) -> None:
        self.recipe = recipe

    @hookimpl
    def t2i_recipes(self) -> list[Entry[Any]]:
        return [Entry("tiny", "a recipe for tests", Settings, self.recipe)]


def t2i(words: Sequence[str], folder: Path, home: Path, environment: Mapping[str, str] | None = None) -> None:
    """The command line in a process of its own, which ends with it; what it says goes to `folder`/said."""
    from t2icli import cli

    os.chdir(folder)
    os.environ.update({"T2I_HOME": str(home), "OMP_NUM_THREADS": "1", **(environment or {})})
    said = os.open("said", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(said, 1)
    os.dup2(said, 2)
    here = discovery.collect([("tiny", "under test", Plugin)])
    discovery.installed = functools.cache(lambda: here)  # type: ignore[assignment]
    torch.set_num_threads(1)
    sys.argv = ["t2i", *words]
    cli.main()


if __name__ == "__main__":
    t2i(sys.argv[1:], Path.cwd(), Path(os.environ["T2I_HOME"]))
