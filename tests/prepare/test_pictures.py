from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from t2icli.prepare.outcome import Refused
from t2icli.prepare.pictures import StoredPicture, finish, look_of
from t2icli.prepare.settings import Rules


def saved(image: Image.Image, form: str = "PNG", **more: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **more)
    return stream.getvalue()


def plain(size: tuple[int, int] = (40, 30), mode: str = "RGB", colour: Any = None) -> Image.Image:
    return Image.new(mode, size, colour if colour is not None else 0)


def fate(content: bytes, **rules: Any) -> str:
    try:
        return finish(content, Rules(**rules)).format
    except Refused as refused:
        return f"{refused.status} {refused.reason}"


def pixel(picture: StoredPicture) -> Any:
    image = Image.open(io.BytesIO(picture.content))
    assert image.mode == "RGB" and image.size == (picture.width, picture.height)
    return image.getpixel((0, 0))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_a_good_file_is_kept_byte_for_byte(form: str) -> None:
    content = saved(plain(), form)
    assert finish(content, Rules()).content == content


def bomb(width: int, height: int) -> bytes:
    """A PNG of so many pixels in some bytes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(999))) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [9_000, 10_000, 50_000])
def test_too_many_pixels_are_refused_before_they_are_decoded(side: int) -> None:
    assert fate(bomb(side, side)) == "dropped too-many-pixels"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "failed empty"),
        (b"hello", "failed not-an-image"),
        (b" <!DOCTYPE html><html></html>", "failed html"),
        (saved(Image.effect_noise((90, 90), 50), "JPEG")[:900], "failed truncated"),
        (saved(Image.effect_noise((90, 90), 50))[:900], "failed truncated"),
        (saved(plain())[:30], "failed not-an-image"),
        (b"GIF89a" + bytes(3), "failed not-an-image"),
    ],
)
def test_what_is_no_whole_image_is_refused_with_the_reason(content: bytes, reason: str) -> None:
    assert fate(content) == reason


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: saved(plain(mode="CMYK", colour=(0, 255, 255, 0)), "JPEG"), (254, 0, 0)),
        (lambda: saved(plain(mode="RGBA", colour=(255, 0, 0, 0))), (255, 255, 255)),
        (lambda: saved(plain(mode="LA", colour=(0, 0))), (255, 255, 255)),
        (lambda: saved(plain(mode="P", colour=0), transparency=0), (255, 255, 255)),
        (lambda: saved(plain(mode="I;16", colour=65535)), (255, 255, 255)),
        (lambda: saved(plain(mode="I;16", colour=256)), (1, 1, 1)),
        (lambda: saved(plain(mode="1", colour=1)), (255, 255, 255)),
    ],
    ids=["cmyk", "rgba", "la", "palette", "16 bit white", "16 bit dark", "1 bit"],
)
def test_every_mode_becomes_rgb_the_same_way(make: Callable[[], bytes], expected: tuple[int, int, int]) -> None:
    assert pixel(finish(make(), Rules())) == expected


def test_what_hides_behind_transparency_can_be_shown() -> None:
    content = saved(plain(mode="RGBA", colour=(255, 0, 0, 0)))
    assert pixel(finish(content, Rules(transparent="drop"))) == (255, 0, 0)


def test_of_an_animation_the_first_frame_is_kept() -> None:
    frames = [plain(colour=(200, 0, 0)), plain(colour=(0, 200, 0))]
    content = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert pixel(finish(content, Rules())) == (200, 0, 0)


def test_photos_are_turned_as_their_exif_says() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = saved(plain((40, 30)), "JPEG", exif=exif)
    assert (lambda p: (p.width, p.height))(finish(content, Rules())) == (30, 40)
    assert finish(content, Rules(upright=False)).content == content


@pytest.mark.parametrize(("size", "expected"), [((400, 100), (200, 50)), ((100, 400), (50, 200)), ((90, 80), (90, 80))])
def test_images_shrink_and_never_grow(size: tuple[int, int], expected: tuple[int, int]) -> None:
    picture = finish(saved(plain(size), "JPEG"), Rules(max_side=200))
    assert (picture.width, picture.height) == expected == Image.open(io.BytesIO(picture.content)).size


@pytest.mark.parametrize(
    ("size", "rules", "expected"),
    [
        ((300, 100), {"max_aspect": 3}, "png"),
        ((301, 100), {"max_aspect": 3}, "dropped aspect-ratio"),
        ((100, 301), {"max_aspect": 3}, "dropped aspect-ratio"),
        ((50, 49), {"min_side": 50}, "dropped too-small"),
        ((50, 50), {"min_side": 50}, "png"),
        ((40, 20), {"min_area": 801}, "dropped too-small"),
        ((31, 90), {"min_area": 1001}, "png"),
        ((31, 90), {"min_area": 1001, "area": "width-width"}, "dropped too-small"),
        ((2000, 660), {"max_aspect": 3, "max_side": 512}, "dropped aspect-ratio"),
        ((2000, 667), {"max_aspect": 3, "max_side": 512, "measure": "stored"}, "png"),
        ((2000, 660), {"max_aspect": 3, "max_side": 512, "measure": "stored"}, "dropped aspect-ratio"),
    ],
)
def test_sizes_and_shapes_are_judged(size: tuple[int, int], rules: dict[str, Any], expected: str) -> None:
    assert fate(saved(plain(size)), **rules) == expected


def test_the_format_can_be_chosen() -> None:
    assert fate(saved(plain(), "PNG"), store="jpg") == "jpg"
    assert fate(saved(plain(), "JPEG"), store="png") == "png"


def test_images_that_look_alike_have_nearly_the_same_look() -> None:
    image = Image.radial_gradient("L").resize((200, 160))
    smaller = Image.open(io.BytesIO(saved(image.resize((90, 70)), "JPEG", quality=60)))
    other = Image.linear_gradient("L").resize((200, 160)).rotate(90)
    assert (look_of(image) ^ look_of(smaller)).bit_count() <= 2
    assert (look_of(image) ^ look_of(other)).bit_count() > 10


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_damage_of_any_kind_ends_in_a_picture_or_a_reason(form: str) -> None:
    import random

    chance = random.Random(form)
    whole = saved(Image.effect_noise((24, 20), 60).convert("RGB"), form)
    for _ in range(60):
        content = bytearray(whole)
        for _ in range(chance.randint(1, 8)):
            content[chance.randrange(min(len(content), 400))] = chance.randrange(256)
        found = fate(bytes(content[: chance.randint(1, len(content))] if chance.random() < 0.3 else content))
        assert re.fullmatch(r"jpg|png|webp|(failed|dropped) [a-z-]+", found)


def test_formats_that_start_programs_are_not_opened() -> None:
    assert fate(saved(plain(), "EPS")) == "failed not-an-image"
