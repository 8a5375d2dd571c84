"""Pictures as answers hold them."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from t2i_serve.errors import ApiError
from t2i_serve.schema import PicturesRequest
from t2i_serve.shelf import Filed
from t2icli.pictures import images

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Format:
    """How pictures are sent."""

    name: Literal["png", "webp", "jpeg"]
    quality: int
    as_url: bool

    @classmethod
    def of(cls, body: PicturesRequest) -> Format:
        name = body.output_format or "png"
        if name == "png" and body.output_compression not in (None, 100):
            raise ApiError(
                400, "png is lossless: it takes no output_compression below 100", "invalid_value", "output_compression"
            )
        quality = 90 if body.output_compression is None else body.output_compression
        return cls(name, quality, body.response_format == "url")

    def encoded(self, image: Image) -> bytes:
        stream = io.BytesIO()
        if self.name == "png":
            image.save(stream, "PNG", compress_level=1)
        else:
            image.convert("RGB").save(stream, self.name.upper(), quality=self.quality)
        return stream.getvalue()


def picture(filed: Filed, row: Mapping[str, Any], form: Format, base: str) -> dict[str, Any]:
    """A row of an album with its picture. A PNG is the file itself, so it can be replayed."""
    content = filed.content(row)
    image = images.opened(content)
    facts = {key: row[key] for key in ("seed", "rank", "score", "scores", "same_as")}
    facts["size"] = f"{image.width}x{image.height}"
    facts["url"] = f"{base.rstrip('/')}{address(filed.album, row['file'])}"
    if form.as_url:
        return facts
    return {"b64_json": b64(content if form.name == "png" else form.encoded(image)), **facts}


def address(album: str, file: str) -> str:
    return f"/pictures/{quote(album, safe='')}/{quote(file, safe='')}"


def b64(content: bytes) -> str:
    return base64.b64encode(content).decode()
