"""Fetching images from any server: every address ends with bytes or a reason, in bounded time and memory."""

from __future__ import annotations

import asyncio
import email.utils
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from t2icli.ground.errors import T2IError
from t2icli.prepare.guard import BlockedAddress, socket_maker
from t2icli.prepare.outcome import Refused, dropped
from t2icli.prepare.settings import FetchLimits

if TYPE_CHECKING:
    import aiohttp

T = TypeVar("T")
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
OPT_OUT = frozenset({"noai", "noimageai", "noindex", "noimageindex", "none"})
BLOCK = 1 << 16
IDLE = 1.0
"""Seconds a connection is kept for the next image of its host: at thousands of hosts a second they add up."""
HOSTS = 10_000
"""Hosts remembered for their limits; beyond that, idle ones are forgotten."""


class Passing(Exception):
    """A failure that may pass: worth another try, after `wait` seconds if the server said so."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait = wait


class Fetcher:
    """One session for many addresses; `get` may be called for all of them at once."""

    def __init__(self, limits: FetchLimits) -> None:
        self.limits = limits
        self._slots = asyncio.Semaphore(limits.concurrency)
        self._hosts: dict[str, asyncio.Semaphore] = {}
        self._opened: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Fetcher:
        return self

    def _session(self) -> aiohttp.ClientSession:
        """Opened by the first address: local data needs no aiohttp."""
        if self._opened is None:
            self._opened = self._open()
        return self._opened

    def _open(self) -> aiohttp.ClientSession:
        if os.environ.get("T2I_OFFLINE"):
            raise T2IError("images cannot be fetched: offline because of --offline or T2I_OFFLINE", code=1)
        try:
            import aiohttp
        except ImportError as error:
            raise T2IError("fetching images needs aiohttp", "run: t2i install 't2icli[data]'") from error
        connector = aiohttp.TCPConnector(
            limit=0, keepalive_timeout=IDLE, socket_factory=socket_maker(self.limits.allow_private)
        )
        return aiohttp.ClientSession(
            connector=connector,
            # Compressed bodies could grow a thousandfold after the byte cap; images are compressed already.
            headers={"User-Agent": self.limits.agent, "Accept": "image/*,*/*;q=0.5", "Accept-Encoding": "identity"},
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=self.limits.timeout),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._opened is not None:
            await self._opened.close()

    async def get(self, address: str, use: Callable[[bytes], Awaitable[T]]) -> tuple[T, int]:
        """What `use` returns for the body behind an address, and the number of tries; or `Refused`.

        The place is held until `use` is done, so bodies never pile up before slow decoding.
        """
        url = parsed(address)
        for tries in range(1, self.limits.tries + 1):
            try:
                # A place at the host first: waiting for a slow host must not keep others from their turn.
                async with self._host(url.host or ""), self._slots:
                    return await use(await self._try(url)), tries
            except Refused as refused:
                raise Refused(refused.reason, refused.status, tries, refused.size) from refused
            except Passing as passing:
                if tries == self.limits.tries:
                    raise Refused(passing.reason, tries=tries) from passing
                await asyncio.sleep(self._pause(passing, tries))
        raise AssertionError("unreachable")

    def _pause(self, passing: Passing, tries: int) -> float:
        seconds = self.limits.wait * 2 ** (tries - 1) if passing.wait is None else passing.wait
        return min(seconds, self.limits.max_wait)

    def _host(self, host: str) -> asyncio.Semaphore:
        if len(self._hosts) > HOSTS:
            self._hosts = {name: limit for name, limit in self._hosts.items() if limit.locked()}
        return self._hosts.setdefault(host, asyncio.Semaphore(self.limits.per_host))

    async def _try(self, url: Any) -> bytes:
        """One request; every way it can go wrong becomes a reason."""
        import aiohttp

        try:
            async with self._session().get(url, max_redirects=self.limits.redirects) as answer:
                self._check(answer)
                return await self._body(answer)
        except asyncio.TimeoutError as error:
            raise Passing("timeout") from error
        except aiohttp.TooManyRedirects as error:
            raise Refused("too-many-redirects") from error
        except (aiohttp.InvalidURL, aiohttp.RedirectClientError, aiohttp.NonHttpUrlClientError) as error:
            raise Refused("bad-redirect") from error  # the address itself was looked at before
        except aiohttp.ClientPayloadError as error:
            raise Passing("cut") from error
        except (aiohttp.ClientError, OSError) as error:
            raise _explained(error) from error
        except ValueError as error:  # a literal address that is none, a header that is too long
            raise Refused("bad-url") from error

    def _check(self, answer: aiohttp.ClientResponse) -> None:
        if answer.status in PASSING:
            raise Passing(f"http-{answer.status}", retry_after(answer.headers))
        if answer.status != 200:
            raise Refused(f"http-{answer.status}")
        if self.limits.opt_out and opted_out(answer.headers):
            raise dropped("opted-out")
        if (answer.content_length or 0) > self.limits.max_bytes:
            raise Refused("too-many-bytes")

    async def _body(self, answer: aiohttp.ClientResponse) -> bytes:
        body = bytearray()
        async for block in answer.content.iter_chunked(BLOCK):
            body += block
            if len(body) > self.limits.max_bytes:
                answer.close()
                raise Refused("too-many-bytes")
        return bytes(body)


def parsed(address: str) -> Any:
    """An address with Chinese characters and spaces escaped; only http and https."""
    import yarl

    try:
        url = yarl.URL(address.strip())
    except ValueError as error:
        raise Refused("bad-url") from error
    if not url.scheme or not address.isprintable():
        raise Refused("bad-url")
    if url.scheme not in ("http", "https"):
        raise Refused("bad-scheme")
    if not url.host:
        raise Refused("bad-url")
    return url


def _explained(error: BaseException) -> Exception:
    """The reason behind a connection that did not come about or broke."""
    import aiohttp

    causes = _chain(error)
    if any(isinstance(cause, BlockedAddress) for cause in causes):
        return Refused("blocked-address")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return Refused("dns")
    if isinstance(error, aiohttp.ClientSSLError):
        return Refused("tls")
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return Passing("refused")
    if isinstance(error, (aiohttp.ServerDisconnectedError, ConnectionResetError, aiohttp.ClientOSError)):
        return Passing("reset")
    return Passing("broken-answer")


def _chain(error: BaseException | None) -> list[BaseException]:
    """An error, what it came from, and all errors of a group: happy eyeballs tries several addresses."""
    errors: list[BaseException] = []
    while error is not None:
        errors += [error, *getattr(error, "exceptions", ())]
        if isinstance(os_error := getattr(error, "os_error", None), BaseException):
            errors += [os_error, *getattr(os_error, "exceptions", ())]
        error = error.__cause__ or error.__context__
    return errors


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds the server asked us to wait: a number or a date."""
    value = headers.get("Retry-After", "").strip()
    if not value:
        return None
    if value.replace(".", "", 1).isdecimal():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None


def opted_out(headers: Any) -> bool:
    """Whether the owner asks machines to keep away: `X-Robots-Tag: noai`, also `somebot: noai`, and TDM's header."""
    if headers.get("TDM-Reservation", "").strip() == "1":
        return True
    tags = ",".join(headers.getall("X-Robots-Tag", [])).lower()
    return any(tag.rpartition(":")[2].strip() in OPT_OUT for tag in tags.split(","))
