"""`t2i generate` with pictures to go by: --like, --from and --mask, with toys that take all of them or none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from t2icli.pictures import images
from t2icli.testing import Runner, toys

PAINTER = ("-m", "toy-painter", "--seed", 5, "--output", "out")


@pytest.fixture
def painter(t2i: Runner) -> Runner:
    t2i.use(toys)
    Image.new("RGB", (9, 9), (10, 20, 30)).save("photo.png")
    return t2i


def colours(file: str) -> tuple[object, object]:
    """Of the upper left and the lower right corner."""
    image = images.open_image(Path("out", file))
    return image.getpixel((0, 0)), image.getpixel((image.width - 1, image.height - 1))


def test_pictures_go_by_the_picture_and_need_no_words(painter: Runner) -> None:
    rows = painter.ok("generate", "--like", "photo.png", "-n", 2, *PAINTER, "--json").json()["results"]
    assert [colours(row["file"])[0] for row in rows] == [(5, 20, 0), (6, 20, 0)]
    assert {row["prompt"] for row in rows} == {"like photo.png"}


def test_a_picture_to_start_from_is_kept_but_for_what_the_mask_says(painter: Runner) -> None:
    mask = Image.new("L", (2, 2))
    mask.putpixel((0, 0), 255)
    mask.save("mask.png")
    painter.ok("generate", "x", "--from", "photo.png", "-n", 1, *PAINTER)
    above, below = colours("000.png")
    assert above == (10, 20, 30) and below != above
    row = painter.ok("generate", "x", "--from", "photo.png", "--mask", "mask.png", "-n", 1, *PAINTER, "--json").json()
    assert colours("001.png") == (below, above)
    known = {"source": "photo.png", "mask": "mask.png"}
    for record in (row["results"][0], images.read_record(Path("out/001.png"))):
        assert {name: Path(record[name]).name for name in known} == known
        assert record["mask_pixels"] == images.pixels_sha256(images.open_image(Path("mask.png")))


def test_a_generator_without_a_condition_names_those_that_take_it(painter: Runner) -> None:
    failed = painter.fails("generate", "--like", "photo.png", "-m", "toy", says="'toy' cannot draw with --like")
    assert "generators that take --like, to choose with -m: toy-painter" in failed.stderr


def test_prompts_are_drawn_in_one_call_and_filed_each_by_itself(painter: Runner) -> None:
    prompts = ("red", "blue", "red", "green")
    rows = painter.ok("generate", *prompts, "-n", 2, *PAINTER, "--json").json()["results"]
    assert [(row["prompt"], row["seed"], row["rank"]) for row in rows] == [
        (prompt, seed, rank) for prompt in prompts for seed, rank in ((5, 1), (6, 2))
    ]
    for row in rows:
        painter.ok("replay", f"out/{row['file']}")


@pytest.mark.parametrize("flag", ["--like", "--from", "--mask"])
def test_it_can_be_replayed_until_the_picture_changes(painter: Runner, flag: str) -> None:
    Image.new("RGB", (9, 9), (70, 80, 90)).save("base.png")
    more = ("--from", "base.png") if flag == "--mask" else ()
    painter.ok("generate", "x", flag, "photo.png", *more, "-n", 1, *PAINTER)
    painter.ok("replay", "out/000.png")
    Image.new("RGB", (9, 9), (11, 20, 30)).save("photo.png")
    painter.fails("replay", "out/000.png", code=1, says=f"has changed since it was given as {flag}")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--like", "photo.png", "-m", "toy"), "'toy' cannot draw with --like"),
        (("x", "--from", "photo.png", "-m", "toy"), "'toy' takes only a prompt"),
        (("x", "--mask", "photo.png", "-m", "toy-painter"), "--mask needs a picture to change"),
        (("--from", "photo.png", "-m", "toy-painter"), "there is no prompt"),
        (("--like", "photo.png", "-m", "toy-painter", "--rerank", "colours"), "--rerank needs a prompt"),
    ],
)
def test_what_a_generator_cannot_draw_is_refused_before_anything_is_drawn(
    painter: Runner, words: tuple[str, ...], says: str
) -> None:
    painter.fails("generate", *words, "--output", "out", says=says)
    assert not Path("out").exists()


def test_a_picture_that_is_none_is_named_with_the_reason(painter: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(says: str) -> None:
        painter.fails("generate", "--like", "photo.png", "-m", "toy-painter", "--output", "out", says=says)

    painter.fails("generate", "--like", "nothing.png", "-m", "toy-painter", says="there is no file 'nothing.png'")
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
    painter.fails("generate", "--like", name, "-m", "toy-painter", "--output", "out", says="is not valid UTF-8")
    assert not Path("out").exists()
