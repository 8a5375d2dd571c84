"""Where measurements go: a table on the terminal, and a section of its own in docs/benchmarks.md."""

from __future__ import annotations

import platform
import re
from collections.abc import Sequence
from pathlib import Path

import torch

from t2icli.nn.devices import has_bf16

PAGE = Path(__file__).parents[1] / "docs/benchmarks.md"
HEAD = """# Benchmarks

Written by `make bench`. Each section was measured in one run: compare within a section, not across sections.
"""


def record(title: str, about: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Show a table, and let it take the place of the section of that title on the page."""
    section = f"## {title}\n\n{about}\n\n{as_markdown(columns, rows)}\n\n{machine()}\n"
    print(section)
    page = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else HEAD
    PAGE.write_text(with_section(page, title, section), encoding="utf-8")


def with_section(page: str, title: str, section: str) -> str:
    """The page with a section replaced, or added at its end."""
    old = re.compile(rf"^## {re.escape(title)}\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    if old.search(page):
        return old.sub(lambda found: section + ("\n" if found.end() < len(page) else ""), page, count=1)
    return f"{page.rstrip()}\n\n{section}"


def as_markdown(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(_shown(cell) for cell in line) + " |" for line in lines)


def machine() -> str:
    """What the figures depend on."""
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    bf16 = "bf16" if has_bf16(torch.device("cpu")) else "no bf16"
    processor = f"{_processor()} ({torch.backends.cpu.get_cpu_capability()}, {bf16})"
    return f"{processor}{gpu}, {torch.get_num_threads()} thread(s), torch {torch.__version__.partition('+')[0]}."


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*: (.*)$", info.read_text(), re.MULTILINE) if info.is_file() else None
    return found[1] if found else platform.processor() or platform.machine()


def _shown(cell: object) -> str:
    if not isinstance(cell, float):
        return str(cell)
    return f"{cell:.3g}" if abs(cell) < 1000 else f"{cell:.0f}"
