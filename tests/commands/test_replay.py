"""`t2i replay`: the same picture again, or what has changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest
from msgspec import Meta
from PIL import Image

from t2icli import images, models
from t2icli.hookspecs import hookimpl
from t2icli.kinds import Entry, Generator
from t2icli.models import Model
from t2icli.testing import Runner


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    model: Annotated[Model, Meta(description="a folder with a file that says how blue")]
    size: Annotated[int, Meta(description="width and height")] = 8


class Blue:
    def __init__(self, settings: Settings) -> None:
        self.blue = int(settings.model.file("blue").read_text())
        self.size = settings.size

    def generate(self, prompt: str, n: int, *, seed: int) -> Iterator[Image.Image]:
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
    t2i.fails("replay", picture, says="it was made by model")
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
    t2i.fails("replay", picture, "--output", "again.png", says="is there already")


def test_versions_and_settings_that_changed_are_listed() -> None:
    from t2icli.pipelines.replay import differences

    then: dict[str, Any] = {"device": "cpu", "versions": {"torch": "2.6"}, "settings": {"top_k": 1}}
    now: dict[str, Any] = {"device": "H200", "versions": {"torch": "2.7"}, "settings": {"top_k": 1, "new": 2}}
    assert differences(then, now) == {
        "device": ("cpu", "H200"),
        "version of torch": ("2.6", "2.7"),
        "setting new": (None, 2),
    }


def test_other_pictures_are_refused_with_the_reason(t2i: Runner) -> None:
    Image.new("RGB", (2, 2)).save("plain.png")
    images.save_png(Image.new("RGB", (2, 2)), Path("half.png"), {"prompt": "x"})
    t2i.fails("replay", "plain.png", says="does not say how it was made")
    t2i.fails("replay", "half.png", says="does not say its seed")
    t2i.fails("replay", "none.png", says="there is no file 'none.png'")
    images.save_png(
        Image.new("RGB", (2, 2)),
        Path("gone.png"),
        {"prompt": "x", "seed": 1, "backend": "gone", "settings": {}, "pixels": "", "model": "gone/1", "plugin": "p 1"},
    )
    t2i.fails("replay", "gone.png", says="no generator called 'gone'")
