"""Every recipe trains as typed: a size by machine, a batch that fits, vocabularies learnt on the way."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest
import torch
from conftest import picture
from msgspec import Meta
from PIL import Image
from tiny import Tiny
from torch import Tensor, nn
from torch.utils.data import Dataset

from t2icli.contract.entries import Entry
from t2icli.contract.fields import Part, Start, first_weights, part
from t2icli.contract.hookspecs import hookimpl
from t2icli.contract.kinds import Codec, Tokenizer
from t2icli.contract.recipes import Frozen, ParamGroup, Samples, Turn
from t2icli.data import shards
from t2icli.data.dataset import PreparedDataset, SourceRow
from t2icli.ground import machine, memory, toml
from t2icli.nn import weights
from t2icli.pipelines import sizes
from t2icli.registry import discovery, parts
from t2icli.store import models
from t2icli.store.models import Card, Model
from t2icli.testing import Runner
from t2icli.training import batch
from t2icli.training.devices import World
from t2icli.training.settings import LoopSettings

LOOP = LoopSettings(epochs=1, batch_size=4, lr=1e-2, preview_every=0)
MIB = 1 << 20


class CodecSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    model: Annotated[models.Model | None, Meta(description="a model")] = None


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    width: Annotated[int, Meta(description="hidden size")] = 64
    begin_at: Annotated[Start, Meta(description="a model to go on from")] = None
    words: Annotated[Part[Tokenizer], Meta(description="what reads the captions")] = part("tokenizer", "chinese")
    pretrained: Annotated[str | None, Meta(description="weights", extra=first_weights("words"))] = None
    loop: Annotated[LoopSettings, Meta(description="the loop")] = LOOP


class Ids(Dataset[Tensor]):
    def __init__(self, data: PreparedDataset, tokenizer: Tokenizer) -> None:
        self.data, self.tokenizer = data, tokenizer

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, i: int) -> Tensor:
        return self.tokenizer.encode([self.data.captions(i)[0]], 12)[0].float()


class Reads:
    """Learns from words alone; `pretrained` stands in for all words."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.model = nn.Sequential(nn.Linear(12, settings.width), nn.Linear(settings.width, 1))

    def frozen(self) -> Sequence[Frozen]:
        return ()

    def dataset(self, data: PreparedDataset, split: str, encoded: Mapping[str, Tensor]) -> Samples[Any]:
        return Ids(data, self.settings.words.load())

    def turns(self) -> Sequence[Turn]:
        return [Turn("reads", [ParamGroup(list(self.model.parameters()))], self.loss)]

    def loss(self, ids: Tensor, step: int) -> tuple[Tensor, dict[str, Any]]:
        return self.model(ids / 100).square().mean(), {}

    def preview(self, batch: Any, *, seed: int) -> Sequence[Image.Image]:
        return ()

    def save(self, folder: Path) -> None:
        weights.save(self.model, folder)
        told = parts.keep(self.settings.words, folder, "words")
        models.seal(folder, models.Card(kind="generator", backend="reads", settings=told))


SIZES = {"tiny": {"width": 4, "loop": {"max_steps": 2}}, "small": {"width": 8}}


class Plugin:
    __name__ = "reads"

    @hookimpl
    def t2i_recipes(self) -> list[Entry[Any]]:
        return [Entry("reads", "a recipe for tests", Settings, Reads, sizes=SIZES)]

    @hookimpl
    def t2i_codecs(self) -> list[Entry[Codec]]:
        return [Entry("codes", "needs a model", CodecSettings, lambda settings: None)]  # type: ignore[arg-type,return-value]


@pytest.fixture
def reads(t2i: Runner, monkeypatch: pytest.MonkeyPatch) -> Runner:
    t2i.use(Plugin())
    monkeypatch.setattr(machine, "cores", lambda: 2)
    return t2i


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures with captions, as a user has them."""
    place = tmp_path / "pictures"
    place.mkdir()
    for i in range(8):
        (place / f"{i}.png").write_bytes(picture(i))
        (place / f"{i}.txt").write_text("一只红色的圆形猫\na red cat\n", encoding="utf-8")
    return place


def width(run: str = "runs/reads") -> int:
    return int(toml.read(Path(run) / "settings.toml")["option"]["width"])


def test_the_machine_decides_on_the_size(reads: Runner, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = reads.ok("train", "reads", "--train-data", folder).stderr
    written = toml.read(Path("runs/reads/settings.toml"))
    assert written["size"] == "tiny" and width() == 4 and written["option"]["loop"]["max_steps"] == 2
    assert "reads, tiny: 0.0 million parameters, 4 samples a step" in said
    monkeypatch.setattr(machine, "cores", lambda: 16)
    reads.ok("train", "reads", "--train-data", folder, "--output", "many")
    assert width("many") == 8


def test_original_is_one_flag_away_and_what_is_said_wins_over_the_size(reads: Runner, folder: Path) -> None:
    reads.ok("train", "reads", "--train-data", folder, "--size", "original", "--output", "x")
    assert width("x") == 64
    reads.ok("train", "reads", "--train-data", folder, "--size", "small", "-o", "width=5", "--output", "y")
    assert width("y") == 5


def test_epochs_win_over_the_steps_of_a_size(reads: Runner, folder: Path) -> None:
    reads.ok("train", "reads", "--train-data", folder, "--epochs", 1, "--batch-size", 2, "--output", "x")
    assert toml.read(Path("x/settings.toml"))["option"]["loop"].get("max_steps") is None
    reads.ok("train", "--config", "x/settings.toml", "--output", "y")
    assert Path("x/settings.toml").read_text() == Path("y/settings.toml").read_text()


def test_weights_that_are_gone_on_from_have_their_own_size(reads: Runner, folder: Path) -> None:
    entry = discovery.find("recipe", "reads")
    for option in ({"begin_at": "x"}, {"pretrained": "x"}):
        assert sizes.pick(entry, "auto", option, "cpu") == "original"
        assert sizes.under(entry, "tiny", option) == {"loop": {"max_steps": 2}, **option}


def test_a_size_that_is_not_there_is_an_error(reads: Runner, folder: Path) -> None:
    reads.fails("train", "reads", "--train-data", folder, "--size", "base", says="it has: tiny, small, original")
    reads.fails("train", "reads", "--train-data", folder, "--size", "tyni", says="did you mean 'tiny'?")
    reads.fails("train", "tiny", "--train-data", folder, "--size", "tiny", says="no recipe called 'tiny'")


def test_a_recipe_of_one_size_says_so(tiny_t2i: Runner, data: Path) -> None:
    tiny_t2i.fails("train", "tiny", "--train-data", data, "--size", "small", says="has one size only")
    tiny_t2i.ok("train", "tiny", "--train-data", data, "--size", "original", "--max-steps", "1")
    assert "size" not in toml.read(Path("runs/tiny/settings.toml"))


def test_a_run_that_goes_on_keeps_its_size(reads: Runner, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads.ok("train", "reads", "--train-data", folder, "--max-steps", "1")
    monkeypatch.setattr(machine, "cores", lambda: 16)
    reads.ok("train", "--resume", "--output", "runs/reads", "--max-steps", "2")
    assert width() == 4
    reads.fails("train", "--resume", "--output", "runs/reads", "--size", "small", says="is of size 'tiny'")


def test_a_vocabulary_is_learnt_from_the_captions_and_ends_in_the_model(reads: Runner, folder: Path) -> None:
    said = reads.ok("train", "reads", "--train-data", folder).stderr
    assert said.count("learnt from the captions") == 1
    kept = models.open_model(Path("runs/reads/model")).part("words")
    assert kept.card.backend == "json"
    assert toml.read(Path("runs/reads/settings.toml"))["option"]["words"]["name"] == "json"


def test_a_tokenizer_that_was_named_is_not_replaced(reads: Runner, folder: Path) -> None:
    reads.fails("train", "reads", "--train-data", folder, "-o", "words=chinese", says="'chinese' has no vocabulary")
    reads.ok("train", "reads", "--train-data", folder, "-o", "words=clip")
    assert "words" not in models.open_model(Path("runs/reads/model")).card.parts


def test_nothing_is_learnt_where_another_setting_takes_its_place(reads: Runner, folder: Path) -> None:
    from t2icli.pipelines import made

    entry = discovery.find("recipe", "reads")
    assert made.filled(entry, {}, lambda line: None) == {"words": {"name": "json"}}
    assert made.filled(entry, {"pretrained": "x"}, lambda line: None) == {"pretrained": "x"}


def test_a_dry_run_learns_one_for_itself_and_writes_nothing(reads: Runner, folder: Path) -> None:
    said = reads.ok("train", "reads", "--train-data", folder, "--dry-run").stdout
    assert "2 of at most 4 samples" in said and "tiny" in said
    assert not Path("runs").exists()


def test_it_ends_with_what_to_type_next(reads: Runner, folder: Path) -> None:
    done = reads.ok("train", "reads", "--train-data", folder)
    assert done.stdout == "runs/reads/model\n"
    assert done.stderr.splitlines()[-1] == "next: t2i generate '一只红色的圆形猫' -m runs/reads"
    assert models.find("runs/reads").card.backend == "reads"


def test_a_batch_is_never_more_than_the_data(tiny_t2i: Runner, tmp_path: Path) -> None:
    rows = [SourceRow(f"p{i}", picture(i), (), {"split": "train"}) for i in range(3)]
    few = shards.write(tmp_path / "few", rows).folder
    said = tiny_t2i.ok("train", "tiny", "--train-data", few, "--max-steps", "2", "--output", "x").stderr
    assert "batch size: 3 instead of 4, limited by the data" in said
    assert toml.read(Path("x/settings.toml"))["option"]["loop"]["batch_size"] == 3
    tiny_t2i.ok("train", "tiny", "--train-data", few, "--output", "y", "--batch-size", "3", "--max-steps", "2")
    assert Path("x/model", models.WEIGHTS).read_bytes() == Path("y/model", models.WEIGHTS).read_bytes()
    tiny_t2i.fails("train", "tiny", "--train-data", few, "--output", "z", "--batch-size", "4", says="fewer than one")


def test_looking_for_a_batch_moves_no_weight(tiny_t2i: Runner, data: Path) -> None:
    for name, size in (("found", "auto"), ("given", "4")):
        tiny_t2i.ok("train", "tiny", "--train-data", data, "--batch-size", size, "--output", name)
    assert Path("found/model", models.WEIGHTS).read_bytes() == Path("given/model", models.WEIGHTS).read_bytes()
    assert "batch_size" not in toml.read(Path("found/settings.toml"))


class Wide(Tiny):
    """Keeps 8 MiB for each sample until the backward pass, and notes what it was asked for."""

    most = 1 << 30
    """Samples that there is memory for."""

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self.asked: list[int] = []

    def turns(self) -> Sequence[Turn]:
        return [Turn("wide", [ParamGroup([self.model.blocks[0].weight])], self.wide)]

    def wide(self, x: Tensor, step: int) -> tuple[Tensor, dict[str, Any]]:
        self.asked.append(len(x))
        if len(x) > self.most:
            raise MemoryError
        grown = self.model.blocks[0].weight.sum() * torch.ones(len(x), 2 * MIB)
        return grown.exp().mean(), {}


@pytest.fixture
def wide() -> Wide:
    from tiny import Settings as TinySettings

    return Wide(TinySettings(frozen=False))


def fitting(recipe: Wide, free: int, n: int = 64, wish: int = 64) -> batch.Fitting:
    samples: Any = [torch.zeros(12) for _ in range(n)]
    settings = LoopSettings(batch_size=wish)
    return batch.fitting(recipe, samples, settings, World(torch.device("cpu")), lambda: free)


@pytest.mark.skipif(memory.in_use() is None, reason="the system does not tell")
def test_a_batch_that_memory_has_no_room_for_is_never_tried(wide: Wide) -> None:
    found = fitting(wide, 700 * MIB)
    assert found.bound == "the memory" and 4 <= found.batch <= 32
    assert max(wide.asked) <= 32


@pytest.mark.skipif(memory.in_use() is None, reason="the system does not tell")
def test_where_there_is_plenty_two_small_steps_are_all(wide: Wide) -> None:
    found = fitting(wide, 1 << 50)
    assert (found.batch, found.bound) == (64, "the recipe")
    assert wide.asked == [2, 4]


def test_a_step_that_fails_for_memory_is_halved(wide: Wide, monkeypatch: pytest.MonkeyPatch) -> None:
    wide.most = 16
    monkeypatch.setattr(batch, "DOUBT", 0.0)
    found = fitting(wide, 1 << 40)
    assert (found.batch, found.bound) == (16, "the memory")


def test_processes_and_pieces_get_equal_shares_of_a_batch_cut_to_the_data(wide: Wide) -> None:
    samples: Any = [torch.zeros(12) for _ in range(7)]
    several = World(torch.device("cpu"), 0, 2)
    assert batch.fitting(wide, samples, LoopSettings(batch_size=8, grad_accum=1), several).batch == 6


def every_size() -> Iterator[Any]:
    for name, offer in discovery.installed().offers["recipe"].items():
        for size in offer.entry.sizes:
            yield pytest.param(offer.entry, size, id=f"{name}-{size}")


@pytest.mark.parametrize(("entry", "size"), list(every_size()))
def test_every_size_is_made_of_settings_that_are_there(entry: Entry[Any], size: str) -> None:
    from t2icli.registry import settings

    without_parts = {name: value for name, value in entry.sizes[size].items() if not _is_part(entry, name)}
    base = Model(Path("base"), Card(kind="generator", backend="any", about=""), "any")
    needed = {field.name: base for field in msgspec.structs.fields(entry.settings) if field.required}
    with warnings.catch_warnings():
        made = settings.convert(entry.settings, {**needed, **without_parts}, entry.name)
    assert not _would_be_none(settings.tables(entry.settings(**needed)), entry.sizes[size])
    assert made.loop.max_steps is not None or size == "base"


def _is_part(entry: Entry[Any], name: str) -> bool:
    return any(f.name == name and isinstance(f.default, Part) for f in msgspec.structs.fields(entry.settings))


def _would_be_none(defaults: Mapping[str, Any], chosen: Mapping[str, Any], within: str = "") -> list[str]:
    """Settings of a size that none could not be said of in a settings.toml, for it has no word for none."""
    found = []
    for name, value in chosen.items():
        if isinstance(value, Mapping):
            found += _would_be_none(defaults[name], value, f"{within}{name}.")
        elif defaults.get(name) is None and f"{within}{name}" != "loop.max_steps":
            found.append(within + name)
    return found
