"""Every error as `{"error": {message, type, param, code}}`, in the language the client asks for."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from t2icli.ground.errors import T2IError
from t2icli.ground.translate import catalogue

log = logging.getLogger("t2i.serve")
TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
    503: "service_unavailable_error",
    504: "timeout_error",
}
NO_RETRY = {"x-should-retry": "false"}
"""Keeps OpenAI's client from trying again what would take as long again."""


class ApiError(Exception):
    """An answer that is an error."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param
        self.headers = dict(headers or {})


def body(error: ApiError, language: str = "en") -> dict[str, Any]:
    message = catalogue("zh").translate(error.message) if language == "zh" else error.message
    kind = TYPES.get(error.status, "server_error" if error.status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": error.param, "code": error.code}}


def language(accepted: str) -> str:
    """`zh` where an Accept-Language header names Chinese first."""
    return "zh" if accepted.strip().lower().startswith("zh") else "en"


def response(error: ApiError, accepted: str = "") -> JSONResponse:
    return JSONResponse(body(error, language(accepted)), error.status, error.headers)


def as_api_error(error: BaseException) -> ApiError:
    """Any exception as an answer; errors of the server itself are logged."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, T2IError):
        wrong = error.code == 2  # a hint would name words for a terminal
        return ApiError(400 if wrong else 500, error.message, "invalid_value" if wrong else "failed")
    if isinstance(error, RequestValidationError):
        return _invalid(error)
    if isinstance(error, HTTPException):
        known = {404: "there is no such address", 405: "this address does not support that method"}
        return ApiError(error.status_code, known.get(error.status_code, str(error.detail)), headers=error.headers)
    if isinstance(error, RecursionError):
        return ApiError(400, "the body is nested too deeply", "invalid_json")
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return ApiError(503, "out of memory", "out_of_memory", headers=NO_RETRY)
    log.error("%s: %s", type(error).__name__, error, exc_info=error)
    return ApiError(500, f"the server failed: {type(error).__name__}", "internal_error", headers=NO_RETRY)


@contextmanager
def about(param: str) -> Iterator[None]:
    """Mistakes found meanwhile are in this field of the request."""
    try:
        yield
    except (T2IError, ApiError) as error:
        problem = as_api_error(error)
        problem.param = param
        raise problem from error


def _invalid(error: RequestValidationError) -> ApiError:
    first = error.errors()[0]
    place = [str(part) for part in first["loc"] if part not in ("body", "query", "path")]
    if first["type"] == "json_invalid":
        return ApiError(400, f"the body is not JSON: {first.get('ctx', {}).get('error', first['msg'])}", "invalid_json")
    param = ".".join(place) or None
    reason = str(first["msg"]).removeprefix("Value error, ")
    message = f"{param}: {reason}" if param else reason
    return ApiError(400, message, "missing" if first["type"] == "missing" else "invalid_value", param)


def install(app: FastAPI) -> None:
    """Answer what routes raise in this shape; `guard` does so for anything else."""

    async def answer(request: Request, error: Exception) -> JSONResponse:
        return response(as_api_error(error), request.headers.get("accept-language", ""))

    for kind in (ApiError, T2IError, RequestValidationError, HTTPException, RecursionError, MemoryError):
        app.add_exception_handler(kind, answer)
