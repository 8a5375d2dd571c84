"""Which addresses may be fetched from. The guard stands at the socket, where the address is final: names that
resolve to private addresses, literal addresses and redirects all come past it."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from typing import Any

CLOUD = frozenset({"168.63.129.16"})
"""Public by number, but inside a cloud it is the machine's own control service."""


class BlockedAddress(OSError):
    """An address that no stranger's link may make us ask."""


def is_public(address: str) -> bool:
    """Whether an IP address belongs to somebody out there, whatever form it is dressed in."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo or (None, None))[1] or _translated(ip)
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast and str(ip) not in CLOUD


def _translated(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address inside a NAT64 one, 64:ff9b::/96, or an old compatible one, ::/96."""
    if int(ip) >> 32 in (0x64FF9B << 64, 0) and int(ip) > 1:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return None


def socket_maker(allow_private: bool) -> Callable[[Any], socket.socket]:
    """How aiohttp opens sockets: only towards public addresses."""

    def make(info: Any) -> socket.socket:
        family, kind, protocol, _, address = info
        if not allow_private and not is_public(str(address[0])):
            raise BlockedAddress(f"{address[0]} is a private address")
        opened = socket.socket(family, kind, protocol)
        opened.setblocking(False)
        return opened

    return make
