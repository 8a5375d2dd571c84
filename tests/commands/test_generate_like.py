"""`t2i generate --like`, with a generator that draws the picture's own colour."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from PIL import Image

from t2icli.contract.hookspecs import hookimpl
from t2icli.contract.kinds import Entry, Generator
from t2icli.pictures import images
from t2icli.testing import Runner


class Settings(msgspec.Struct, frozen=True):
    pass


class Words:
    def __init__(self, settings: Settings) -> None:
        pass

    def generate(self, prompt: str, n: int, *, seed: int) -> Iterator[Image.Image]:
        yield from (Image.new("RGB", (4, 4), (0, 0, 0)) for _ in range(n))


class Painter(Words):
    def generate_like(self, image: Image.Image, n: int, *, seed: int) -> Iterator[Image.Image]:
        red, green, _ = image.getpixel((0, 0))
        yield from (Image.new("RGB", (4, 4), (red, green, (seed + i) % 256)) for i in range(n))


class Plugin:
    @hookimpl
    def t2i_generators(self) -> list[Entry[Generator]]:
        return [Entry("painter", "paints", Settings, Painter), Entry("words", "reads", Settings, Words)]


@pytest.fixture
def painter(t2i: Runner) -> Runner:
    t2i.use(Plugin())
    Image.new("RGB", (9, 9), (10, 20, 30)).save("photo.png")
    return t2i


def test_pictures_go_by_the_picture_and_need_no_words(painter: Runner) -> None:
    words = ("generate", "--like", "photo.png", "-m", "painter", "-n", 2, "--seed", 5, "--output", "out", "--json")
    rows = painter.ok(*words).json()["results"]
    assert [Image.open(f"out/{row['file']}").getpixel((0, 0)) for row in rows] == [(10, 20, 5), (10, 20, 6)]
    assert {row["prompt"] for row in rows} == {"like photo.png"}


def test_it_can_be_replayed_until_the_picture_changes(painter: Runner) -> None:
    painter.ok("generate", "--like", "photo.png", "-m", "painter", "-n", 1, "--seed", 5, "--output", "out")
    painter.ok("replay", "out/000.png")
    Image.new("RGB", (9, 9), (11, 20, 30)).save("photo.png")
    painter.fails("replay", "out/000.png", code=1, says="has changed since pictures were drawn like it")


def test_a_generator_that_goes_by_words_alone_is_refused(painter: Runner) -> None:
    painter.fails("generate", "--like", "photo.png", "-m", "words", says="'words' goes by words alone")


def test_judges_need_words(painter: Runner) -> None:
    painter.fails("generate", "--like", "photo.png", "-m", "painter", "--rerank", "colours", says="needs a prompt")


def test_a_picture_that_is_none_is_named_with_the_reason(painter: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(says: str) -> None:
        painter.fails("generate", "--like", "photo.png", "-m", "painter", "--output", "out", says=says)

    painter.fails("generate", "--like", "nothing.png", "-m", "painter", says="there is no file 'nothing.png'")
    photo = Path("photo.png")
    Image.effect_noise((64, 64), 50).save(photo)
    whole = photo.read_bytes()
    photo.write_bytes(whole[: len(whole) // 2])
    refused("'photo.png' is damaged")
    photo.write_bytes(b"")
    refused("'photo.png' is empty")
    photo.write_text("<html>")
    refused("'photo.png' is a web page")
    photo.write_bytes(whole)
    monkeypatch.setattr(images, "MAX_PIXELS", 80)
    refused("'photo.png' is too large")
    assert not Path("out").exists()


def test_a_path_that_is_no_text_is_refused_before_anything_is_drawn(painter: Runner) -> None:
    name = os.fsdecode(b"photo\xff.png")
    try:
        Path("photo.png").rename(name)
    except OSError:
        pytest.skip("this file system knows no such names")
    painter.fails("generate", "--like", name, "-m", "painter", "--output", "out", says="is not valid UTF-8")
    assert not Path("out").exists()
