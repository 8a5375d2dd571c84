"""Every recipe at every size: parameters, memory and operations of a step, batches that fit a GPU, seconds on a CPU.

    OMP_NUM_THREADS=1 python benchmarks/recipes.py [--count] [RECIPE | RECIPE:SIZE ...]

Steps are counted on tensors that have a shape alone (`cost`), so no GPU is needed and large networks take no memory.
Small steps are taken as well, and timed beside the time that their operations would take at the rate of a product;
with --count, on a machine that is busy, they are not.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import tempfile
import time
import warnings
import wave
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from cost import Counted, Imagination, bytes_of, cost, imagined
from PIL import Image
from table import machine
from torch import Tensor
from torch.utils._pytree import tree_map_only
from torch.utils.flop_counter import FlopCounterMode

from t2icli.backends.tokenizers import FitSettings, chinese
from t2icli.backends.tokenizers.chinese import SPECIAL
from t2icli.backends.tokenizers.train import TokenizerFit
from t2icli.contract.entries import Upstream
from t2icli.contract.recipes import Recipe
from t2icli.data import shards
from t2icli.data.dataset import PreparedDataset, SourceRow
from t2icli.ground import files
from t2icli.nn import codebook, transformer, weights
from t2icli.nn.perceptual import Lpips
from t2icli.pipelines import sizes, train
from t2icli.pipelines.training_plan import planned, silent
from t2icli.registry import discovery
from t2icli.store import models
from t2icli.store.models import Card
from t2icli.training.cache import samples_of
from t2icli.training.devices import World
from t2icli.training.evaluate import to_device
from t2icli.training.order import SampleOrder, Seeded, collate
from t2icli.training.recompute import blocks, recompute
from t2icli.training.settings import LoopSettings
from t2icli.training.turns import RunningTurn, only

BATCHES = (4, 256)
"""What is counted. Memory is a convex function of the batch, of gradients at first and of activations then: so the line
between these is never below it, and the second is large."""
CARDS = (8, 16, 24)
"""Gigabytes of GPUs, of which `USABLE` is for a training."""
USABLE = 0.9
LONGEST = 1.0
"""Seconds that a timed step may take by its floor; fewer samples otherwise."""
COUNT = "--count"
MANY = 4096
"""A larger batch is of no interest."""
WITHOUT = {"tokenizer", "lora"}
"""One has no steps, the other's sizes depend on its base: its page has a table of them."""
PAGES = [Path(__file__).parents[1] / "docs" / name for name in ("sizes.md", "sizes.zh.md")]
TABLE = re.compile(r"(?<=\n\n)(\|.*\n)+")
MEASURED = re.compile("<!-- measured -->.*<!-- end -->")
PICTURES, SIDE = 2, 300
CHARACTERS = range(0x4E00, 0x4E00 + 4000)
"""Of captions: a vocabulary as it is learnt from some."""
ORIGINAL_WORDS = 21_128
"""Of Chinese BERT's vocabulary, which the recipes' authors used."""
CPU = World(torch.device("cpu"))


PARTS: Mapping[str, Mapping[str, str]] = {
    "clip": {"tokenizer": "tokenizer"},
    "dalle": {"codec": "vqgan", "tokenizer": "tokenizer"},
    "flow": {"codec": "vqgan", "tokenizer": "tokenizer"},
    "clipgen": {"codec": "clipgen-vqgan", "embedder": "clip"},
    "clipcap": {"embedder": "clip", "tokenizer": "tokenizer"},
    "dalle2-prior": {"embedder": "clip"},
    "dalle2-decoder": {"embedder": "clip"},
    "wavbrivl": {"space": "clip"},
}
"""By which recipe a recipe's parts are made, at the same size."""


class Bench:
    """The data, and the parts that recipes need: a codec, an embedder, a vocabulary; none of them trained."""

    def __init__(self, place: Path) -> None:
        self.place, self.data = place, place / "data"
        write_data(self.data)
        lpips = models.home() / "models/lpips/vgg16"
        lpips.mkdir(parents=True)
        weights.save(Lpips(), lpips)
        models.seal(lpips, Card(kind="metric", backend="lpips", about="untrained"))
        (place / "vocab.txt").write_text("\n".join([*SPECIAL, *map(chr, range(0x4E00, 0x4E00 + ORIGINAL_WORDS - 5))]))
        (place / "words-original").mkdir()
        chinese.convert(Upstream((place / "vocab.txt",), {}), place / "words-original")
        TokenizerFit(FitSettings()).fit(["".join(map(chr, CHARACTERS))] * 2, place / "words")

    def part(self, recipe: str, size: str) -> Path:
        """The model that a recipe would leave before its first step; or a vocabulary."""
        if recipe == "tokenizer":
            return self.place / ("words-original" if size == sizes.ORIGINAL else "words")
        folder = self.place / "parts" / f"{recipe}-{size}"
        if not folder.is_dir():
            folder.mkdir(parents=True)
            self.built(recipe, size)[0].save(folder)
        return folder

    def built(self, name: str, size: str) -> tuple[Recipe, LoopSettings]:
        option: dict[str, Any] = {field: str(self.part(part, size)) for field, part in PARTS.get(name, {}).items()}
        if name == "clipcap" and size == sizes.ORIGINAL:
            option["vocabulary"] = str(self.place / "vocab.txt")
            del option["tokenizer"]
        requested = {"recipe": name, "train_data": str(self.data), "size": size, "option": option}
        return train.build(planned(requested, self.place / "run", resume=False, tell=silent))

    def sized(self, name: str, size: str) -> Sized:
        recipe, loop = self.built(name, size)
        samples, _ = samples_of(recipe, PreparedDataset.open(self.data), "train", loop, CPU)
        return Sized(name, size, recipe, loop, samples)


@dataclass
class Sized:
    """A recipe at a size, before its first step."""

    name: str
    size: str
    recipe: Recipe
    loop: LoopSettings
    samples: Any

    def batch(self, n: int) -> Any:
        order = SampleOrder(0, len(self.samples), 1)
        read = collate([Seeded(self.samples, 0)[order.rows(step)[0]] for step in range(n)])
        return to_device(read.batch, CPU.device, self.loop)

    def step(self, turns: list[RunningTurn], batch: Any) -> None:
        """The last of all, when what joins in late is there: losses, gradients and, if not imagined, the optimizer."""
        for turn in turns:
            with only(turn, turns):
                turn.gradients([batch], self.last)
                turn.forget()

    @property
    def last(self) -> int:
        return (self.loop.max_steps or 100_000) - 1

    def turns(self) -> list[RunningTurn]:
        return [RunningTurn(turn, self.loop, 1, CPU) for turn in self.recipe.turns()]

    def timed(self, batch: int) -> tuple[float, int]:
        """CPU seconds of a step, the best of three, with all that the loop does in it; and its operations."""
        turns, samples = self.turns(), self.batch(batch)
        with FlopCounterMode(display=False) as operations:
            self._whole_step(turns, samples)
        taken = min(seconds(partial(self._whole_step, turns, samples)) for _ in range(3))
        return taken, operations.get_total_flops()

    def _whole_step(self, turns: list[RunningTurn], batch: Any) -> None:
        for turn in turns:
            with only(turn, turns):
                turn.gradients([batch], self.last)
                turn.norm()
                turn.move(0)
                turn.forget()

    def counted(self) -> tuple[Counted, Counted | None]:
        """Without and with --grad-checkpointing; None where there is nothing to compute again."""
        batches = {n: self.batch(n) for n in (1, *BATCHES)}
        with Imagination() as mode, unmeasured():
            imagined(self.recipe.model, mode)
            batches = tree_map_only(Tensor, mode.imagine, batches)
            turns = self.turns()
            plain = self._counted(turns, batches)
            if not list(blocks(self.recipe.model)):
                return plain, None
            recompute(self.recipe.model)
            return plain, self._counted(turns, batches)

    def _counted(self, turns: list[RunningTurn], batches: Mapping[int, Any]) -> Counted:
        """One sample is counted too where a few do not fit the smallest GPU."""
        counted = Counted(self._fixed(turns), {n: cost(partial(self.step, turns, batches[n])) for n in BATCHES})
        if counted.memory(BATCHES[0]) <= USABLE * CARDS[0] * 1e9:
            return counted
        return Counted(counted.fixed, {1: cost(partial(self.step, turns, batches[1])), **counted.costs})

    def _fixed(self, turns: list[RunningTurn]) -> int:
        """Weights, averaged weights, and what the optimizer keeps: two numbers a parameter, or one of muon's."""
        averages = sum(
            parameter.numel() * 4 * (1 if self.loop.optimizer == "muon" and group.hidden else 2)
            for turn in turns
            for group in turn.turn.groups
            for parameter in group.parameters
        )
        return bytes_of(self.recipe.model) * (2 if self.loop.ema else 1) + averages


def write_data(folder: Path) -> None:
    """Pictures of noise with captions of 24 characters, and a few seconds of noise that is heard."""
    rows = []
    for i in range(PICTURES):
        random = np.random.default_rng(i)
        picture, sound = io.BytesIO(), io.BytesIO()
        Image.fromarray(random.integers(256, size=(SIDE, SIDE, 3), dtype=np.uint8)).save(picture, "JPEG")
        with wave.open(sound, "wb") as file:
            file.setparams((1, 2, 16_000, 0, "NONE", ""))
            file.writeframes(random.integers(-9000, 9000, size=16_000 * 5, dtype=np.int16).tobytes())
        caption = "".join(map(chr, random.choice(CHARACTERS, 24, replace=False)))
        rows.append(SourceRow(str(i), picture.getvalue(), (caption,), audio=sound.getvalue()))
    shards.write(folder, rows)


@contextlib.contextmanager
def unmeasured() -> Iterator[None]:
    """What depends on values is left out, and attention is computed as a GPU does it, in one call."""
    with patch.object(codebook, "used", lambda codes, n: torch.zeros(())), patch.object(transformer, "PLAIN", 0):
        yield


def seconds(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def rate() -> float:
    """Operations a second of a large product here."""
    a = torch.randn(1024, 1024)
    return 2 * 1024**3 / min(seconds(lambda: a @ a) for _ in range(8))


def main(words: list[str]) -> None:
    names, times = [word for word in words if word != COUNT], COUNT not in words
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["T2I_HOME"] = str(Path(scratch) / "home")
        bench, speed = Bench(Path(scratch)), rate()
        offers = discovery.installed().offers["recipe"]
        for word in names or sorted(offers.keys() - WITHOUT):
            name, _, only_size = word.partition(":")
            for size in [only_size] if only_size else [*offers[name].entry.sizes, sizes.ORIGINAL]:
                for number, cells in enumerate(rows(partial(bench.sized, name, size), speed if times else None)):
                    print(line(cells), flush=True)
                    for page in PAGES:
                        put(page, number, cells)
    for page in PAGES if times else ():
        files.write(page, MEASURED.sub(f"<!-- measured -->{machine()}<!-- end -->", page.read_text(encoding="utf-8")))


def rows(make: Callable[[], Sized], speed: float | None) -> Iterator[list[str]]:
    """What a GPU needs; then, of steps that are short enough, what they take here."""
    sized = make()
    plain, again = sized.counted()
    name = [f"`{sized.name}`", sized.size]
    yield [*name, *memory(train.parameters_of(sized.recipe), plain, again)]
    if speed is None:
        return
    batch = min(sized.loop.batch_size, int(LONGEST * speed / plain.flop))
    if batch >= 2:
        taken, flop = make().timed(batch)
        yield [*name, str(batch), f"{taken:.2g}", f"{flop / speed:.2g}", f"{taken * speed / flop:.1f}"]


def memory(parameters: int, plain: Counted, again: Counted | None) -> list[str]:
    """Cells of the first table."""
    counted = (plain, again)
    each = [f"{c.each / 1e6:.3g}" if c else "" for c in counted]
    batches = [" / ".join(shown(c.largest(USABLE * gb * 1e9)) for gb in CARDS) if c else "" for c in counted]
    return [f"{parameters / 1e6:.1f}", f"{plain.fixed / 1e9:.2g}", f"{plain.flop / 1e9:.3g}", *each, *batches]


def shown(batch: int) -> str:
    return f"{MANY}+" if batch > MANY else str(batch)


def line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def put(page: Path, number: int, cells: list[str]) -> None:
    """Replace the row of this recipe and size in the page's table of that number, or add it at its end."""
    text = page.read_text(encoding="utf-8")
    table = list(TABLE.finditer(text))[number]
    lines = table[0].splitlines()
    places = [i for i, each in enumerate(lines) if each.startswith(line(cells[:2])[:-1])]
    place = places[0] if places else len(lines)
    lines[place : place + 1] = [line(cells)]
    lines[2:] = sorted(lines[2:], key=_order)
    files.write(page, text[: table.start()] + "\n".join(lines) + "\n" + text[table.end() :])


def _order(row: str) -> tuple[str, int]:
    name, size = row.split(" | ")[:2]
    return name, sizes.SIZES.index(size)


if __name__ == "__main__":
    main(sys.argv[1:])
