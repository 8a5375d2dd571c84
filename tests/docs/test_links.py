"""Links between pages: every file and every heading that a page names is there."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "plugins/*/README.md", "examples/*/README.md")
    for path in ROOT.glob(pattern)
)
LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def headings(page: Path) -> set[str]:
    """The anchors of a page's headings, as both the repository's host and the site form them."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    named = re.findall(r'<a id="([^"]+)">', text)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles} | set(named)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_page_and_its_heading(page: Path) -> None:
    broken = []
    for link in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if "://" in link or (target.exists() and (not anchor or anchor in headings(target))):
            continue
        broken.append(link)
    assert not broken


def test_the_site_has_every_page_and_every_page_is_in_its_menu(tmp_path: Path) -> None:
    runpy.run_path(str(ROOT / "docs/generate.py"))["collect"](tmp_path)
    pages = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.md")}
    menu = set(re.findall(r"[\w./-]+\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8")))
    assert menu == {page for page in pages if not page.endswith(".zh.md")}
    assert {page.replace(".zh.md", ".md") for page in pages} == menu
    assert "`temperature`" in (tmp_path / "docs/backends.md").read_text(encoding="utf-8")
    assert "`min_side`" in (tmp_path / "docs/rules.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", [page for page in PAGES if page.name.endswith(".zh.md")], ids=lambda page: page.name)
def test_a_page_in_chinese_shows_the_commands_of_the_page_in_english(page: Path) -> None:
    def commands(path: Path) -> list[str]:
        blocks = re.findall(
            r"^```(?:bash|sh|python)\n(.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
        )
        return [line.split(" #")[0].rstrip() for block in blocks for line in block.splitlines()]

    assert commands(page) == commands(page.with_name(page.name.replace(".zh.md", ".md")))
