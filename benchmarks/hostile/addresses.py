"""Forms of addresses that lead home, or to a cloud's own services: none may be asked.

All are rows of one table, which one run of `prepare` fetches. A listener on every address of this machine counts who
comes by; for addresses elsewhere the reason in the report says whether a connection was tried.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from random import Random

from cases import Case
from kills import Story

REFUSED = {"blocked-address", "bad-url", "bad-scheme", "dns", "bad-redirect", "", "unreadable-file", "outside-root"}
REFUSED |= {"bad-path", "no-image", "no-such-file"}
"""Reasons that no connection was tried for; the last ones are of forms that were taken for paths beside the table."""
HERE = """
127.0.0.1 127.1 127.0.1 127.0.0.1. 0 0.0.0.0 0x7f000001 0x7F.0.0.1 0x7f.1 2130706433 017700000001 0177.0.0.1 0177.1
00000177.0.0.1 127.000.000.001 127.255.255.254 4294967295 [::] [::1] [0:0:0:0:0:0:0:1] [0000::0001] [::ffff:127.0.0.1]
[::ffff:7f00:1] [::ffff:0:7f00:1] [::127.0.0.1] [::7f00:1] [64:ff9b::7f00:1] [64:ff9b:1::7f00:1] [2002:7f00:1::]
[::1%25lo] [::1%lo] [fe80::1%25lo] localhost LOCALHOST localhost. LocalHost.localdomain ip6-localhost ip6-loopback
%31%32%37.0.0.1 %6cocalhost １２７.０.０.１ ①②⑦.⓪.⓪.① 127。0。0。1 127．0．0．1 ｌｏｃａｌｈｏｓｔ
ℓocalhost loc\u00adalhost lo\u200bcalhost
user:password@127.0.0.1 8.8.8.8@127.0.0.1 8.8.8.8%40127.0.0.1 8.8.8.8\\@127.0.0.1 127.0.0.1\\@8.8.8.8
127.0.0.1%00.example.org 127.0.0.1%09 127.0.0.1%23.example.org [127.0.0.1] [::1].example.org [::1]@127.0.0.1
""".split()
"""Hosts that may be this machine, to which the listener's port is added."""
THERE = """
http://169.254.169.254/latest/meta-data/ http://2852039166/ http://0xa9fea9fe/ http://0251.0376.0251.0376/
http://[::ffff:a9fe:a9fe]/ http://[64:ff9b::169.254.169.254]/ http://[fd00:ec2::254]/ http://100.100.100.200/
http://metadata.google.internal/ http://192.0.0.192/ http://168.63.129.16/ http://2822734096/ http://10.0.0.1/
http://192.168.1.1/ http://172.31.255.254/ http://224.0.0.1/ http://255.255.255.255/ http://[ff02::1]/ http://[fec0::1]/
http://[3fff::1]/ http://[5f00::1]/ http://[100::1]/ http://[2001:db8::1]/ http://198.18.0.1/ http://240.0.0.1/
file:///etc/passwd FILE:///etc/passwd ftp://127.0.0.1/ gopher://127.0.0.1:6379/_x data:image/png;base64,AAAA
http+unix://%2Fvar%2Frun%2Fdocker.sock/ http://unix:/var/run/docker.sock:/x javascript:1 //127.0.0.1/ http:127.0.0.1
http:///127.0.0.1 http:/\\127.0.0.1 ///etc/passwd http://127.0.0.1:99999/ http://127.0.0.1:-80/ http://[::1/
""".split()


class Listener:
    """Counts connections to one port, on every address of this machine."""

    def __init__(self) -> None:
        self.reached = 0
        self.socket = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self._count, daemon=True).start()

    def _count(self) -> None:
        while True:
            try:
                self.socket.accept()[0].close()
            except OSError:
                return
            self.reached += 1


def own_addresses() -> list[str]:
    """Names and numbers of this machine that others on its network know."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # nothing is sent
            number = probe.getsockname()[0]
        except OSError:
            number = "127.0.0.1"
    return [socket.gethostname(), number]


def addresses(random: Random, shared: Path) -> Iterator[Story]:
    listener = Listener()
    forms = [f"http://{host}:{listener.port}/x" for host in [*HERE, *own_addresses()]] + THERE
    random.shuffle(forms)
    (shared / "a.jsonl").write_bytes(_lines(forms))
    words = ["prepare", "jsonl", "a.jsonl", "--output", "out", "--val", "0"]
    words += ["-o", "fetch.timeout=5", "-o", "fetch.tries=1"]
    proxy = f"http://127.0.0.1:{listener.port}"
    case = Case("", words, environment={"http_proxy": proxy, "HTTPS_PROXY": proxy, "ALL_PROXY": proxy}, seconds=300)
    found = case.run(shared)
    reasons = _reasons(shared / "out") if not found else {}
    yield Story("the run over all of them, with a proxy named by the environment", lambda folder: found)
    yield Story(
        "connections to this machine", lambda folder: [f"{listener.reached} connections"] * bool(listener.reached)
    )
    for number, form in enumerate(forms):
        reason = reasons.get(number, "not in the report")
        yield Story(ascii(form), lambda folder, reason=reason: [reason] * (reason not in REFUSED))
    listener.socket.close()


def _lines(forms: list[str]) -> bytes:
    import json

    return "".join(f"{json.dumps({'image': form, 'caption': 'x'})}\n" for form in forms).encode()


def _reasons(output: Path) -> dict[int, str]:
    """Why each row failed; "stored" where it did not."""
    from t2icli.prepare import report

    return {row.row: "stored" if row.status == "ok" else row.reason for row in report.every_row(output)}
