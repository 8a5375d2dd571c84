"""docs/starter.md: what the starter is, then the figures that were measured, then what can be seen."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import table
from PIL import Image

PAGE = Path(__file__).parents[1] / "docs/starter.md"
CACHE = Path(__file__).parents[1] / "runs/bench/starter"
"""Of the checker, and of the figures, in a folder of that name."""
MOST = 150_000
"""Bytes of a contact sheet, which has to fit into the repository."""
TILE = 96

Figures = Mapping[str, Any]


class Goal(NamedTuple):
    what: str
    wanted: str
    reached: Callable[[Figures], str]
    """A KeyError where it was not measured."""


def _chosen(figures: Figures, name: str, k: int) -> Mapping[str, float]:
    """The row of a generator's best of k: by whoever chose it first in the table."""
    rows = figures[f"generator-{name}"]["rows"]
    found = next((row for row in rows if row["k"] == k), None)
    if found is None:
        raise KeyError(k)
    return found


def _shares(name: str, k: int) -> Callable[[Figures], str]:
    def reached(figures: Figures) -> str:
        row = _chosen(figures, name, k)
        return f"{row['visible']:.0f} / {row['every']:.0f} %"

    return reached


def _lowest(key: str) -> Callable[[Figures], str]:
    """At the first try, by generator."""

    def reached(figures: Figures) -> str:
        found = {name.removeprefix("generator-"): each for name, each in figures.items() if name.startswith("gen")}
        return ", ".join(
            f"{name} {each['rows'][0][key]:.0f} %" for name, each in found.items() if key in each["rows"][0]
        )

    return reached


def _distinct(figures: Figures) -> str:
    found = {name.removeprefix("generator-"): each for name, each in figures.items() if name.startswith("gen")}
    return ", ".join(f"{name} {min(each['distinct'].values())}" for name, each in found.items() if each["distinct"])


def _found(figures: Figures) -> str:
    among = figures["brivl"].items()
    return ", ".join(f"{each['text_to_image']['recall@1']:.0f} % of {count}" for count, each in among)


def _heard(key: str) -> Callable[[Figures], str]:
    """What benchmarks/audio.py found."""
    return lambda figures: f"{100 * figures['hearing'][key]:.1f} %"


GOALS = (
    Goal("codec, PSNR", ">= 31 dB", lambda figures: f"{figures['codec']['psnr']:.1f} dB"),
    Goal("codec, pixels", "240", lambda figures: str(figures["codec"]["size"])),
    Goal(
        "codec, sharpness of the true pictures'", "0.95 to 1.05", lambda figures: f"{figures['codec']['sharpness']:.2f}"
    ),
    Goal("dalle, best of 16: ingredients / all right", ">= 90 / 65 %", _shares("dalle", 16)),
    Goal("flow, first try: ingredients / all right", ">= 85 / 60 %", _shares("flow", 1)),
    Goal("clipgen, best of 16: ingredients / all right", ">= 60 / - %", _shares("clipgen", 16)),
    Goal("dalle2, best of 16: ingredients / all right", ">= 60 / - %", _shares("dalle2", 16)),
    Goal("vessel, first try", ">= 99 %", _lowest("vessel")),
    Goal("colour of the vessel where it is asked for, first try", "", _lowest("colour")),
    Goal("two or three where they are asked for, first try", "", _lowest("count")),
    Goal("different pictures of 16, the fewest of 20 prompts", "16", _distinct),
    Goal("brivl, R@1, text to image", ">= 97 % of 100, 75 % of 1000", _found),
    Goal(
        "clipcap: vessel / ingredients named",
        ">= 98 / 90 %",
        lambda figures: f"{figures['clipcap']['vessel']:.0f} / {figures['clipcap']['ingredients']:.0f} %",
    ),
    Goal("wavbrivl, R@1, sound to text", ">= 55 % of 600", _heard("to_text")),
    Goal("wavbrivl, R@1, sound to picture, of what the text reaches", ">= 75 %", _heard("to_picture")),
    Goal("drawn from sound, scores of what is drawn from text", ">= 85 %", _heard("drawn")),
    Goal(
        "prompts outside its world that get a note",
        ">= 18 of 20",
        lambda figures: f"{figures['honest']['said']} of {figures['honest']['of']}",
    ),
)


def sections(figures: Figures) -> dict[str, str]:
    """By title, those whose figures are there."""
    found = {"Goals": _goals(figures), "All systems": _systems(figures), "The parts": _parts(figures)}
    return {title: f"## {title}\n\n{text}\n\n{table.machine()}\n" for title, text in found.items() if text}


def publish(folder: Path, page: Path = PAGE) -> None:
    """Sections take the place of those on the page; what is written by hand in other sections stays."""
    text = page.read_text(encoding="utf-8")
    for title, section in sections(load(folder)).items():
        print(section)
        text = table.with_section(text, title, section)
    page.write_text(text, encoding="utf-8")
    for path in sorted(folder.glob("*.webp")):
        shutil.copyfile(path, page.parent / "pictures" / path.name)


def _goals(figures: Figures) -> str:
    rows = []
    for goal in GOALS:
        try:
            rows.append([goal.what, goal.wanted, goal.reached(figures)])
        except KeyError:
            rows.append([goal.what, goal.wanted, ""])
    return f"Cells are empty where nothing was measured.\n\n{table.as_markdown(['', 'goal', 'reached'], rows)}"


COLUMNS = {
    "vessel": "vessel", "visible": "ingredients", "every": "all right", "strange": "unasked",
    "r_precision": "R-precision", "colour": "colour", "count": "count", "bare": "bare", "fd": "FD", "seconds": "CPU s",
}  # fmt: skip


def _systems(figures: Figures) -> str:
    names = [name for name in figures if name.startswith("generator-")]
    if not names:
        return ""
    about = f"""{figures[names[0]]["prompts"]} held-out names. In percent: the vessel is right; the named ingredients \
that can be seen; pictures where vessel, count and every named ingredient are right; R-precision, pictures that fit \
their own name better than all others; and of names that ask for them, colour and count that are right. Unasked are \
ingredients in each picture that nobody asked for. FD is the Frechet distance from true pictures of the same names, on \
the checker's own features: to be compared within this table only. CPU s is for the one that is chosen, all its \
candidates and their ranking included. Bare are 43 names without an ingredient, such as 蛋糕 or 奶茶: the vessel and \
what fills it are right."""
    rows = [
        [name.removeprefix("generator-"), row["ranker"], row["k"], *(_figure(row, key) for key in COLUMNS)]
        for name in names
        for row in figures[name]["rows"]
    ]
    return f"{about}\n\n{table.as_markdown(['', 'chosen by', 'best of', *COLUMNS.values()], rows)}"


def _figure(row: Mapping[str, float], key: str) -> object:
    if key in ("fd", "seconds"):
        return row[key]
    return str(round(row[key], 2 if key == "strange" else 1)) if key in row else ""


SEEN = {"vessel": "vessel", "colour": "its colour", "count": "count", "look": "filling"}
CAPTIONS = {"vessel": "vessel named", "main": "first ingredient named", "ingredients": "ingredients named"}


def _parts(figures: Figures) -> str:
    if "checker" not in figures:
        return ""
    rows: list[list[object]] = []
    truth = figures["checker"]["true pictures"]
    codec = figures.get("codec")
    for what, found in (("true pictures", truth), *([("through the codec", codec["seen"])] if codec else [])):
        of = f"checker, {what}"
        rows += [[of, f"{said} right", f"{found[key]:.1f} %"] for key, said in SEEN.items()]
        rows.append([of, "ingredients that lie there and are seen", f"{found['recall']:.1f} %"])
        rows.append([of, "ingredients seen that do not lie there", f"{found['false_alarms']:.2f} in each picture"])
    if codec:
        rows.append(["codec", "PSNR, mean", f"{codec['psnr']:.1f} dB"])
        rows.append(["codec", "sharpness, of the true pictures'", f"{codec['sharpness']:.3f}"])
    for name in ("clip", "brivl"):
        for count, each in figures.get(name, {}).items():
            for side in ("text_to_image", "image_to_text"):
                rows.append([name, f"R@1 of {count}, {side.replace('_', ' ')}", f"{each[side]['recall@1']:.1f} %"])
    if "clipcap" in figures:
        rows += [["clipcap", what, f"{figures['clipcap'][key]:.1f} %"] for key, what in CAPTIONS.items()]
    worst = ", ".join(f"{key} {value:.0f} %" for key, value in list(truth["by_ingredient"].items())[:8])
    about = f"""On pictures of {truth["pictures"]} different held-out compositions. The checker sees least of: \
{worst}; it finds the rest more often."""
    return f"{about}\n\n{table.as_markdown(['part', 'what', ''], rows)}"


def sheet(rows: Sequence[Sequence[Image.Image]], path: Path, tile: int = TILE, most: int = MOST) -> None:
    """Pictures row by row in one file of at most so many bytes, if that can be."""
    gap = 2
    across = max(map(len, rows), default=1)
    size = (across * (tile + gap) - gap, max(1, len(rows) * (tile + gap) - gap))
    page = Image.new("RGB", size, "white")
    for y, row in enumerate(rows):
        for x, image in enumerate(row):
            small = image.resize((tile, tile), Image.Resampling.LANCZOS)
            page.paste(small, (x * (tile + gap), y * (tile + gap)))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_small(page, most))


def _small(page: Image.Image, most: int) -> bytes:
    for quality in range(88, 10, -12):
        stream = io.BytesIO()
        page.save(stream, "WEBP", quality=quality, method=5)
        if stream.tell() <= most:
            break
    return stream.getvalue()


def save(folder: Path, name: str, found: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(found, ensure_ascii=False, indent=1), encoding="utf-8")


def load(folder: Path) -> dict[str, Any]:
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}
