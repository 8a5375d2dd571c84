"""A page of pictures that were found: one file with everything in it. Everything in it is escaped."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from html import escape
from importlib.resources import files
from string import Template
from typing import NamedTuple

from PIL import Image

from t2icli.pictures import prompts

SIDE = 320
PAGE = Template("""<!doctype html>
<html lang="mul">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title · t2i</title>
<style>
$style
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 12px; overflow: hidden; }
figure img { width: 100%; aspect-ratio: 1; object-fit: contain; background: var(--line); display: block; }
figure p { margin: 0; padding: 0 .8rem .7rem; font-size: .85rem; overflow-wrap: anywhere; }
</style>
</head>
<body>
<header><b>t2i</b><span>$summary</span></header>
<main><section>
<h2 dir="auto">$prompt</h2>
<div class="pictures">
$figures
</div>
</section></main>
</body>
</html>
""")


class FoundPicture(NamedTuple):
    rank: int
    name: str
    score: float
    captions: tuple[str, ...]
    image: Image.Image


def page(prompt: str, summary: str, pictures: Iterable[FoundPicture]) -> str:
    """The page of all of them, best first; `summary` says where they are from."""
    return PAGE.substitute(
        title=escape(prompts.short(prompt)),
        style=files("t2icli").joinpath("gallery.css").read_text(encoding="utf-8"),
        summary=escape(summary),
        prompt=escape(prompt),
        figures="\n".join(map(_figure, pictures)),
    )


def _figure(found: FoundPicture) -> str:
    caption = escape(" / ".join(found.captions))
    address = thumbnail(found.image, SIDE)
    return (
        f'<figure title="{escape(found.name)}"><img alt="{caption}" loading="lazy" src="{address}">'
        f'<div class="caption"><span class="rank">{found.rank}</span><span class="score">{found.score:.4f}</span></div>'
        f'<p dir="auto">{caption or escape(found.name)}</p></figure>'
    )


def thumbnail(image: Image.Image, side: int) -> str:
    """A small copy of a picture as an address that holds the picture itself."""
    small, stream = image.convert("RGB"), io.BytesIO()
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    small.save(stream, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"
