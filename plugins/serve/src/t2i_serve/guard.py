"""What stands before every route: who may ask, how much a body may hold, and what a browser may do with answers."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import ipaddress
import time
from collections.abc import Iterable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from t2i_serve.errors import ApiError, as_api_error, response
from t2i_serve.limits import ServerLimits
from t2i_serve.metrics import Metrics

COOKIE = "t2i_session"
OPEN = ("/", "/healthz", "/session")
"""Addresses without a token; so is all below /page/: there is nothing of the user's in it."""
UPLOADS = ("/v1/images/edits", "/v1/rankings", "/v1/captions", "/v1/embeddings")
MAY_UPLOAD = "/v1/images/generations"
"""Takes a sound, but seldom has one: only a body that declares a greater length is given the room and time for it."""
LINGER = 5
"""Seconds that a refused client may take to send the rest of its body."""
HEADERS = {
    b"content-security-policy": b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    b"media-src blob:; "
    b"connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
    b"cross-origin-opener-policy": b"same-origin",
}


class Guard:
    """The outermost layer of the application."""

    def __init__(
        self, app: ASGIApp, *, token: str | None, hosts: Iterable[str], limits: ServerLimits, metrics: Metrics
    ) -> None:
        self.app, self.limits, self.metrics = app, limits, metrics
        self.token = token
        self.hosts = {"localhost", *(host.lower() for host in hosts)}
        self._held = 0
        """Bytes of all bodies."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun, status = time.monotonic(), 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *HEADERS.items()]
            await send(message)

        headers, request = _headers(scope), Incoming(receive)
        try:
            await self._guarded(scope, headers, request.receive, answer)
        except Exception as error:
            if status:  # half an answer is out
                raise
            problem = as_api_error(error)
            # A slow client has had its time, and one that asks first sends nothing after a refusal.
            if problem.status != 408 and "expect" not in headers:
                await request.discard(2 * self.limits.upload)
            await response(problem, headers.get("accept-language", ""))(scope, receive, answer)
        finally:
            self._note(scope, status, time.monotonic() - begun)

    async def _guarded(self, scope: Scope, headers: MutableMapping[str, str], receive: Receive, send: Send) -> None:
        self._check_host(headers)
        path = scope["path"]
        if not (path in OPEN or path.startswith("/page/") or self._may_enter(headers)):
            raise ApiError(
                401, "the token is missing or wrong", "invalid_api_key", headers={"WWW-Authenticate": "Bearer"}
            )
        declared = headers.get("content-length", "")
        has_sound = path == MAY_UPLOAD and declared.isdigit() and int(declared) > self.limits.json
        body = Body(self, receive, is_upload=path in UPLOADS or has_sound)
        try:
            await body.read(declared)
            await self.app(scope, body.receive, send)
        finally:
            self.hold(-body.size)

    def hold(self, size: int) -> None:
        """Count bytes of bodies, of which there is not room for any number."""
        if size > 0 and self._held + size > self.limits.bodies:
            raise ApiError(429, "too many pictures are sent at once", "queue_full", headers={"Retry-After": "5"})
        self._held += size

    def _check_host(self, headers: MutableMapping[str, str]) -> None:
        """Names of others lead here when their owner wants to read answers with a page of his (DNS rebinding)."""
        host = headers.get("host", "")
        name = _name(host)
        if not (name in self.hosts or _is_address(name)):
            raise ApiError(403, f"this server is not called {name!r}; add --allow-host NAME", "forbidden_host")
        origin = headers.get("origin")
        if origin is not None and origin.lower().partition("://")[2] != host.lower():
            raise ApiError(403, "the request comes from another site's page", "forbidden_origin")
        if headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-mode") != "navigate":
            raise ApiError(403, "the request comes from another site's page", "forbidden_origin")

    def _may_enter(self, headers: MutableMapping[str, str]) -> bool:
        if self.token is None:
            return True
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and same(given.strip(), self.token):
            return True
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        return cookie is not None and same(cookie.value, session(self.token))

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", None) or "other"
        self.metrics.requests.labels(route, str(status)).inc()
        self.metrics.seconds.labels(route).observe(seconds)


class Incoming:
    """What a client sends, and whether more of the body is to come."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._more = True

    async def receive(self) -> Message:
        message = await self._receive()
        self._more = bool(message.get("more_body"))
        return message

    async def discard(self, most: int) -> None:
        """Read the rest of the body, up to `most` bytes: a client that is still sending would not see the answer."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._discarded(most), LINGER)

    async def _discarded(self, most: int) -> None:
        while self._more and most > 0:
            most -= len((await self.receive()).get("body", b""))


class Body:
    """A request's body, read whole, within bounds of size and time, before a route sees any of it."""

    def __init__(self, guard: Guard, receive: Receive, *, is_upload: bool) -> None:
        limits = guard.limits
        self._guard, self._receive = guard, receive
        self._most = limits.upload if is_upload else limits.json
        self._seconds = limits.slow_upload if is_upload else limits.slow
        self._content: bytes | None = b""
        self.size = 0

    async def read(self, declared: str) -> None:
        if declared.isdigit() and int(declared) > self._most:
            raise self._too_large()
        try:
            self._content = b"".join(await asyncio.wait_for(self._parts(), self._seconds))
        except asyncio.TimeoutError as error:
            raise ApiError(408, "the body came too slowly", "timeout", headers={"Connection": "close"}) from error

    async def _parts(self) -> list[bytes]:
        parts: list[bytes] = []
        while (message := await self._receive())["type"] == "http.request":
            part = message.get("body", b"")
            if self.size + len(part) > self._most:
                raise self._too_large()
            self._guard.hold(len(part))
            self.size += len(part)
            parts.append(part)
            if not message.get("more_body"):
                break
        return parts

    async def receive(self) -> Message:
        """The body, then what else the client does: go away."""
        if self._content is None:
            return await self._receive()
        content, self._content = self._content, None
        return {"type": "http.request", "body": content, "more_body": False}

    def _too_large(self) -> ApiError:
        message = f"the body is larger than {self._most:,} bytes"
        return ApiError(413, message, "body_too_large", headers={"Connection": "close"})


def session(token: str) -> str:
    """What the page's cookie holds in place of the token."""
    return hmac.new(token.encode(), b"t2i serve", hashlib.sha256).hexdigest()


def same(given: str, right: str) -> bool:
    """Compared in a time that does not tell how much of it is right."""
    digests = [hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest() for text in (given, right)]
    return hmac.compare_digest(*digests)


def _headers(scope: Scope) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}


def _name(host: str) -> str:
    """A Host header without its port; empty if it is invalid."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
