from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

import aiohttp
import pytest

from t2icli.prepare.fetch import Fetcher, retry_after
from t2icli.prepare.outcome import Refused
from t2icli.prepare.settings import FetchLimits

assert aiohttp  # imported here, so that its second does not count in the first test
FAST: dict[str, Any] = {"timeout": 0.3, "wait": 0.01, "max_wait": 0.1, "max_bytes": 1 << 20, "allow_private": True}


async def _as_it_is(body: bytes) -> bytes:
    return body


def get(*addresses: str, **limits: Any) -> list[tuple[str, int]]:
    """What became of each address: `ok` or the reason, and the number of tries."""

    async def one(fetcher: Fetcher, address: str) -> tuple[str, int]:
        try:
            return "ok", (await fetcher.get(address, _as_it_is))[1]
        except Refused as refused:
            return refused.reason, refused.tries

    async def every() -> list[tuple[str, int]]:
        async with Fetcher(FetchLimits(**{**FAST, **limits})) as fetcher:
            return await asyncio.gather(*(one(fetcher, address) for address in addresses))

    return asyncio.run(every())


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/good/1", ("ok", 1)),
        ("/404", ("http-404", 1)),
        ("/403", ("http-403", 1)),
        ("/500", ("http-500", 3)),
        ("/flaky", ("ok", 3)),
        ("/busy", ("ok", 2)),
        ("/busy-for-ever", ("http-429", 3)),
        ("/noai", ("opted-out", 1)),
        ("/hang", ("timeout", 3)),
        ("/drip", ("timeout", 3)),
        ("/endless", ("too-many-bytes", 1)),
        ("/lying-length", ("too-many-bytes", 1)),
        ("/cut", ("cut", 3)),
        ("/reset", ("reset", 3)),
        ("/nonsense", ("broken-answer", 3)),
        ("/loop", ("too-many-redirects", 1)),
        ("/to/good/1", ("ok", 1)),
        ("/to/file:///etc/hostname", ("bad-redirect", 1)),
        ("/好吃/图 片.jpg", ("ok", 1)),
    ],
)
def test_every_address_ends_with_a_body_or_a_reason(server: Any, path: str, expected: tuple[str, int]) -> None:
    server.bodies["/好吃/图 片.jpg"] = b"x"
    started = time.monotonic()
    assert get(server.url(path)) == [expected]
    assert time.monotonic() - started < 4
    assert sum(server.hits.values()) <= 7


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("", "bad-url"),
        ("noodles.jpg", "bad-url"),
        ("/etc/passwd", "bad-url"),
        ("http://", "bad-url"),
        ("http://[::1", "bad-url"),
        ("http://a\nb/", "bad-url"),
        ("http://a:99999/", "bad-url"),
        ("file:///etc/hostname", "bad-scheme"),
        ("s3://bucket/key.jpg", "bad-scheme"),
        ("ftp://host/x.jpg", "bad-scheme"),
        ("http://no-such-host.invalid/x.jpg", "dns"),
    ],
)
def test_addresses_that_are_none_are_told_apart(address: str, reason: str) -> None:
    assert get(address)[0][0] == reason


def test_a_closed_port_is_refused() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        assert get(f"http://127.0.0.1:{taken.getsockname()[1]}/") == [("refused", 3)]


@pytest.mark.parametrize(
    "host",
    "127.0.0.1 localhost 0.0.0.0 [::1] [::ffff:127.0.0.1] 10.0.0.1 192.168.1.1 169.254.169.254 100.100.100.200 "
    "[fe80::1] [fd00:ec2::254] [64:ff9b::a9fe:a9fe] [2002:7f00:1::] 224.0.0.1 168.63.129.16".split(),
)
def test_private_addresses_are_refused_at_the_socket(server: Any, host: str) -> None:
    assert get(f"http://{host}:{server.port}/good/1", allow_private=False, tries=1) == [("blocked-address", 1)]
    assert not server.hits


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "127.1"])
def test_odd_spellings_of_the_local_address_do_not_get_through(server: Any, host: str) -> None:
    assert get(f"http://{host}:{server.port}/good/1", allow_private=False, tries=1)[0][0] != "ok"
    assert not server.hits


def test_a_redirect_to_a_private_address_is_refused(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # The first address passes as public, the one it leads to does not.
    from t2icli.prepare import guard

    monkeypatch.setattr(guard, "is_public", lambda address: address == "127.0.0.1")
    assert get(server.url(f"/to/http://[::1]:{server.port}/good/1"), allow_private=False, tries=1) == [
        ("blocked-address", 1)
    ]
    assert list(server.hits) == [f"/to/http://[::1]:{server.port}/good/1"]


def test_no_more_than_the_limit_are_asked_of_one_host_at_once(server: Any) -> None:
    server.delay = 0.02
    assert get(*(server.url(f"/good/{i}") for i in range(12)), per_host=3) == [("ok", 1)] * 12
    assert server.most_at_once == 3


def test_a_slow_host_does_not_keep_others_from_their_turn(server: Any) -> None:
    slow = [server.url("/hang") for _ in range(6)]
    fast = [f"http://localhost:{server.port}/good/{i}" for i in range(6)]
    started = time.monotonic()
    found: list[float] = []

    async def every() -> None:
        async def one(address: str) -> None:
            try:
                await fetcher.get(address, _as_it_is)
                found.append(time.monotonic() - started)
            except Refused:
                pass

        async with Fetcher(FetchLimits(**{**FAST, "per_host": 2, "concurrency": 4, "tries": 1})) as fetcher:
            await asyncio.gather(*map(one, slow + fast))

    asyncio.run(every())
    assert len(found) == 6 and max(found) < 0.3


def test_an_owner_may_be_asked_all_the_same(server: Any) -> None:
    assert get(server.url("/noai"), opt_out=False) == [("ok", 1)]


@pytest.mark.parametrize(("value", "seconds"), [("7", 7.0), ("0.5", 0.5), ("soon", None), ("", None)])
def test_retry_after_is_read(value: str, seconds: float | None) -> None:
    assert retry_after({"Retry-After": value}) == seconds


def test_retry_after_may_be_a_date() -> None:
    assert retry_after({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0.0
