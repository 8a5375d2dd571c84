"""`t2i replay`: the same picture again, or what has changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
import torch
from msgspec import Meta
from PIL import Image, PngImagePlugin

from t2icli.contract.entries import Entry
from t2icli.contract.hookspecs import hookimpl
from t2icli.contract.kinds import Generator
from t2icli.pictures import images
from t2icli.pipelines.provenance import Record
from t2icli.pipelines.replay import differences, not_recorded
from t2icli.store import models
from t2icli.store.models import Model
from t2icli.testing import Runner


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    model: Annotated[Model, Meta(description="a folder with a file that says how blue")]
    size: Annotated[int, Meta(description="width and height", ge=1)] = 8
    precision: Annotated[Literal["auto", "fp32", "bf16"], Meta(description="number format")] = "auto"


seen: list[tuple[int, str]] = []
"""Threads and precision of every picture drawn."""


class Blue:
    def __init__(self, settings: Settings) -> None:
        self.blue = int(settings.model.file("blue").read_text())
        self.size = settings.size
        self.precision = "fp32" if settings.precision == "auto" else settings.precision

    def generate(self, prompt: str, n: int, *, seed: int) -> Iterator[Image.Image]:
        seen.append((torch.get_num_threads(), self.precision))
        for i in range(n):
            yield Image.new("RGB", (self.size, self.size), (seed + i, 0, self.blue))


class Plugin:
    @hookimpl
    def t2i_generators(self) -> list[Entry[Generator]]:
        return [Entry("blue", "as blue as its model", Settings, Blue)]


def make_model(folder: Path, blue: int) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "blue").write_text(str(blue))
    models.seal(folder, models.Card(kind="generator", backend="blue"))
    return str(folder)


@pytest.fixture
def picture(t2i: Runner) -> Path:
    t2i.use(Plugin())
    model = make_model(Path("model"), 100)
    t2i.ok("generate", "x", "-n", 3, "--seed", 5, "-m", model, "-o", "size=4", "--output", "out")
    return Path("out/001.png")


def test_the_same_model_makes_the_same_picture(t2i: Runner, picture: Path) -> None:
    assert "agrees in every pixel" in t2i.ok("replay", picture).stdout
    report = t2i.ok("replay", picture, "--json").json()
    assert (report["agrees"], report["edited"], report["differences"]) == (True, False, [])
    assert report["record"]["seed"] == 6


def test_another_model_is_told_by_its_hash(t2i: Runner, picture: Path) -> None:
    make_model(Path("model"), 101)
    report = t2i.fails("replay", picture, "--json", code=1).json()
    assert [change["what"] for change in report["differences"]] == ["model sha256"]
    assert report["changed_pixels"] == 16
    assert "model sha256" in t2i.fails("replay", picture, code=1).stdout


def test_a_model_that_has_moved_can_be_named(t2i: Runner, picture: Path) -> None:
    Path("model").rename("elsewhere")
    t2i.fails("replay", picture, says="the picture was drawn by model")
    done = t2i.ok("replay", picture, "-m", "elsewhere").stdout
    assert "agrees" in done and "elsewhere" in done


def test_an_edited_file_is_told_from_another_result(t2i: Runner, picture: Path) -> None:
    record = images.read_record(picture)
    images.save_png(Image.new("RGB", (4, 4)), picture, record)
    report = t2i.ok("replay", picture, "--json").json()
    assert report["agrees"] and report["edited"]


def test_the_new_picture_can_be_kept_but_replaces_nothing(t2i: Runner, picture: Path) -> None:
    t2i.ok("replay", picture, "--output", "again.png")
    assert Path("again.png").read_bytes() == picture.read_bytes()
    t2i.fails("replay", picture, "--output", "again.png", says="already exists")


def record(**more: Any) -> Record:
    return Record(prompt="x", seed=1, backend="blue", pixels="", **{"settings": {}, **more})


def test_versions_and_settings_that_changed_are_listed() -> None:
    then = record(device="cpu", versions={"torch": "2.6", "timm": "1.0"}, settings={"top_k": 1})
    now: dict[str, Any] = {"device": "H200", "versions": {"torch": "2.7"}, "settings": {"top_k": 1, "new": 2}}
    assert differences(then, now) == {
        "device": ("cpu", "H200"),
        "version of torch": ("2.6", "2.7"),
        "setting new": (None, 2),
    }


def test_the_processor_and_its_instructions_are_compared_and_what_the_file_does_not_say_is_named() -> None:
    then = {"processor": "A", "instruction_set": "AVX2", "threads": 2}
    now: dict[str, Any] = {
        "precision": "fp32",
        "settings": {"precision": "fp32"},
        "machine": {**then, "processor": "B"},
    }
    made = record(machine=then, precision="bf16", settings={"precision": "auto"})
    assert differences(made, now) == {"processor": ("A", "B"), "precision": ("bf16", "fp32")}
    assert not_recorded(made, now) == []
    old = record(settings={"precision": "fp32"})
    assert differences(old, now) == {}
    assert not_recorded(old, now) == ["precision", "processor", "instruction set", "threads"]


def rewrite(picture: Path, **changes: Any) -> dict[str, Any]:
    """Let the picture say something else of itself; None is left out."""
    changed = {key: value for key, value in {**images.read_record(picture), **changes}.items() if value is not None}
    images.save_png(images.open_image(picture), picture, changed)
    return changed


def test_threads_and_precision_are_set_to_what_is_recorded(t2i: Runner, picture: Path) -> None:
    written = images.read_record(picture)
    assert written["precision"] == "fp32"
    before = torch.get_num_threads()
    rewrite(picture, machine={**written["machine"], "threads": before + 1}, precision="bf16")
    seen.clear()
    report = t2i.ok("replay", picture, "--json").json()
    assert seen == [(before + 1, "bf16")]
    assert (torch.get_num_threads(), report["differences"]) == (before, [])


@pytest.mark.parametrize(
    ("table", "key", "value", "says"),
    [
        ("machine", "processor", "another", "made: processor"),
        ("machine", "instruction_set", "AVX512 amx_tile", "made: instruction set"),
        ("versions", "torch", "2.0", "made: version of torch"),
        ("machine", None, None, "the file does not say with which processor"),
        ("pixels", None, "0" * 64, "so this backend is not deterministic"),
    ],
)
def test_pixels_that_differ_have_their_cause_named(
    t2i: Runner, picture: Path, table: str, key: str | None, value: Any, says: str
) -> None:
    before = images.read_record(picture)
    changes = {table: {**before[table], key: value} if key else value}
    rewrite(picture, **{"pixels": "0" * 64, **changes})
    assert says in t2i.fails("replay", picture, code=1).stdout


def test_variables_that_limited_the_instructions_are_given_as_a_command(t2i: Runner, picture: Path) -> None:
    machine = images.read_record(picture)["machine"]
    made_under = f"{machine['instruction_set']} ONEDNN_MAX_CPU_ISA=SSE41 LD_PRELOAD=x.so"
    rewrite(picture, pixels="0" * 64, machine={**machine, "instruction_set": made_under})
    stderr = t2i.fails("replay", picture, code=1).stderr
    assert f"env ONEDNN_MAX_CPU_ISA=SSE41 t2i replay {picture}" in stderr
    assert "LD_PRELOAD" not in stderr


def test_pictures_of_earlier_versions_are_replayed(t2i: Runner, picture: Path) -> None:
    rewrite(picture, machine=None, precision=None, same_as=None)
    assert "agrees in every pixel" in t2i.ok("replay", picture).stdout


@pytest.mark.parametrize(
    "changes",
    [
        {"prompt": 3},
        {"prompt": "a\0b"},
        {"prompt": ""},
        {"seed": "1"},
        {"seed": 1.5},
        {"seed": -1},
        {"seed": True},
        {"seed": 10**30},
        {"backend": ["blue"]},
        {"backend": "a/\0"},
        {"backend": "x/" * 3000},
        {"settings": []},
        {"settings": {"size": {"a": 1}}},
        {"settings": {"model": "a/\0"}},
        {"settings": {"model": {"a": 1}}},
        {"settings": {"model": "x/" * 3000}},
        {"settings": {"size": 10**30}},
        {"pixels": None},
        {"versions": [1]},
        {"versions": {"torch": 2}},
        {"machine": {"threads": 10**9}},
        {"machine": {"threads": 0}},
        {"machine": "x"},
        {"precision": 16},
        {"precision": "fp7"},
        {"like": 3},
        {"like": "a\0"},
        {"like": "x/" * 3000},
        {"source": 3},
        {"mask": "x/" * 3000},
        {"model": 1},
    ],
    ids=lambda changes: str(changes)[:40],
)
def test_a_damaged_record_is_refused_with_the_reason(t2i: Runner, picture: Path, changes: dict[str, Any]) -> None:
    written = {**images.read_record(picture), **changes}
    images.save_png(images.open_image(picture), picture, {k: v for k, v in written.items() if v is not None})
    done = t2i.run("replay", picture)
    assert done.code in (1, 2) and done.stderr.startswith("error: ") and "this is a bug" not in done.stderr


@pytest.mark.parametrize(
    "text",
    ["", "null", "[]", "{", '{"seed": NaN}', "[" * 50_000, '{"a":' * 50_000, f'{{"seed": {"9" * 5000}}}', '"\\ud800"'],
    ids=lambda text: text[:12],
)
def test_what_is_no_record_is_refused(t2i: Runner, text: str) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_itxt(images.CHUNK, text)
    Image.new("RGB", (2, 2)).save("odd.png", pnginfo=info)
    t2i.fails("replay", "odd.png", says="does not say how it was made")


def test_other_pictures_are_refused_with_the_reason(t2i: Runner) -> None:
    Image.new("RGB", (2, 2)).save("plain.png")
    images.save_png(Image.new("RGB", (2, 2)), Path("half.png"), {"prompt": "x"})
    t2i.fails("replay", "plain.png", says="does not say how it was made")
    t2i.fails("replay", "half.png", says="missing required field `seed`")
    t2i.fails("replay", "none.png", says="there is no file 'none.png'")
    images.save_png(
        Image.new("RGB", (2, 2)),
        Path("gone.png"),
        {"prompt": "x", "seed": 1, "backend": "gone", "settings": {}, "pixels": "", "model": "gone/1", "plugin": "p 1"},
    )
    t2i.fails("replay", "gone.png", says="no generator called 'gone'")
