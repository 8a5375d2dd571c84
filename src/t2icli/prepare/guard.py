"""Which addresses may be fetched from. The guard stands at the socket, where the address is final: names that
resolve to private addresses, literal addresses and redirects all come past it."""

from __future__ import annotations

import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

SPECIAL_V4 = tuple(
    map(
        IPv4Network,
        """
        0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24
        192.31.196.0/24 192.52.193.0/24 192.88.99.0/24 192.168.0.0/16 192.175.48.0/24 198.18.0.0/15 198.51.100.0/24
        203.0.113.0/24 224.0.0.0/4 240.0.0.0/4 168.63.129.16/32
        """.split(),
    )
)
"""IANA's registry of special-purpose IPv4 addresses, whole, and multicast. The last one is public by number, but inside
Azure it is the machine's own control service. Written out because Python's `is_global` changes between versions."""

UNICAST_V6 = IPv6Network("2000::/3")
"""All that IANA gives to networks out there; loopback, link-local, unique local, site-local, multicast, ::/96,
64:ff9b:1::/48, 100::/64 and 5f00::/16 lie outside."""

SPECIAL_V6 = tuple(map(IPv6Network, "2001::/23 2001:db8::/32 2002::/16 2620:4f:8000::/48 3fff::/20".split()))
"""What the registry reserves inside of that: Teredo, ORCHID, benchmarks and other protocols; examples; 6to4."""

INNER_V4 = (IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96"))
"""Another spelling of an IPv4 address, and the way to one from a network that has IPv6 alone (NAT64)."""


class BlockedAddress(OSError):
    """An address that must not be requested for a link in a dataset."""


def is_public(address: str) -> bool:
    """Whether an IP address is public, whatever form it is written in."""
    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address) and any(ip in network for network in INNER_V4):
        ip = IPv4Address(int(ip) & 0xFFFFFFFF)
    if isinstance(ip, IPv4Address):
        return not any(ip in network for network in SPECIAL_V4)
    return ip in UNICAST_V6 and not any(ip in network for network in SPECIAL_V6)


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
