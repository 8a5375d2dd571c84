"""report.html: one page that shows what a dataset is like and what was dropped. Nothing is loaded from elsewhere."""

from __future__ import annotations

import html
from importlib.resources import files as package_files
from pathlib import Path
from string import Template

from t2icli.data import places
from t2icli.data.dataset import PreparedDataset
from t2icli.ground import files
from t2icli.pictures.found import thumbnail
from t2icli.prepare import report
from t2icli.prepare.portrait import Portrait, histogram, portrait

NAME = "report.html"
BINS = 20
"""As in the plot of caption lengths that ClipCap-Chinese published; so are the colours."""
WORDS = 60
THUMBNAILS = 60
SIDE = 160


def write_page(data: PreparedDataset) -> Path:
    """Write the page beside the shards."""
    return files.write(data.folder / NAME, page(data))


def page(data: PreparedDataset) -> str:
    drawn = portrait(data)
    short = [min(size) for size in zip(drawn.widths, drawn.heights, strict=True)]
    aspects = [width / height for width, height in zip(drawn.widths, drawn.heights, strict=True)]
    card = data.card
    about = " · ".join(filter(None, (card.about, card.source, card.licence, f"sha256 {data.sha256[:16]}")))
    return Template(package_files("t2icli.prepare").joinpath("page.html").read_text(encoding="utf-8")).substitute(
        title=html.escape(places.title(data.folder.resolve())),
        about=html.escape(about),
        facts=_facts(data, drawn),
        fates=_fates(card.counts),
        lengths=_bars(drawn.lengths, 0, _round_up(drawn.lengths)),
        aspects=_bars(aspects, 0.25, 4),
        sides=_bars(short, 0, _round_up(short)),
        scores=_scores(data),
        words=_words(drawn),
        sheet=_sheet(data),
    )


def _facts(data: PreparedDataset, drawn: Portrait) -> str:
    facts = {"pictures": len(data), "captions" if drawn.rows == len(data) else "captions looked at": drawn.captions}
    facts |= {split: len(data.split(split)) for split in ("train", "val", "test")}
    facts["shards"] = len(data.card.shards)
    return "".join(f'<div class="fact"><b>{count:,}</b><span>{name}</span></div>' for name, count in facts.items())


def _fates(counts: dict[str, int]) -> str:
    """A bar for each status and reason, the commonest first."""
    total = max(counts.values(), default=1)
    cells = []
    for name, count in sorted(counts.items(), key=lambda item: -item[1]):
        fill = f'<div class="fill {name.split()[0]}" style="width:{100 * count / total:.2f}%"></div>'
        cells.append(f'<div>{html.escape(name)}</div><div class="track">{fill}</div><div class="count">{count:,}</div>')
    return f'<div class="rows">{"".join(cells)}</div>'


def _bars(values: list[int] | list[float], low: float, high: float) -> str:
    """A histogram as SVG: 20 bars, the edges below, the highest count above."""
    if not values:
        return "<p>none</p>"
    counts, edges = histogram(values, BINS, low, high)
    width, top, bottom, highest = 24, 16, 150, max(counts)
    parts = [f'<text x="{BINS * width}" y="11" text-anchor="end">highest {highest:,}</text>']
    for i, count in enumerate(counts):
        tall = (bottom - top) * count / highest
        title = f"<title>{edges[i]:.4g} to {edges[i + 1]:.4g}: {count:,}</title>"
        parts.append(
            f'<rect x="{i * width}" y="{bottom - tall:.1f}" width="{width}" height="{tall:.1f}">{title}</rect>'
        )
    for i in range(0, BINS + 1, 4):
        place = "start" if i == 0 else "end" if i == BINS else "middle"
        parts.append(f'<text x="{i * width}" y="{bottom + 14}" text-anchor="{place}">{edges[i]:.3g}</text>')
    return f'<svg viewBox="0 0 {BINS * width} {bottom + 18}" role="img">{"".join(parts)}</svg>'


def _scores(data: PreparedDataset) -> str:
    """A histogram for each ranker, of all rows that it scored."""
    panels = []
    for name, values in report.scores(data.folder).items():
        bars = _bars(values.tolist(), float(values.min()), float(values.max()))
        panels.append(f'<section class="panel"><h2>Scores by {html.escape(name)}</h2>{bars}</section>\n')
    return "".join(panels)


def _round_up(values: list[int]) -> int:
    """A right edge that gives every bar the same whole numbers."""
    return -(-max(values, default=1) // BINS) * BINS


def _words(drawn: Portrait) -> str:
    most = drawn.words.most_common(WORDS)
    if not most:
        return "<p>none</p>"
    highest = most[0][1]
    cells = (
        f'<span style="font-size:{0.8 + 1.2 * (count / highest) ** 0.5:.2f}rem">{html.escape(word)}'
        f" <small>{count:,}</small></span>"
        for word, count in most
    )
    return f'<div class="words">{"".join(cells)}</div>'


def _sheet(data: PreparedDataset) -> str:
    n = min(THUMBNAILS, len(data))
    return f'<div class="sheet">{"".join(_figure(data, i * len(data) // n) for i in range(n))}</div>'


def _figure(data: PreparedDataset, i: int) -> str:
    caption = html.escape(" / ".join(data.captions(i)))
    title = f"{data.key(i)}, {data.size(i)[0]} x {data.size(i)[1]}: "
    return (
        f'<figure title="{html.escape(title)}{caption}"><img alt="{caption}" loading="lazy" '
        f'src="{thumbnail(data.image(i), SIDE)}"><figcaption>{caption}</figcaption></figure>'
    )
