"""Pictures in and out of files.

Whatever a file holds becomes plain 8-bit RGB, by these rules: the camera's rotation is applied; of an animation the
first frame counts; transparency lies on white; 16-bit greys keep their upper 8 bits; floating-point greys run from 0
to 1 (or to 255 if any is above 1); everything else is Pillow's conversion. A file is refused, with the reason, when it
is no image, is cut short, has more than `MAX_PIXELS` pixels or is more than `MAX_ASPECT` times as long as wide. The
last two are known before anything is decoded. Every picture from outside is opened here, or by `opened` here.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import json
import warnings
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any

import msgspec
from PIL import Image, ImageOps, PngImagePlugin

from t2icli.ground import files, machine
from t2icli.ground.errors import T2IError

MAX_PIXELS = 64_000_000
MOST_STORED = 178_000_000
"""Pixels of a picture in a prepared dataset, whose rules may allow more; Pillow itself opens no larger one."""
MAX_ASPECT = 100
"""Longer side over shorter. Models enlarge until the shorter side fits: at 1 x 100,000 that takes gigabytes."""
MAX_BYTES = 512 << 20
"""Bytes of a file: more than `MAX_PIXELS` take in any format."""
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM")
"""No others, whatever a file is called: some of Pillow's readers start programs for a file."""
MODULES = {"WEBP": "WebP"}
"""How the names of Pillow's modules begin, where not simply with the format's name."""
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".ppm", ".pgm"})
"""Endings of images in a folder; a file that is named itself may have any."""

CHUNK = "t2i"
"""The text chunk of a PNG that says how the picture was made, as JSON."""
SHEET = "sheet"
"""What the record of several pictures side by side has: how many they are."""


def open_image(path: Path) -> Image.Image:
    """The picture in a file as RGB, or the reason why there is none."""
    return decode(read_file(path), f"'{path}'")


def read_file(path: Path) -> bytes:
    """The bytes of a regular file: pipes and devices may never end."""
    try:
        if not path.exists():
            raise T2IError(f"there is no file '{path}'")
        if not path.is_file():
            raise T2IError(f"'{path}' is not a file")
        if path.stat().st_size > MAX_BYTES:
            raise T2IError(f"'{path}' is too large: {path.stat().st_size:,} bytes, more than {MAX_BYTES:,}")
        return path.read_bytes()
    except OSError as error:
        raise T2IError(f"cannot read '{path}': {error.strerror}") from error


def decode(content: bytes, name: str) -> Image.Image:
    """The picture in the bytes of a file as RGB; errors call it `name`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's warnings about metadata of a file that it reads
        image = _checked(content, name, MAX_PIXELS)
        try:
            image.load()
        except Exception as error:  # each format's decoder has errors of its own
            raise T2IError(f"{name} is damaged: {error or type(error).__name__}") from error
        return to_rgb(_upright(image))


def stored(content: bytes, name: str) -> Image.Image:
    """The picture in the bytes of a prepared dataset as RGB, of any size that its rules may have allowed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = _checked(content, name, MOST_STORED)
        with image:
            return image.convert("RGB")


def opened(content: bytes) -> Image.Image:
    """The header of a picture of one of `FORMATS`, or Pillow's error."""
    return Image.open(io.BytesIO(content), formats=_formats())


@cache
def _formats() -> list[str]:
    """Those that this Pillow can read. `Image.init()` would import the modules of forty more, which takes 50 ms."""
    for name in FORMATS:
        with contextlib.suppress(ImportError):
            importlib.import_module(f"PIL.{MODULES.get(name, name.title())}ImagePlugin")
    return [name for name in FORMATS if name in Image.OPEN]


def is_too_long(width: int, height: int) -> bool:
    """Whether a picture is longer than any command takes."""
    return max(width, height) > MAX_ASPECT * min(width, height)


def _checked(content: bytes, name: str, most: int) -> Image.Image:
    image = _opened(content, name)
    size = f"{image.width} x {image.height} pixels"
    if image.width * image.height > most:
        raise T2IError(f"{name} is too large: {size}, more than {most:,}")
    if is_too_long(*image.size):
        raise T2IError(f"{name} is too long: {size}, more than {MAX_ASPECT} to 1", "crop it")
    return image


def _opened(content: bytes, name: str) -> Image.Image:
    if not content:
        raise T2IError(f"{name} is empty")
    if content[:64].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        raise T2IError(f"{name} is a web page or a drawing in XML, not an image")
    try:
        return opened(content)
    except Image.DecompressionBombError as error:
        raise T2IError(f"{name} is too large: more than {MAX_PIXELS:,} pixels") from error
    except Exception as error:
        raise T2IError(f"{name} is not an image of a known format") from error


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # damaged EXIF data is no reason to refuse the picture
        return image


def to_rgb(image: Image.Image) -> Image.Image:
    """Any Pillow image as RGB, by the rules at the top of this file."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16") or image.mode == "I":
        return _from_integers(image)
    if image.mode == "F":
        return _from_floats(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _from_integers(image: Image.Image) -> Image.Image:
    import numpy as np

    values = np.asarray(image).astype(np.int64)
    # Mode I also carries 8-bit values that some program widened; those are kept as they are.
    values = values >> 8 if image.mode != "I" or values.max() > 255 else values
    return Image.fromarray(values.clip(0, 255).astype(np.uint8)).convert("RGB")


def _from_floats(image: Image.Image) -> Image.Image:
    import numpy as np

    values = np.nan_to_num(np.asarray(image))
    scale = 255.0 if values.max() <= 1 else 1.0
    return Image.fromarray((values * scale).round().clip(0, 255).astype(np.uint8)).convert("RGB")


def save_png(image: Image.Image, path: Path, record: Mapping[str, Any] | None = None) -> None:
    """Write a PNG, whole or not at all, with `record` inside it."""
    with files.whole(path) as draft:
        draft.write_bytes(png(image, record))


def png(image: Image.Image, record: Mapping[str, Any] | None = None) -> bytes:
    """A PNG with `record` inside it."""
    info = PngImagePlugin.PngInfo()
    if record is not None:
        info.add_itxt("Description", str(record.get("prompt", "")))
        info.add_itxt("Software", "t2i")
        info.add_itxt(CHUNK, json.dumps(record, ensure_ascii=False, sort_keys=True))
    stream = io.BytesIO()
    # Of pictures that are no flat drawings, matching longer repetitions saves 1 or 2 % and takes four times as long.
    image.save(stream, format="PNG", pnginfo=info, compress_type=zlib.Z_RLE)
    return stream.getvalue()


def read_record(path: Path) -> dict[str, Any]:
    """What `save_png` wrote into a PNG."""
    open_image(path)  # raises if something is wrong with it
    record = record_of(path)
    if not record:
        raise T2IError(f"'{path}' does not say how it was made", "only PNGs written by t2i generate can be replayed")
    if SHEET in record:
        raise T2IError(f"'{path}' is a sheet of several pictures", "replay one of them")
    return record


def record_of(path: Path) -> dict[str, Any]:
    """The record in the header of a PNG; empty if there is none. Nothing is decoded."""
    with contextlib.suppress(Exception):
        if path.suffix.lower() == ".png" and path.is_file():
            with Image.open(path, formats=["PNG"]) as image:
                assert isinstance(image, PngImagePlugin.PngImageFile)
                record = msgspec.json.decode(image.text.get(CHUNK, "{}").encode())
                return record if isinstance(record, dict) else {}
    return {}


def pixels_sha256(image: Image.Image) -> str:
    """A hash of the picture itself, whatever file it is in."""
    rgb = to_rgb(image)
    return hashlib.sha256(f"{rgb.width}x{rgb.height}:".encode() + rgb.tobytes()).hexdigest()


def side_by_side(images: Sequence[Image.Image], columns: int, *, gap: int = 0) -> Image.Image:
    """Pictures of one size in one, row by row."""
    width, height = (side + gap for side in images[0].size)
    rows, columns = -(-len(images) // columns), min(columns, len(images))
    sheet = Image.new("RGB", (columns * width - gap, rows * height - gap), "white")
    for i, image in enumerate(images):
        sheet.paste(image, (i % columns * width, i // columns * height))
    return sheet


def grid(paths: Sequence[Path], *, cell: int = 256, side: int = 4096) -> Image.Image:
    """Pictures side by side, row by row, in a sheet of at most `side` pixels each way.

    One that can no longer be read leaves its place white.
    """
    columns = max(1, min(len(paths), round(len(paths) ** 0.5 + 0.49)))
    cell = max(1, min(cell, side // columns))
    with ThreadPoolExecutor(machine.cores()) as pool:
        return side_by_side(list(pool.map(partial(_cell, size=(cell, cell)), paths)), columns)


def _cell(path: Path, size: tuple[int, int]) -> Image.Image:
    try:
        return ImageOps.pad(open_image(path), size, color="white")
    except T2IError:
        return Image.new("RGB", size, "white")
