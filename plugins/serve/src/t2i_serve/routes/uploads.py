"""Pictures that clients send: as files of a form, or as base64 in JSON. All are treated as untrusted."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from starlette.datastructures import UploadFile

from t2i_serve.errors import ApiError
from t2i_serve.limits import USUAL
from t2i_serve.schema import EditRequest
from t2icli.pictures import images

if TYPE_CHECKING:
    from PIL.Image import Image


def schema() -> dict[str, Any]:
    """The form of `/v1/images/edits`, for openapi.json."""
    form = EditRequest.model_json_schema()
    file = {"type": "string", "format": "binary"}
    form["properties"] |= {"image": file, "mask": file, "audio": file}
    form["required"] = ["image"]
    return form


async def examples(
    files: Mapping[str, Sequence[UploadFile | str]], body: EditRequest
) -> tuple[dict[str, Image], EditRequest]:
    """The pictures of the form by the condition they are, and the form."""
    sent = [file for key in ("image", "image[]") for file in files[key] if isinstance(file, UploadFile)]
    masks = [file for file in files["mask"] if isinstance(file, UploadFile)]
    if len(sent) != 1:
        raise ApiError(400, f"{len(sent)} pictures were sent where one is expected", "invalid_value", "image")
    picture = await sent[0].read()
    pictures: dict[str, Image] = {body.use: await asyncio.to_thread(images.decode, picture, "the picture")}
    if masks:
        pictures["mask"] = await asyncio.to_thread(_mask, await masks[0].read())
    return pictures, body


def _mask(content: bytes) -> Image:
    """White where the picture may change: where a mask as of OpenAI is transparent, or one as of ours is white."""
    plain = images.decode(content, "the mask")
    original = images.opened(content)
    if not original.has_transparency_data:
        return plain
    alpha = original.convert("RGBA").getchannel("A")
    return alpha.point(lambda opacity: 255 - opacity).convert("RGB")


async def decoded(words: Sequence[str]) -> list[Image]:
    """Pictures in JSON."""
    if len(words) > USUAL.files:
        raise ApiError(400, f"{len(words)} pictures are more than {USUAL.files}", "invalid_value", "images")
    return await asyncio.to_thread(lambda: [_decoded(word, index) for index, word in enumerate(words)])


def _decoded(word: str, index: int) -> Image:
    name = f"picture {index}"
    return images.decode(content(word, name, "images"), name)


def content(word: str, name: str, param: str) -> bytes:
    """The bytes of base64 or a data: address."""
    if word.startswith("data:"):
        head, _, word = word.partition(",")
        if not head.endswith(";base64"):
            raise ApiError(400, f"{name} is not base64", "invalid_value", param)
    try:
        return base64.b64decode(word, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ApiError(400, f"{name} is not base64", "invalid_value", param) from error
