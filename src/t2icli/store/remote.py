"""Files at an address, read from any byte on: http(s) by our own client, all other kinds by fsspec."""

from __future__ import annotations

import contextlib
import http.client
import re
import threading
import urllib.error
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn, TypeVar

from t2icli.ground import extras
from t2icli.ground.errors import T2IError
from t2icli.store import download, web

T = TypeVar("T")
BLOCK = 8 << 20
"""Bytes asked for at a time where a store answers requests and not connections."""
SECONDS = 30.0
"""How long such a store may take to answer one request."""
OPTIONS = {"s3": {"config_kwargs": {"connect_timeout": 5, "read_timeout": SECONDS, "retries": {"max_attempts": 0}}}}
"""Of fsspec's file systems: ours is the only waiting and trying again."""
MISSING_SECRETS = (
    "NoCredentialsError",
    "ProfileNotFound",
    "PartialCredentialsError",
    "CredentialRetrievalError",
    "DefaultCredentialsError",
)


class NoAnswer(Exception):
    """Why a store could not be read this time; the next time it may."""


class NotThere(T2IError):
    """The store answers, and has no such file."""


@dataclass(frozen=True)
class Stream:
    """A file from byte `start` on; a server may begin earlier than it was asked to."""

    start: int
    total: int
    blocks: Iterator[bytes]


def check(address: str) -> str:
    """An address in the form in which it is kept: it must not carry secrets."""
    parts = urllib.parse.urlsplit(address)
    if "@" in parts.netloc or parts.query or parts.fragment:
        plain = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        raise T2IError(
            f"the address {plain!r} comes with a password or a query, which would be stored and shown",
            "give credentials in the environment or in the files of the store's own tools",
        )
    return f"{parts.scheme.lower()}://{parts.netloc}{parts.path}".rstrip("/")


@contextlib.contextmanager
def opened(address: str, start: int = 0, seconds: float = SECONDS) -> Iterator[Stream]:
    """The file at an address; `NoAnswer`, from here or from reading on, where it is worth trying again."""
    web.check_online(f"'{address}'")
    how = _by_http if address.startswith(("http://", "https://")) else _by_fsspec
    with how(address, start, seconds) as stream:
        yield stream


@contextlib.contextmanager
def _by_http(address: str, start: int, seconds: float) -> Iterator[Stream]:
    if not (download.has_answered(address) or download.reachable([address])[0]):
        raise NoAnswer("no connection")
    try:
        answer = web.get(_quoted(address), start, seconds)
    except urllib.error.HTTPError as error:
        error.close()
        _refused(address, error)
    except (OSError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise NoAnswer(str(reason) or type(error).__name__) from error
    with answer:
        begun = start if answer.status == 206 else 0
        length = answer.headers.get("Content-Length", "")
        if not length.isdecimal():
            raise T2IError(f"the server of '{address}' does not say how large its files are", code=1)
        yield Stream(begun, begun + int(length), _of_connection(answer))


def _quoted(address: str) -> str:
    return urllib.parse.quote(address, safe=":/%[]")


def _refused(address: str, error: urllib.error.HTTPError) -> NoReturn:
    if error.code in (404, 410):
        raise NotThere(f"there is nothing at '{address}'") from error
    if error.code in (401, 403):
        raise T2IError(f"the server refuses to give '{address}': {error.code} {error.reason}", code=1) from error
    raise NoAnswer(f"{error.code} {error.reason}") from error


def _of_connection(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    try:
        while block := answer.read(1 << 18):
            yield block
    except (OSError, http.client.HTTPException) as error:
        raise NoAnswer(str(error) or type(error).__name__) from error


@contextlib.contextmanager
def _by_fsspec(address: str, start: int, seconds: float) -> Iterator[Stream]:
    files, path = _file_system(address)  # each time: fsspec keeps what may be kept, and makes another after a fork
    if address.startswith("s3://"):
        _answered(address, files.connect, SECONDS)  # asks nobody yet, and takes seconds of a busy machine
    total = int(_answered(address, lambda: files.info(path), seconds)["size"])

    def blocks() -> Iterator[bytes]:
        for begin in range(start, total, BLOCK):
            end = min(begin + BLOCK, total)
            block = _answered(address, partial(files.cat_file, path, start=begin, end=end), SECONDS)
            yield block
            if len(block) < end - begin:
                raise NoAnswer(f"only {begin + len(block)} of {total} bytes came")

    yield Stream(start, total, blocks())


def _file_system(address: str) -> tuple[Any, str]:
    scheme = address.partition("://")[0]
    needed = extras.with_module({"s3": "s3fs"}.get(scheme, "fsspec"))
    hint = f"run: t2i install 't2icli[{needed}]'" if scheme == "s3" and needed else None
    try:
        from fsspec.core import url_to_fs
        from fsspec.registry import known_implementations
    except ImportError as error:
        raise T2IError(
            "reading data at an address needs fsspec", hint or "run: t2i install 't2icli[stream]'"
        ) from error
    try:
        options = {**OPTIONS.get(scheme, {}), "use_listings_cache": False, "skip_instance_cache": False}
        files, path = url_to_fs(address, **options)
    except ImportError as error:
        raise T2IError(f"reading {scheme}:// needs another package: {error}", hint) from error
    except ValueError as error:
        if scheme in known_implementations:
            raise
        raise T2IError(
            f"there is no kind of store called '{scheme}'", "such as s3://, gs://, az://, https://"
        ) from error
    return files, path


def _answered(address: str, ask: Callable[[], T], seconds: float) -> T:
    """What a store answers. One that does not in time, whatever its own client waits for, is left behind."""
    outcome: list[Any] = []
    problems: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(ask())
        except BaseException as error:
            problems.append(error)

    asking = threading.Thread(target=run, daemon=True)
    asking.start()
    asking.join(seconds)
    if outcome:
        return outcome[0]  # type: ignore[no-any-return]
    if not problems:
        raise NoAnswer(f"no answer for {seconds:.0f} seconds")
    _explain(address, problems[0])


def _explain(address: str, error: BaseException) -> NoReturn:
    """A store's error as ours: what another try cannot mend, and what it may."""
    if isinstance(error, T2IError):
        raise error
    reason = re.sub(r"\s+", " ", str(error)).strip() or type(error).__name__
    if type(error).__name__ in MISSING_SECRETS:
        hint = (
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE; for a public bucket: FSSPEC_S3_ANON=true"
        )
        hint = hint if address.startswith("s3:") else "see the documentation of the store's own tools"
        raise T2IError(f"there are no credentials for '{address}': {reason}", hint) from error
    if isinstance(error, FileNotFoundError):
        raise NotThere(f"there is nothing at '{address}': {reason}") from error
    if isinstance(error, PermissionError):
        raise T2IError(f"the store refuses to give '{address}': {reason}", "check the credentials") from error
    if not isinstance(error, Exception):
        raise error
    raise NoAnswer(reason) from error
