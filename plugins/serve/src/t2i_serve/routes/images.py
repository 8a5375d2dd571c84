"""`/v1/images/generations` and `/v1/images/edits`: from a body to an order, and from an order to an answer."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import ValidationError
from starlette.datastructures import UploadFile

from t2i_serve.drawer import Drawn, Event, JobProgress, Preview
from t2i_serve.errors import ApiError, as_api_error, body, language
from t2i_serve.limits import ServerLimits
from t2i_serve.routes import sounds, uploads
from t2i_serve.routes.answers import Format, b64, picture
from t2i_serve.schema import ERRORS, EditRequest, GenerationRequest, PicturesAnswer, PicturesRequest
from t2i_serve.shelf import Filed
from t2i_serve.sounds import AudioInput
from t2i_serve.studio import Begun, Done, Order, Studio
from t2icli.pictures import prompts
from t2icli.pipelines import scoring

if TYPE_CHECKING:
    from PIL.Image import Image

A = TypeVar("A", bound=PicturesRequest)
T = TypeVar("T")
router = APIRouter(prefix="/v1/images", responses=ERRORS, tags=["images"])
ALIASES = {
    "cfg": "cfg_scale",
    "guidance_scale": "cfg_scale",
    "negative_prompt": "negative",
    "num_inference_steps": "steps",
}
"""What clients of other servers call our settings."""
SIZE = re.compile(r"(\d{1,5})x(\d{1,5})")
EVENTS = {"generations": "image_generation", "edits": "image_edit"}


@router.post("/generations", response_model=PicturesAnswer)
async def generations(request: Request, body: GenerationRequest) -> Response:
    """Draw pictures of a prompt, of a sound, or of both."""
    sound = await sounds.sent(body, request.app.state.studio.pool.offers)
    return await _answer(request, body, body.prompt, {}, sound, "image_generation")


@router.post(
    "/edits",
    response_model=PicturesAnswer,
    openapi_extra={"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": uploads.schema()}}}},
)
async def edits(request: Request) -> Response:
    """Draw pictures that start from a picture, or are similar to one, and from a sound, by models that can."""
    limits: ServerLimits = request.app.state.studio.limits
    async with request.form(max_files=20, max_fields=100, max_part_size=limits.json) as form:
        files = {key: form.getlist(key) for key in ("image", "image[]", "mask")}
        fields = {key: value for key, value in form.items() if not isinstance(value, UploadFile)}
        examples, body = await uploads.examples(files, _checked(EditRequest, fields))
        audio = form.get("audio")
        file = await audio.read() if isinstance(audio, UploadFile) else None
    sound = await sounds.sent(body, request.app.state.studio.pool.offers, file)
    return await _answer(request, body, body.prompt, examples, sound, "image_edit")


def _checked(kind: type[A], fields: Mapping[str, Any]) -> A:
    try:
        return kind.model_validate({key: value for key, value in fields.items() if key not in ("image", "mask")})
    except ValidationError as error:
        first = error.errors()[0]
        param = ".".join(map(str, first["loc"]))
        raise ApiError(400, f"{param}: {first['msg']}", "invalid_value", param) from error


async def _answer(
    request: Request,
    body: PicturesRequest,
    prompt: str,
    examples: Mapping[str, Image],
    sound: AudioInput | None,
    event: str,
) -> Response:
    studio: Studio = request.app.state.studio
    form = Format.of(body)
    order = _order(studio, body, prompt, examples, sound, request.client.host if request.client else "?")
    if body.stream:
        stream = Stream(studio, order, form, event, bool(body.progress), request)
        return StreamingResponse(stream.lines(), media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
    done, begun = await _unless_gone(request, _drawn(studio, order))
    answer = await asyncio.to_thread(_document, order, form, done, begun, str(request.base_url))
    return JSONResponse(answer)


async def _drawn(studio: Studio, order: Order) -> tuple[Done, Begun]:
    begun: Begun | None = None
    done: Done | None = None
    async for event in studio.draw(order):
        begun = event if isinstance(event, Begun) else begun
        done = event if isinstance(event, Done) else done
    assert begun is not None and done is not None
    return done, begun


async def _unless_gone(request: Request, work: Any) -> Any:
    """The result of a coroutine, which is cancelled when the client closes the connection."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            task.cancel()
            raise ApiError(499, "the client has disconnected", "gone")
        return task.result()
    finally:
        gone.cancel()
        task.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _order(
    studio: Studio,
    body: PicturesRequest,
    prompt: str,
    examples: Mapping[str, Image],
    sound: AudioInput | None,
    host: str,
) -> Order:
    """The body as an order, with everything refused that needs no model to be known as wrong."""
    limits, n = studio.limits, body.n or 1
    if len(prompt) > limits.prompt:
        message = f"the prompt has {len(prompt):,} characters, more than {limits.prompt:,}"
        raise ApiError(400, message, "string_above_max_length", "prompt")
    if "like" in examples and sound is None and not prompt.strip():
        prompt = "like the picture"
    has_prompt = bool(prompt.strip())
    if sound is not None and not has_prompt:
        prompt = prompts.heard_in(sound.name)
    words = [body.rerank] if isinstance(body.rerank, str) else body.rerank or []
    rerank = scoring.weights(words)
    if body.top is not None and not rerank:
        raise ApiError(400, "top needs rerank, the ranker that says which are best", "invalid_value", "top")
    if body.top is not None and body.top > n:
        raise ApiError(400, f"top is {body.top}, more than the {n} pictures to draw", "invalid_value", "top")
    if body.background == "transparent":
        raise ApiError(400, "transparent backgrounds are not supported", "invalid_value", "background")
    offer = studio.pool.offers.find("generator", body.model)
    known = {field["name"] for field in offer.fields()}
    size, settings = _size(body.size, limits), _settings(body, known)
    if size is not None and "size" in known:  # the model draws any size, within reason
        settings, size = {**settings, "size": f"{size[0]}x{size[1]}"}, None
    for name in rerank:
        studio.pool.offers.find("ranker", name)
    return Order(
        prompt=prompts.clean(prompt),
        n=n,
        seed=secrets.randbelow(1_000_000) if body.seed is None else body.seed,
        client=body.safety_identifier or body.user or host,
        model=offer.name,
        settings=settings,
        size=size,
        examples=examples,
        sound=sound,
        has_prompt=has_prompt,
        rerank=rerank,
        top=body.top,
        previews=(body.partial_images or 0) if body.stream else 0,
    )


def _settings(body: PicturesRequest, known: set[str]) -> dict[str, Any]:
    """The further fields, each a setting of the model."""
    settings = {}
    for name, value in (body.model_extra or {}).items():
        own = name if name in known else ALIASES.get(name, name)
        if own not in known:
            raise ApiError(400, f"unknown parameter: {name!r}", "unknown_parameter", name)
        settings[own] = value
    return settings


def _size(word: str | None, limits: ServerLimits) -> tuple[int, int] | None:
    if not word or word == "auto":
        return None
    match = SIZE.fullmatch(word)
    if match is None:
        raise ApiError(400, f"{word!r} is not a size; write WIDTHxHEIGHT, or auto", "invalid_value", "size")
    width, height = int(match[1]), int(match[2])
    if width * height > limits.pixels:
        raise ApiError(400, f"{word} is larger than {limits.pixels:,} pixels", "invalid_value", "size")
    return width, height


def _document(order: Order, form: Format, done: Done, begun: Begun, base: str) -> dict[str, Any]:
    filed = done.filed
    pictures = [picture(filed, row, form, base) for row in filed.rows if row["file"] is not None]
    sizes = [image.pop("size") for image in pictures]
    return {
        **_about(order, form, sizes[0] if sizes else None),
        "created": int(time.time()),
        "data": pictures,
        **_summary(order, filed, done, begun),
    }


def _about(order: Order, form: Format, size: str | None) -> dict[str, Any]:
    return {"size": size, "quality": "auto", "background": "opaque", "output_format": form.name}


def _summary(order: Order, filed: Filed, done: Done, begun: Begun) -> dict[str, Any]:
    facts = ("seed", "rank", "score", "scores", "same_as")
    candidates = [{**{key: row[key] for key in facts}, "kept": row["file"] is not None} for row in filed.rows]
    return {
        "seed": order.seed,
        "model": begun.opened.name,
        "album": filed.album,
        "candidates": candidates,
        "doubts": list(done.doubts),
        "command": filed.command,
    }


async def _beating(events: AsyncGenerator[T, None], seconds: float) -> AsyncGenerator[T | None, None]:
    """The events, and None after so many seconds without one."""
    task = asyncio.ensure_future(anext(events))
    try:
        while True:
            await asyncio.wait({task}, timeout=seconds)
            if not task.done():
                yield None
                continue
            try:
                event = task.result()
            except StopAsyncIteration:
                return
            yield event
            task = asyncio.ensure_future(anext(events))
    finally:
        if task.done():
            await events.aclose()
        else:
            task.cancel()  # which ends the events where they wait


@dataclass
class Stream:
    """Events as OpenAI's client reads them: previews, then each picture; with a ranker the best first, at the end."""

    studio: Studio
    order: Order
    form: Format
    event: str
    progress: bool
    request: Request

    async def lines(self) -> AsyncGenerator[str, None]:
        """The answer; closing it cancels the order."""
        beating = _beating(self.studio.draw(self.order), self.studio.limits.beat)
        try:
            async with contextlib.aclosing(beating) as events:
                async for line in self._lines(events):
                    yield line
        except Exception as error:
            accepted = self.request.headers.get("accept-language", "")
            problem = body(as_api_error(error), language(accepted))["error"]
            yield f"event: error\ndata: {json.dumps({'type': 'error', 'error': problem}, ensure_ascii=False)}\n\n"

    async def _lines(self, events: AsyncIterator[Begun | Event | Done | None]) -> AsyncIterator[str]:
        last, begun, shown = 0.0, None, 0
        async for event in events:
            if event is None:
                yield ": waiting\n\n"
            elif isinstance(event, Begun):
                begun = event
                if self.progress:
                    yield self._line("progress", {"share": 0.0, "seed": self.order.seed, "n": self.order.n})
            elif isinstance(event, JobProgress) and self.progress and time.monotonic() - last > 0.2:
                last = time.monotonic()
                yield self._line("progress", {"share": round(event.share, 4)})
            elif isinstance(event, Preview):
                yield await self._partial(event.candidate, event.index, event.image)
            elif isinstance(event, Drawn) and self.order.previews:
                shown += 1
                if self.order.n > 1 or self.order.rerank:
                    yield await self._partial(event.candidate, self.order.previews, event.image, is_drawn=True)
                if self.progress and shown == self.order.n:
                    yield self._line("progress", {"share": 1.0})
            elif isinstance(event, Done):
                assert begun is not None
                async for line in self._completed(event, begun):
                    yield line

    async def _partial(self, candidate: int, index: int, image: Image, *, is_drawn: bool = False) -> str:
        size = f"{image.width}x{image.height}"
        facts = {"candidate": candidate, "seed": self.order.seed + candidate, "is_drawn": is_drawn}
        content = await asyncio.to_thread(self.form.encoded, image)
        about = {**_about(self.order, self.form, size), "created_at": int(time.time())}
        return self._line("partial_image", {"b64_json": b64(content), "partial_image_index": index, **about, **facts})

    async def _completed(self, done: Done, begun: Begun) -> AsyncIterator[str]:
        summary = _summary(self.order, done.filed, done, begun)
        base = str(self.request.base_url)
        rows = [row for row in done.filed.rows if row["file"] is not None]
        for row in rows:
            facts = await asyncio.to_thread(picture, done.filed, row, self.form, base)
            about = {**_about(self.order, self.form, facts.pop("size")), "created_at": int(time.time())}
            facts["candidate"] = row["seed"] - self.order.seed
            rest = {**summary, "seed": row["seed"]} if row is rows[-1] else {}
            yield self._line("completed", {**about, **rest, **facts})

    def _line(self, kind: str, fields: Mapping[str, Any]) -> str:
        document = json.dumps({"type": f"{self.event}.{kind}", **fields}, ensure_ascii=False)
        return f"event: {self.event}.{kind}\ndata: {document}\n\n"
