"""Asking web servers: who may see the hub's token, what a refusal means, when to wait, when not to ask at all."""

from __future__ import annotations

import http.client
import os
import re
import time
import urllib.parse
import urllib.request
import warnings
from email.message import Message
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError

from t2icli.ground.errors import T2IError

HUB = "https://huggingface.co"
READ_SECONDS = 30.0
PATIENCE = 60
"""Seconds that a server may ask us to wait; one that asks for more is left for the next."""
WAITS = 3
HICCUPS = (500, 502, 504)
"""Failures of a server that the next request may not meet."""
TRUE = ("1", "on", "yes", "true")


class CannotDownload(T2IError):
    """No server could be asked, or none had it: what is wanted has to come by other means."""


def is_set(variable: str) -> bool:
    """Whether a switch of the hub's client is on, as that reads it."""
    return os.environ.get(variable, "").lower() in TRUE


def check_online(what: str) -> None:
    """Refuse to use the network where that is forbidden."""
    if os.environ.get("T2I_OFFLINE"):
        raise CannotDownload(f"cannot download {what}: offline because of --offline or T2I_OFFLINE", code=1)
    if is_set("HF_HUB_OFFLINE"):
        raise CannotDownload(f"cannot download {what}: offline because of HF_HUB_OFFLINE", code=1)


def endpoint() -> str:
    """The hub: `$HF_ENDPOINT`, else huggingface.co."""
    return (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")


def token() -> str | None:
    """The user's token for the hub: `$HF_TOKEN`, else what the hub's own login has stored."""
    if chosen := os.environ.get("HF_TOKEN") or os.environ.get("HUGGING_FACE_HUB_TOKEN"):
        return _one_line(chosen)
    home = os.environ.get("HF_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    path = Path(os.environ.get("HF_TOKEN_PATH") or os.path.join(home, "token")).expanduser()
    try:
        return _one_line(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return None


def _one_line(text: str) -> str | None:
    return text.strip() if text.strip().isascii() and text.strip().isprintable() and text.strip() else None


def get(url: str, start: int = 0, timeout: float = READ_SECONDS) -> http.client.HTTPResponse:
    """The answer, from byte `start` on where the server can. A server that is overloaded is asked again later."""
    for attempt in range(WAITS):
        try:
            return _open(url, start, timeout)
        except HTTPError as error:
            seconds = retry_after(error)
            if seconds is None and error.code in HICCUPS:
                seconds = attempt
            elif seconds is not None and seconds <= PATIENCE:
                warnings.warn(f"{host(url)} asks to wait {seconds} seconds", UserWarning, stacklevel=2)
            else:
                raise
            if attempt == WAITS - 1:
                raise
            error.close()
            time.sleep(seconds)
    raise AssertionError


def _open(url: str, start: int, timeout: float) -> http.client.HTTPResponse:
    from importlib.metadata import version

    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise T2IError(f"{url!r} is not an http address", code=1)
    request = urllib.request.Request(url, headers={"User-Agent": f"t2icli/{version('t2icli')}"})
    request.add_header("Accept-Encoding", "identity")
    if start:
        request.add_header("Range", f"bytes={start}-")
    _authorize(request)
    opener = urllib.request.build_opener(_Redirects)  # `urlopen` would remember the first proxy it saw
    answer: http.client.HTTPResponse = opener.open(request, timeout=timeout)
    return answer


def _authorize(request: urllib.request.Request) -> None:
    """Send the token to the hub itself, in a header that redirects do not carry on."""
    if _origin(request.full_url) == _origin(endpoint()) and (secret := token()):
        request.add_unredirected_header("Authorization", f"Bearer {secret}")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to web servers only, and shows the token to none but the hub."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if urllib.parse.urlsplit(newurl).scheme not in ("http", "https"):
            raise HTTPError(req.full_url, code, "redirects to what is not a web server", headers, fp)
        following = super().redirect_request(req, fp, code, msg, headers, newurl)
        if following is not None:
            _authorize(following)
        return following


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urllib.parse.urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"https": 443, "http": 80}.get(parts.scheme)


def host(url: str) -> str:
    """The server's name, for messages."""
    return urllib.parse.urlsplit(url).netloc.rpartition("@")[2]


def retry_after(error: HTTPError) -> int | None:
    """Seconds after which an overloaded server wants to be asked again; None where it does not say."""
    if error.code not in (429, 503):
        return None
    headers: Message = error.headers
    seconds = re.fullmatch(r"\s*(\d+)\s*", headers.get("Retry-After", "")) or re.search(
        r"\bt\s*=\s*(\d+)", headers.get("RateLimit", "")
    )
    return int(seconds[1]) if seconds else None


REPOSITORY = re.compile(r"^/(?:api/models/)?(?P<id>[^/]+(?:/[^/]+)?)/(?:resolve|revision|tree)/(?P<revision>[^/?]+)")


def refusal(error: HTTPError) -> T2IError | None:
    """What the hub's refusal means and what to do about it; None for failures that another server may not have."""
    url = error.filename or ""
    match = REPOSITORY.match(urllib.parse.urlsplit(url).path)
    if match is None or _origin(url) != _origin(endpoint()) or error.code not in (401, 403, 404):
        return None
    name, code = match["id"], error.headers.get("X-Error-Code", "")
    if code == "RevisionNotFound":
        revision = urllib.parse.unquote(match["revision"])
        return T2IError(f"repository {name!r} has no revision {revision!r}", f"see {endpoint()}/{name}/commits/main")
    if code == "EntryNotFound":
        return None
    if code == "GatedRepo":
        return T2IError(f"repository {name!r} is gated: it is given to those who accept its terms", _admission(name), 1)
    if error.code == 401 and token() and code != "RepoNotFound":
        return T2IError("the hub does not accept your token", "set HF_TOKEN to a valid one, or unset it", 1)
    if error.code == 403:
        return T2IError(f"your token has no access to {name!r}", "its account needs read access to the repository", 1)
    hint = "check its name; if it is private, set HF_TOKEN to a token that may read it"
    return T2IError(f"there is no repository {name!r} at {host(url)}", hint)


def _admission(name: str) -> str:
    page = f"accept its terms at {endpoint()}/{name}"
    return page if token() else f"{page}, then set HF_TOKEN to a token of your account"
