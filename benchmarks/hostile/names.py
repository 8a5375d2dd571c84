"""Names of files and folders, and words in lists, that a terminal or a browser would obey."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random

from cases import Case, Ended
from kills import pictures

NAMES = {
    "clears the screen": b"a\x1b[2J.png",
    "sets the title": b"a\x1b]0;owned\x07.png",
    "bytes that are no text": b"a\xff\xfe\x9b31m.png",
    "C1 controls": "a\x9b31m\x85.png".encode(),
    "turned around": "a\u202egnp.exe.png".encode(),
    "a newline and a message": b"a\nerror: owned\n.png",
    "a carriage return": b"a\rb\b\b.png",
    "marks of rich": b"[red]a[bold] :smile: [link=x].png",
    "marks of HTML": b"<script>alert(1)<!--'\" onerror=x>.png",
    "an option": b"--force.png",
    "a pattern": b"*[a-z]?{x,y}.png",
    "spaces alone": "  \u3000.png".encode(),
    "240 bytes": b"\xe9\x9d\xa2" * 78 + b".png",
}
COMMANDS: dict[str, Sequence[str]] = {
    "rerank": ["rerank", "红", "s", "-r", "colours"],
    "rerank --copy": ["rerank", "红", "s", "-r", "colours", "--copy", "c"],
    "prepare folder": ["prepare", "folder", "s", "--output", "out"],
}
RAW = re.compile(r"<script>alert|onerror=x>|\x1b|\x9b")


def names(random: Random, shared: Path) -> Iterator[Case]:
    for about, name in NAMES.items():
        for command, words in COMMANDS.items():
            yield Case(f"{command}: {about}", words, _files(name), (0, 3), megabytes=1000)
        damaged = _files(name, b"no picture")
        yield Case(f"no picture: {about}", ["rerank", "红", "s", "-r", "colours"], damaged, (1, 2, 3))
        yield Case(f"replay: {about}", [b"replay", b"--", b"s/" + name], damaged, (2,))
        prompt = name[:-4]
        words = [b"generate", b"-m", b"noise", b"-n", b"1", b"-o", b"size=8", b"--output", b"o", b"--", prompt]
        yield Case(f"prompt: {about}", words, codes=(0, 2), check=_page)
        rows = ["prepare", "folder", "s", "--output", "out"]
        yield Case(f"caption: {about}", rows, _caption(prompt), (0, 3))


def _files(name: bytes, content: bytes = b"") -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        pictures(folder / "s", 2)
        content_of = content or (folder / "s/0000.png").read_bytes()
        with open(os.fsencode(folder / "s") + b"/" + name, "wb") as file:
            file.write(content_of)

    return write


def _caption(text: bytes) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        pictures(folder / "s", 2)
        (folder / "s/0000.txt").write_bytes(text)

    return write


def _page(ended: Ended) -> str:
    pages = list((ended.folder / "o").glob("*.html")) + list((ended.folder / "o").glob("*.jsonl"))
    return "".join(
        f"{page.name} is not escaped" for page in pages if page.suffix == ".html" and RAW.search(_text(page))
    )


def _text(page: Path) -> str:
    return page.read_text(encoding="utf-8", errors="replace")
