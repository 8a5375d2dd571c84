"""`/v1/models`, `/healthz`, `/metrics`, the history and its pictures, and the page itself."""

from __future__ import annotations

import asyncio
import shlex
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse
from pydantic import BaseModel

from t2i_serve.errors import ApiError
from t2i_serve.guard import COOKIE, same, session
from t2i_serve.offers import ServedModel
from t2i_serve.pool import Pool
from t2i_serve.routes.answers import address
from t2i_serve.schema import ERRORS, AlbumAnswer, History, ModelCard, ModelList
from t2i_serve.shelf import Shelf
from t2i_serve.studio import Studio
from t2icli.contract.requests import CONDITIONS
from t2icli.ground.translate import catalogue

router = APIRouter(responses=ERRORS, tags=["server"])
KINDS: tuple[Literal["generator", "ranker", "captioner", "embedder"], ...] = (
    "generator",
    "ranker",
    "captioner",
    "embedder",
)
TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
LISTED, MOST = 64, 1000
"""Rows of an album in the history, and of one asked for alone; one of `t2i generate` may have a million."""
FOREVER = {"Cache-Control": "private, max-age=31536000, immutable"}


@router.get("/v1/models")
async def models(request: Request) -> ModelList:
    """What is installed."""
    pool: Pool = request.app.state.studio.pool
    language = request.headers.get("accept-language", "")
    return ModelList(data=await asyncio.to_thread(_cards, pool, language))


@router.get("/v1/models/{name:path}")
async def model(request: Request, name: str) -> ModelCard:
    """One model."""
    cards = (await models(request)).data
    named = next((card for card in cards if card.id == name), None)
    if named is None:
        raise ApiError(404, f"there is no model called {name!r}", "model_not_found", "model")
    return named


def _cards(pool: Pool, language: str) -> list[ModelCard]:
    cards: dict[str, ModelCard] = {}
    for kind in KINDS:
        for index, offer in enumerate(pool.offers.all(kind)):
            card = cards.setdefault(offer.name, _card(offer, language))
            card.kinds.append(kind)
            card.default_of += [kind] if index == 0 else []
            resident = pool.loaded.get((kind, offer.name))
            if resident is None:
                continue
            card.loaded = True
            if resident.drawer is not None:
                abilities = resident.drawer.generator.abilities
                card.conditions = sorted(abilities.conditions & CONDITIONS.keys())
                card.sizes = [f"{width}x{height}" for width, height in abilities.sizes]
    return list(cards.values())


def _card(offer: ServedModel, language: str) -> ModelCard:
    def translated(text: str) -> str:
        return catalogue("zh").translate(text) if language.lower().startswith("zh") else text

    fields = offer.fields() if offer.kind == "generator" else []
    for field in fields:
        field["about"] = translated(_about(field["schema"]))
    return ModelCard(
        id=offer.name,
        created=int(_created(offer)),
        owned_by=offer.entry.name,
        kinds=[],
        default_of=[],
        about=translated(offer.about),
        stand_in=translated(offer.stand_in),
        size=offer.size,
        loaded=False,
        settings=fields,
        conditions=sorted(set(offer.entry.conditions) & CONDITIONS.keys()),
        sizes=[],
    )


def _about(schema: Any) -> str:
    """The first description in a JSON schema, which may stand within its alternatives."""
    if isinstance(schema, dict):
        if isinstance(schema.get("description"), str):
            return str(schema["description"])
        return next((about for value in schema.values() if (about := _about(value))), "")
    return next((about for value in schema if (about := _about(value))), "") if isinstance(schema, list) else ""


def _created(offer: ServedModel) -> float:
    return (offer.model.folder / "model.toml").stat().st_mtime if offer.model else 0.0


@router.get("/healthz")
async def healthz(request: Request) -> JSONResponse:
    """200 while the server takes requests."""
    stops = request.app.state.studio.stopping.is_set()
    return JSONResponse({"status": "stopping" if stops else "ok"}, 503 if stops else 200)


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """Figures for Prometheus."""
    studio: Studio = request.app.state.studio
    studio.metrics.models_loaded.set(len(studio.pool.loaded))
    return Response(studio.metrics.page(), media_type="text/plain; version=0.0.4")


@router.get("/v1/history")
async def history(
    request: Request,
    after: Annotated[str | None, Query(description="The last album of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> History:
    """Albums of the output folder, the newest first."""
    return await asyncio.to_thread(_history, request.app.state.studio.shelf, after, limit)


def _history(shelf: Shelf, after: str | None, limit: int) -> History:
    names = shelf.names()
    start = names.index(after) + 1 if after in names else 0
    some = names[start : start + limit]
    albums = [album for name in some if (album := _album(shelf, name)) is not None]
    return History(data=albums, has_more=start + limit < len(names))


def _album(shelf: Shelf, name: str, *, is_whole: bool = False) -> AlbumAnswer | None:
    rows: list[dict[str, Any]] = []
    candidates = 0
    for row in shelf.rows(name):
        candidates += 1
        if len(rows) < (MOST if is_whole else LISTED):
            rows.append(row)
    if not rows:
        return None
    sound = f"/v1/history/{quote(name, safe='')}/sound" if shelf.sound(name) is not None else None
    for row in rows:
        row["sound"] = sound
        row["url"] = address(name, row["file"]) if row["file"] is not None else None
    first = rows[0]
    return AlbumAnswer(
        id=name,
        created=int(shelf.created(name)),
        prompt=first["prompt"],
        model=first["model"],
        candidates=candidates,
        rows=rows,
        settings=shelf.settings(name, first) if is_whole else None,
        command=shlex.join(["t2i", "generate", "--config", str(shelf.settings_file(name, first))]),
    )


@router.get("/v1/history/{album}")
async def album(request: Request, album: str) -> AlbumAnswer:
    """One album."""
    answer = await asyncio.to_thread(_album, request.app.state.studio.shelf, album, is_whole=True)
    if answer is None:
        raise ApiError(404, "there is no such album", "not_found")
    return answer


@router.get("/v1/history/{album}/sound", response_class=FileResponse)
async def sound(request: Request, album: str) -> FileResponse:
    """The sound that an album was drawn from."""
    path: Path | None = await asyncio.to_thread(request.app.state.studio.shelf.sound, album)
    if path is None:
        raise ApiError(404, "there is no such sound", "not_found")
    return FileResponse(path, media_type="application/octet-stream", headers=FOREVER)


@router.get("/pictures/{album}/{file}", response_class=FileResponse)
async def picture(request: Request, album: str, file: str) -> FileResponse:
    """A picture of an album, as it was filed."""
    path: Path | None = await asyncio.to_thread(request.app.state.studio.shelf.picture, album, file)
    if path is None:
        raise ApiError(404, "there is no such picture", "not_found")
    return FileResponse(path, media_type="image/png", headers=FOREVER)


class TokenForm(BaseModel):
    """What the page's form for the token sends."""

    token: str


@router.post("/session", status_code=204)
async def enter(request: Request, entry: TokenForm) -> Response:
    """Exchange the token for the page's cookie."""
    token: str | None = request.app.state.token
    if token is not None and not same(entry.token, token):
        raise ApiError(401, "the token is missing or wrong", "invalid_api_key")
    answer = Response(status_code=204)
    if token is not None:
        secure = request.url.scheme == "https"
        answer.set_cookie(COOKIE, session(token), httponly=True, samesite="strict", secure=secure, max_age=30 * 86400)
    return answer


@router.get("/", response_class=HTMLResponse, include_in_schema=False)
async def page() -> HTMLResponse:
    return HTMLResponse(files("t2i_serve").joinpath("page/index.html").read_text(encoding="utf-8"))


@router.get("/page/{name}", include_in_schema=False)
async def asset(name: str) -> Response:
    content = _assets().get(name)
    if content is None:
        raise ApiError(404, "there is no such address", "not_found")
    return Response(content, media_type=TYPES[Path(name).suffix], headers={"Cache-Control": "no-cache"})


@cache
def _assets() -> dict[str, str]:
    """The page's own files, and the style that it shares with the galleries of `t2i generate`."""
    own = [file for file in (files("t2i_serve") / "page").iterdir() if Path(file.name).suffix in TYPES]
    return {file.name: file.read_text(encoding="utf-8") for file in (*own, files("t2icli") / "gallery.css")}
