"""The rules for pictures: from the source's bytes to the file that is stored, or the reason why not."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from t2icli.data.shards import EXTENSIONS
from t2icli.pictures.images import is_too_long, opened, to_rgb
from t2icli.prepare.outcome import Refused, dropped
from t2icli.prepare.settings import Rules

ORIENTATION = 0x0112
BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)


@dataclass(frozen=True)
class StoredPicture:
    """An image file as it will be stored."""

    content: bytes
    width: int
    height: int
    format: str
    sha256: str
    fetched: int
    """Bytes it came in as."""
    look: int | None = None
    """64 bits that are nearly the same for images that look alike."""


def finish(content: bytes, rules: Rules) -> StoredPicture:
    """Check, straighten and shrink one image file; raises `Refused` with the reason."""
    if not content:
        raise Refused("empty")
    try:
        with opened(content) as image:
            return _finish(image, content, rules)
    except BOMB as error:
        raise dropped("too-many-pixels") from error
    except UnidentifiedImageError as error:
        raise Refused(_what_it_is(content)) from error
    except Refused:
        raise
    except Exception as error:  # each format's decoder has errors of its own
        raise Refused("truncated" if "truncated" in str(error).lower() else "corrupt") from error


def _finish(image: Image.Image, content: bytes, rules: Rules) -> StoredPicture:
    if image.width * image.height > rules.max_pixels:
        raise dropped("too-many-pixels")
    if is_too_long(*image.size):
        raise dropped("aspect-ratio")
    if rules.measure == "original":
        _check_size(image.width, image.height, rules)
    form = image.format or ""
    fine = form in EXTENSIONS and image.mode in ("RGB", "L") and getattr(image, "n_frames", 1) == 1
    ready = _straighten(image, rules)
    if rules.measure == "stored":
        _check_size(ready.width, ready.height, rules)
    if fine and ready is image and rules.store == "auto":
        stored, extension = content, EXTENSIONS[form]
    else:
        extension = rules.store if rules.store != "auto" else "jpg" if form in ("JPEG", "WEBP", "MPO") else "png"
        stored = _encoded(ready.convert("RGB"), extension, rules.quality)
    look = look_of(ready) if rules.duplicates == "similar" else None
    return StoredPicture(
        stored, ready.width, ready.height, extension, hashlib.sha256(stored).hexdigest(), len(content), look
    )


def _straighten(image: Image.Image, rules: Rules) -> Image.Image:
    """The image decoded, shrunk, upright and without holes; the very same object if nothing had to be done."""
    before = image.size
    if rules.max_side is not None and max(before) > rules.max_side:
        image.thumbnail((rules.max_side, rules.max_side), Image.Resampling.BICUBIC)  # JPEGs are read at a coarser scale
    image.load()
    ready = ImageOps.exif_transpose(image) if rules.upright and image.getexif().get(ORIENTATION, 1) != 1 else image
    if ready.mode not in ("RGB", "L") or "transparency" in ready.info:
        ready = ready.convert("RGB") if rules.transparent == "drop" and ready.has_transparency_data else to_rgb(ready)
    return ready.copy() if ready is image and image.size != before else ready


def _check_size(width: int, height: int, rules: Rules) -> None:
    short, long = sorted((width, height))
    if rules.max_aspect is not None and short < long / rules.max_aspect:
        raise dropped("aspect-ratio")
    area = width * (width if rules.area == "width-width" else height)
    if short < max(rules.min_side, 1) or area < rules.min_area:
        raise dropped("too-small")


def _encoded(image: Image.Image, extension: str, quality: int) -> bytes:
    stream = io.BytesIO()
    if extension == "jpg":
        image.save(stream, "JPEG", quality=quality)
    else:
        image.save(stream, "PNG")
    return stream.getvalue()


def look_of(image: Image.Image) -> int:
    """The difference hash: whether each of 8 x 8 coarse pixels is brighter than its neighbour."""
    small = np.asarray(image.convert("L").resize((9, 8), Image.Resampling.BOX), dtype=np.int16)
    bits = np.packbits(small[:, 1:] > small[:, :-1])
    return int.from_bytes(bits.tobytes(), "big")


def _what_it_is(content: bytes) -> str:
    start = content[:512].lstrip().lower()
    return "html" if start.startswith((b"<!doctype", b"<html", b"<head", b"<?xml", b"<body")) else "not-an-image"
