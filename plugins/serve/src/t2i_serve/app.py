"""The application: routes, errors, guard."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI

from t2i_serve import errors
from t2i_serve.guard import Guard
from t2i_serve.routes import images, judging, status
from t2i_serve.studio import Studio


def application(studio: Studio, *, token: str | None = None, hosts: Iterable[str] = ()) -> FastAPI:
    """`hosts` are names that the server is called by, beside localhost and addresses."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        studio.stopping.set()
        studio.pool.close()

    app = FastAPI(
        title="t2i",
        version=version("t2icli-serve"),
        summary="Pictures of prompts, ranked.",
        docs_url=None,  # these load scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.studio, app.state.token = studio, token
    errors.install(app)
    for routes in (images, judging, status):
        app.include_router(routes.router)
    app.add_middleware(Guard, token=token, hosts=hosts, limits=studio.limits, metrics=studio.metrics)
    return app
