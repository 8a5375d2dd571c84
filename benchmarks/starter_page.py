"""docs/starter.md: what the starter is, then the figures that were measured, then what can be seen."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import table
from PIL import Image

PAGE = Path(__file__).parents[1] / "docs/starter.md"
PICTURES = PAGE.parent / "pictures"
MOST = 150_000
"""Bytes of a contact sheet."""
TILE = 96


def record(title: str, about: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A section with a table; what is written by hand in other sections stays."""
    write(title, f"{about}\n\n{table.as_markdown(columns, rows)}\n\n{table.machine()}")


def write(title: str, text: str) -> None:
    section = f"## {title}\n\n{text}\n"
    print(section)
    PAGE.write_text(table.with_section(PAGE.read_text(encoding="utf-8"), title, section), encoding="utf-8")


def publish(figures: Mapping[str, Any]) -> None:
    """Every section whose figures are there."""
    generators = {name.removeprefix("generator-"): each for name, each in figures.items() if name.startswith("gen")}
    if generators:
        _systems(generators, figures["ceilings"])
    if "steps" in figures:
        _steps(figures["steps"])
    if "checker" in figures:
        _parts(figures)


def _systems(generators: Mapping[str, Any], ceilings: Mapping[str, Mapping[str, float]]) -> None:
    any_one = next(iter(generators.values()))
    few = max((each["subset"] for each in generators.values() if each["most"] > each["n"]), default=0)
    about = f"""{any_one["prompts"]} held-out names; rows with a star are for the first {few} alone. In percent: \
the vessel is right; the named ingredients that can be seen; pictures where the vessel and every named ingredient are \
right; R-precision, the pictures that fit their own name better than all others. FD is the Frechet distance from true \
renderings of the same names, on the checker's own features, one picture for each name: to be compared within this \
table only. CPU s is for the one picture that is chosen, all its candidates and their ranking included."""
    columns = ["", "chosen by", "best of", *FIGURES]
    rows = [[name, "", "", *_figures(each)] for name, each in ceilings.items()]
    for name, each in generators.items():
        for found in each["rows"]:
            star = "*" if found["prompts"] < each["prompts"] else ""
            rows.append([name, found["ranker"], f"{found['k']}{star}", *_figures(found)])
    record("All systems", about, columns, rows)


FIGURES = ("vessel", "ingredients", "all right", "R-precision", "FD", "CPU s")


def _figures(found: Mapping[str, float]) -> list[object]:
    shares = [round(found[key], 1) for key in ("vessel", "visible", "every", "r_precision")]
    return [*map(str, shares), found.get("fd", ""), found.get("seconds", "")]


def _steps(found: Mapping[str, Any]) -> None:
    about = f"""One picture of each of the first {found["prompts"]} names; as many steps in the prior as in \
both unets. Columns are those of the table above, FD for these names alone."""
    rows = [[each["steps"], *_figures(each)] for each in found["rows"]]
    record("DALL-E 2: steps against quality", about, ["steps", *FIGURES], rows)


def _parts(figures: Mapping[str, Any]) -> None:
    rows: list[list[object]] = []
    for what, found in figures["checker"].items():
        of = f"checker, {what}"
        rows += [
            [of, "vessel right", f"{found['vessel']:.1f} %"],
            [of, "vessel and what fills it right", f"{found['look']:.1f} %"],
            [of, "ingredients that lie there and are seen", f"{found['recall']:.1f} %"],
            [of, "ingredients seen that do not lie there", f"{found['false_alarms']:.2f} % of those absent"],
        ]
    if "codec" in figures:
        rows.append(["codec", "PSNR, mean", f"{figures['codec']['psnr']:.1f} dB"])
    for each in figures.get("rankers", ()):
        for side in ("text_to_image", "image_to_text"):
            rows.append([each["model"], f"R@1, {side.replace('_', ' ')}", f"{each[side]['recall@1']:.1f} %"])
    if "captioner" in figures:
        found = figures["captioner"]
        rows += [["captioner", what, f"{found[key]:.1f} %"] for key, what in CAPTIONS.items()]
    truth = figures["checker"]["true renderings"]
    worst = ", ".join(f"{key} {value:.0f} %" for key, value in list(truth["by_ingredient"].items())[:8])
    about = f"""On renderings of {truth["pictures"]} different held-out compositions. The checker sees least of: \
{worst}; it finds the rest more often."""
    record("The parts", about, ["part", "what", ""], rows)


CAPTIONS = {"vessel": "vessel named right", "main": "main ingredient named", "both": "both"}


def sheet(rows: Sequence[Sequence[Image.Image]], name: str, tile: int = TILE) -> Path:
    """Pictures row by row in one file, small enough for the repository."""
    gap = 2
    across = max(map(len, rows))
    size = (across * (tile + gap) - gap, len(rows) * (tile + gap) - gap)
    page = Image.new("RGB", size, "white")
    for y, row in enumerate(rows):
        for x, image in enumerate(row):
            small = image.resize((tile, tile), Image.Resampling.LANCZOS)
            page.paste(small, (x * (tile + gap), y * (tile + gap)))
    path = PICTURES / f"{name}.webp"
    path.write_bytes(_small(page))
    return path


def _small(page: Image.Image) -> bytes:
    for quality in range(88, 10, -12):
        stream = io.BytesIO()
        page.save(stream, "WEBP", quality=quality, method=5)
        if stream.tell() <= MOST:
            break
    return stream.getvalue()


def save(folder: Path, name: str, found: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(found, ensure_ascii=False, indent=1), encoding="utf-8")


def load(folder: Path) -> dict[str, Any]:
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}
