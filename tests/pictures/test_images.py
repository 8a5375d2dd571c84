from __future__ import annotations

import errno
import io
import os
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from t2icli.ground.errors import T2IError
from t2icli.pictures import images


def pixel(path: Path) -> tuple[int, ...]:
    image = images.open_image(path)
    assert image.mode == "RGB"
    return image.getpixel((0, 0))  # type: ignore[return-value]


def saved(tmp_path: Path, image: Image.Image, name: str, **how: Any) -> Path:
    path = tmp_path / name
    image.save(path, **how)
    return path


def test_the_rotation_of_a_camera_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn it clockwise
    path = saved(tmp_path, Image.new("RGB", (4, 2)), "a.jpg", exif=exif)
    assert images.open_image(path).size == (2, 4)


def test_transparency_lies_on_white(tmp_path: Path) -> None:
    assert pixel(saved(tmp_path, Image.new("RGBA", (2, 2), (255, 0, 0, 0)), "a.png")) == (255, 255, 255)
    assert pixel(saved(tmp_path, Image.new("LA", (2, 2), (0, 0)), "b.png")) == (255, 255, 255)
    palette = Image.new("P", (2, 2), 0)
    palette.putpalette([9, 9, 9, 0, 255, 0])
    assert pixel(saved(tmp_path, palette, "c.png", transparency=0)) == (255, 255, 255)
    assert pixel(saved(tmp_path, palette, "d.png")) == (9, 9, 9)


def test_sixteen_bits_keep_the_upper_eight(tmp_path: Path) -> None:
    deep = Image.fromarray(np.full((2, 2), 0x80FF, dtype=np.uint16))
    assert pixel(saved(tmp_path, deep, "a.png")) == (128, 128, 128)


def test_floating_point_greys_run_from_0_to_1_or_to_255(tmp_path: Path) -> None:
    assert pixel(saved(tmp_path, Image.fromarray(np.full((2, 2), 0.5, np.float32)), "a.tiff")) == (128, 128, 128)
    assert pixel(saved(tmp_path, Image.fromarray(np.full((2, 2), 200, np.float32)), "b.tiff")) == (200, 200, 200)


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    red, green, blue = pixel(saved(tmp_path, Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "a.jpg", quality=100))
    assert red > 240 and green < 15 and blue < 15


def test_the_first_frame_of_an_animation_counts(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (2, 2), colour) for colour in ("red", "blue")]
    path = saved(tmp_path, frames[0], "a.gif", save_all=True, append_images=frames[1:])
    assert pixel(path) == (255, 0, 0)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"\n <!DOCTYPE html><title>404</title>", "is a web page"),
        (b"\xef\xbb\xbf<svg/>", "drawing in XML"),
        (b"no image at all", "not an image of a known format"),
    ],
)
def test_what_is_no_image_is_refused_with_the_reason(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(T2IError, match=reason):
        images.open_image(path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "webp"])
def test_a_file_cut_short_is_refused(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = saved(tmp_path, Image.fromarray(noise), f"a.{suffix}")
    path.write_bytes(path.read_bytes()[:-600])
    with pytest.raises(T2IError, match=r"damaged|not an image"):
        images.open_image(path)


def test_too_many_pixels_are_refused_without_a_warning_and_before_they_are_decoded(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    for side in (10_000, 100_000):  # above Pillow's warning, above Pillow's error
        path.write_bytes(png_header(side, side))
        with pytest.raises(T2IError, match=r"too large: .* pixels"):
            images.open_image(path)


def png_header(width: int, height: int) -> bytes:
    """A PNG without its pixels: whoever decodes it calls it damaged."""
    import struct
    import zlib

    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))


def test_nonsense_in_the_cameras_notes_is_no_reason_to_refuse(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.new("RGB", (3, 2)), "a.jpg", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff")
    assert images.open_image(path).size == (3, 2)


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "no.png", "there is no file"), (tmp_path, "is not a file")):
        with pytest.raises(T2IError, match=reason):
            images.open_image(path)


def test_a_png_remembers_its_record(tmp_path: Path) -> None:
    record = {"prompt": "红烧牛肉面 🍜", "seed": 7, "scores": {"clip": 0.25}}
    path = tmp_path / "a.png"
    images.save_png(Image.new("RGB", (2, 2)), path, record)
    assert images.read_record(path) == record
    with Image.open(path) as image:
        assert image.text["Description"] == "红烧牛肉面 🍜"  # type: ignore[attr-defined]


def test_a_png_has_every_pixel_in_about_as_few_bytes_as_slower_ways_to_compress(tmp_path: Path) -> None:
    slope = Image.linear_gradient("L").resize((96, 96))
    picture = Image.merge("RGB", [slope, slope.rotate(90), Image.effect_noise((96, 96), 20)])
    written = images.png(picture)
    slower = io.BytesIO()
    picture.save(slower, format="PNG", compress_level=9)
    assert len(written) < 1.1 * len(slower.getvalue())
    with Image.open(io.BytesIO(written)) as image:
        assert image.tobytes() == picture.tobytes()


def test_a_picture_without_a_record_is_said_to_have_none(tmp_path: Path) -> None:
    with pytest.raises(T2IError, match="does not say how it was made"):
        images.read_record(saved(tmp_path, Image.new("RGB", (2, 2)), "a.jpg"))


def test_a_full_disk_leaves_nothing_under_the_final_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, content: bytes) -> int:
        with self.open("wb") as stream:
            stream.write(content[:11])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(T2IError, match=r"cannot write '.*a.png': No space left"):
        images.save_png(Image.new("RGB", (2, 2)), tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_a_grid_holds_every_picture(tmp_path: Path) -> None:
    colours = ["red", "blue", "lime"]
    paths = [saved(tmp_path, Image.new("RGB", (4, 4), colour), f"{colour}.png") for colour in colours]
    sheet = images.grid(paths, cell=10)
    assert sheet.size == (20, 20)
    assert [sheet.getpixel(at) for at in ((5, 5), (15, 5), (5, 15), (15, 15))] == [
        (255, 0, 0),
        (0, 0, 255),
        (0, 255, 0),
        (255, 255, 255),
    ]
    assert images.grid(paths * 40, cell=256, side=110).size == (110, 110)


def test_the_hash_of_pixels_tells_shapes_apart() -> None:
    wide, high = Image.new("RGB", (4, 2)), Image.new("RGB", (2, 4))
    assert images.pixels_sha256(wide) != images.pixels_sha256(high)
    assert images.pixels_sha256(wide) == images.pixels_sha256(wide.convert("RGBA"))


@pytest.mark.parametrize("size", [(1, 100_000), (100_000, 1), (1, 2_000_000), (3, 301)])
def test_long_strips_are_refused_before_they_are_decoded(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png_header(*size))
    with pytest.raises(T2IError, match=rf"too long: {size[0]} x {size[1]} pixels"):
        images.open_image(path)


def test_a_strip_of_one_to_a_hundred_is_opened(tmp_path: Path) -> None:
    assert images.open_image(saved(tmp_path, Image.new("RGB", (2, 200)), "a.png")).size == (2, 200)


@pytest.mark.parametrize("form", ["EPS", "ICNS", "PDF", "PCX", "TGA", "SGI"])
def test_other_formats_are_not_opened_whatever_a_file_is_called(tmp_path: Path, form: str) -> None:
    Image.new("RGB", (16, 16)).save(tmp_path / "a", form)
    (tmp_path / "a").rename(tmp_path / "a.png")
    with pytest.raises(T2IError, match="not an image of a known format"):
        images.open_image(tmp_path / "a.png")


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF"])
def test_the_usual_formats_are_opened_whatever_a_file_is_called(tmp_path: Path, form: str) -> None:
    Image.new("RGB", (16, 16)).save(tmp_path / "a", form)
    assert images.open_image(tmp_path / "a").size == (16, 16)


@pytest.mark.timeout(20)
def test_pipes_sockets_and_huge_files_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket.png"))
        for name in ("pipe.png", "socket.png"):
            with pytest.raises(T2IError, match="is not a file"):
                images.open_image(tmp_path / name)
    with (tmp_path / "huge.png").open("wb") as stream:
        stream.truncate(images.MAX_BYTES + 1)  # holes take no room
    with pytest.raises(T2IError, match=r"too large: .* bytes"):
        images.open_image(tmp_path / "huge.png")


def test_nobody_else_opens_pictures() -> None:
    """Bounds and formats are looked at in one place; what the project draws and ships itself names its format."""
    root = Path(images.__file__).parents[2]
    opening = [
        f"{path.name}: {line.strip()}"
        for path in [*root.glob("src/**/*.py"), *root.glob("plugins/*/src/**/*.py")]
        if path.name not in ("images.py", "recipe_test.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if "Image.open(" in line and "formats=" not in line
    ]
    assert opening == []
