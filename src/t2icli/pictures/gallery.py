"""The gallery `index.html`: one file without any address outside its folder. Everything in it is escaped."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from string import Template
from typing import Any
from urllib.parse import quote

from t2icli.pictures import prompts

Row = Mapping[str, Any]


def name(number: int) -> str:
    """The file of a page."""
    return "index.html" if number == 1 else f"index-{number}.html"


def page(rows: Sequence[Row], about: str, number: int = 1, pages: int = 1) -> str:
    """A page with these kept rows of `results.jsonl`; `about` stands above the pictures of every page."""
    template = Template(_read("gallery.html"))
    groups = _groups(rows)
    first = rows[0]["prompt"] if rows else "nothing yet"
    return template.substitute(
        style=_read("gallery.css"),
        title=escape(f"{prompts.short(first)} · t2i"),
        summary=escape(about),
        pages=_pages(number, pages),
        sections="\n".join(map(_section, groups)),
    )


def _read(name: str) -> str:
    return files("t2icli").joinpath(name).read_text(encoding="utf-8")


def _groups(rows: Sequence[Row]) -> list[list[Row]]:
    """The pictures of one prompt in one run: their ranks rise, but for those that are the same as an earlier one."""
    groups: list[list[Row]] = []
    for row in rows:
        before = groups[-1][-1] if groups else None
        follows = before and (row["rank"] > before["rank"] or row.get("same_as") is not None)
        if before and follows and row["prompt"] == before["prompt"]:
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups


def _pages(number: int, pages: int) -> str:
    """Links to the other pages."""
    if pages == 1:
        return ""
    shown = sorted({1, *range(max(1, number - 3), min(pages, number + 3) + 1), pages})
    links = (f"<b>{each}</b>" if each == number else f'<a href="{name(each)}">{each}</a>' for each in shown)
    return f'<nav class="pages">{" ".join(links)}</nav>'


def summary(files: int, candidates: int, distinct: int) -> str:
    """How many pictures there are, of how many that were drawn, and how many of those are no duplicates."""
    pictures = f"{files} picture{'s' * (files != 1)}"
    best = "" if candidates == files else f", the best of {candidates}"
    return f"{pictures}{best}" if distinct == candidates else f"{pictures}{best}, of which {distinct} are distinct"


def _section(rows: Sequence[Row]) -> str:
    cards = "\n".join(_card(row, rows) for row in rows)
    return (
        f'<section>\n<h2 dir="auto">{escape(rows[0]["prompt"])}</h2>\n'
        f'<p class="about">{escape(str(rows[0]["model"]))}</p>\n<div class="pictures">\n{cards}\n</div>\n</section>'
    )


def _card(row: Row, group: Sequence[Row]) -> str:
    score = "" if row["score"] is None else f'<span class="score">{row["score"]:.4f}</span>'
    address = escape(quote(row["file"], safe=""))  # a colon too: no name can act as `javascript:`
    replay = escape(f"t2i replay {shlex.quote(row['file'])}")
    return (
        f'<a class="card" href="{address}" data-prompt="{escape(row["prompt"])}" data-replay="{replay}" '
        f'data-facts="{escape(json.dumps(_facts(row), ensure_ascii=False))}">\n'
        f'<img src="{address}" alt="{escape(prompts.short(row["prompt"], 200))}" loading="lazy">{_bar(row, group)}\n'
        f'<span class="caption"><span class="rank">{escape(str(row["rank"]))}</span>{score}'
        f'<span class="seed">seed {escape(str(row["seed"]))}</span></span></a>'
    )


def _bar(row: Row, group: Sequence[Row]) -> str:
    """How the score compares with the others of its prompt."""
    if row["score"] is None:
        return ""
    scores = [other["score"] for other in group if other["score"] is not None]
    low, high = min(scores), max(scores)
    share = (row["score"] - low) / (high - low) if 0 < high - low < math.inf else 1.0
    return f'<span class="bar"><i style="width:{max(2, round(100 * share))}%"></i></span>'


def _facts(row: Row) -> list[tuple[str, str]]:
    facts = [("file", row["file"]), ("rank", row["rank"]), ("seed", row["seed"]), ("model", row["model"])]
    if row["score"] is not None:
        facts.append(("score", f"{row['score']:.6g}"))
    if len(row["scores"]) > 1:
        facts += [(name, f"{score:.6g}") for name, score in row["scores"].items()]
    if row.get("same_as") is not None:
        facts.append(("same picture as", f"seed {row['same_as']}"))
    if row["sha256"]:
        facts.append(("model sha256", row["sha256"][:16]))
    return [(name, str(value)) for name, value in facts]
