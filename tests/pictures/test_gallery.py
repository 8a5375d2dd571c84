from __future__ import annotations

import html
import json
import re
from typing import Any

from t2icli.pictures import gallery


def row(prompt: str = "x", **more: Any) -> dict[str, Any]:
    plain = {"file": "000.png", "rank": 1, "seed": 7, "score": None, "scores": {}, "model": "noise", "sha256": None}
    return {**plain, "prompt": prompt, **more}


def test_a_prompt_is_escaped_wherever_it_stands() -> None:
    nasty = "\"><script>alert(1)</script>' $title </h2> &amp;"
    page = gallery.page([row(nasty, model=nasty)], "1 picture")
    assert page.count("<script>") == 1
    assert html.escape(nasty) in page
    assert html.unescape(re.findall(r'data-prompt="([^"]*)"', page)[0]) == nasty


def test_no_address_leads_out_of_the_folder() -> None:
    page = gallery.page([row()], "1 picture")
    assert not re.search(r"https?:|//[a-z]|@import|url\(", page)
    assert re.findall(r'(?:src|href)="([^"]*)"', page) == ["000.png", "000.png"]


def test_scores_seeds_and_the_command_to_replay_are_shown() -> None:
    rows = [row(score=0.75, scores={"clip": 0.5, "brivl": 1.0}, sha256="ab" * 32), row(rank=2, score=0.25)]
    page = gallery.page(rows, gallery.summary(len(rows), 9, 9))
    assert "2 pictures, the best of 9" in page
    assert ">0.7500<" in page and "seed 7" in page and 'data-replay="t2i replay 000.png"' in page
    facts = dict(json.loads(html.unescape(re.findall(r'data-facts="([^"]*)"', page)[0])))
    assert facts["clip"] == "0.5" and facts["model sha256"] == "ab" * 8
    assert re.findall(r"width:(\d+)%", page) == ["100", "2"]


def test_each_prompt_of_each_run_has_a_section_of_its_own() -> None:
    rows = [row(), row(rank=2), row(), row("y"), row("z")]
    assert gallery.page(rows, gallery.summary(len(rows), 5, 5)).count("<section>") == 4


def test_nothing_kept_is_still_a_page() -> None:
    assert "0 pictures, the best of 3" in gallery.page([], gallery.summary(0, 3, 3))


def test_no_text_of_a_row_becomes_markup_or_leads_away() -> None:
    nasty = "x\"'><img src=x onerror=alert(1)></script><script>alert(1)</script>"
    hostile = dict.fromkeys(("prompt", "model", "sha256", "rank", "seed"), nasty)
    page = gallery.page([row(**hostile, scores={nasty: 1.0, "b": 2.0})], "1 picture")
    assert page.count("<script>") == page.count("</script>") == 1 and "<img src=x" not in page
    for name in ("javascript:alert(1)", '"onclick="alert(1).png', "//example.org/x.png"):
        page = gallery.page([row(file=name)], "1 picture")
        addresses = re.findall(r'(?:src|href)="([^"]*)"', page)
        assert len(addresses) == 2 and not re.search(r"[:/\"]", "".join(addresses))


def test_a_duplicate_stays_with_its_prompt_and_names_the_seed_that_drew_it_first() -> None:
    rows = [row(rank=1), row(rank=1, seed=8, same_as=7), row(rank=2, seed=9), row(rank=1, seed=7)]
    page = gallery.page(rows, gallery.summary(len(rows), 4, 3))
    assert page.count("<section>") == 2
    assert "4 pictures, of which 3 are distinct" in page
    facts = [dict(json.loads(html.unescape(text))) for text in re.findall(r'data-facts="([^"]*)"', page)]
    assert [each.get("same picture as") for each in facts] == [None, "seed 7", None, None]


def test_a_page_of_several_links_to_the_others() -> None:
    page = gallery.page([row()], "900 pictures", 2, 9)
    links = ["index.html", *(f"index-{n}.html" for n in (3, 4, 5, 9))]
    assert re.findall(r'<a href="([^"]*)"', page) == links and "<b>2</b>" in page
    assert "<nav" not in gallery.page([row()], "1 picture")
