"""Which addresses are somebody's out there: by our own table, the same on every Python."""

from __future__ import annotations

import pytest

from t2icli.prepare.guard import INNER_V4, SPECIAL_V4, SPECIAL_V6, is_public

SPECIAL = """
0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.100.100.200 100.127.255.255 127.0.0.1 127.1.2.3 169.254.169.254
172.16.0.1 172.31.255.255 192.0.0.1 192.0.0.8 192.0.0.9 192.0.0.10 192.0.0.170 192.0.0.192 192.0.2.1 192.31.196.1
192.52.193.1 192.88.99.1 192.168.0.1 192.175.48.1 198.18.0.1 198.19.255.255 198.51.100.7 203.0.113.9 224.0.0.1
239.255.255.255 240.0.0.1 255.255.255.255 168.63.129.16
:: ::1 ::127.0.0.1 ::8.8.8.8 ::ffff:127.0.0.1 ::ffff:7f00:1 ::ffff:10.0.0.1 ::ffff:192.0.0.192 ::ffff:168.63.129.16
::ffff:0:127.0.0.1 64:ff9b::127.0.0.1 64:ff9b::a9fe:a9fe 64:ff9b::192.0.0.192 64:ff9b:1::1 64:ff9b:1::8.8.8.8
64:ff9b:1:ffff:ffff:ffff:808:808 64:ff9b:2::1 100::1 100:0:0:1::1 1fff::1 2001::1 2001:0:808:808:0:ffff:f7f7:f7f7
2001:1::1 2001:2::1 2001:3::1 2001:4:112::1 2001:10::1 2001:20::1 2001:30::1 2001:1ff:ffff::1 2001:db8::1 2002::1
2002:7f00:1:: 2002:a9fe:a9fe::1 2002:808:808::1 2620:4f:8000::1 3fff::1 3fff:fff:ffff::1 4000::1 5f00::1 fc00::1
fd00:ec2::254 fdff::1 fe80::1 fe80::1%eth0 febf::1 fec0::1 feff::1 ff02::1 ff0e::1 fe80::5efe:10.0.0.1
""".split()

PUBLIC = """
1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 169.253.255.255 169.255.0.0
172.15.255.255 172.32.0.0 192.0.1.0 192.0.3.0 192.88.98.255 192.88.100.0 192.167.255.255 192.169.0.0 198.17.255.255
198.20.0.0 203.0.112.255 223.255.255.255 168.63.129.15 168.63.129.17
::ffff:8.8.8.8 64:ff9b::8.8.8.8 2000::1 2001:200::1 2001:4860:4860::8888 2003::1 2606:4700::1111 2620:4f:8001::1
3ffe::1 3fff:1000::1 2a00:1450::1%3
""".split()


@pytest.mark.parametrize("address", SPECIAL)
def test_special_addresses_are_nobodys(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_all_others_are_somebodys(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("network", [*SPECIAL_V4, *SPECIAL_V6], ids=str)
def test_a_special_network_is_refused_from_its_first_to_its_last_address(network: object) -> None:
    first, last = network[0], network[-1]  # type: ignore[index]
    assert not is_public(str(first)) and not is_public(str(last))


@pytest.mark.parametrize("network", SPECIAL_V4, ids=str)
@pytest.mark.parametrize("outer", INNER_V4, ids=str)
def test_an_ipv4_address_inside_an_ipv6_one_is_judged_as_itself(outer: object, network: object) -> None:
    for inner in (network[0], network[-1]):  # type: ignore[index]
        assert not is_public(str(outer[int(inner)]))  # type: ignore[index]
