"""The page in a real browser. `make browser` installs one; without it these tests are skipped, and say so."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from t2icli.contract.kinds import AudioClip
from t2icli.sounds import clips
from t2icli.testing import toys

PAGE = Path(__file__).parents[1] / "src/t2i_serve/page"
AXE = Path(__file__).parents[3] / "build/axe.min.js"
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MICROPHONE = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
"""One that beeps, and is lent without a question."""
needs_browser = pytest.mark.skipif(BROWSER is None, reason="there is no Chromium here; run: make browser")


def test_every_text_is_there_in_both_languages_and_used() -> None:
    strings = (PAGE / "strings.js").read_text(encoding="utf-8")
    chinese, english = (set(re.findall(r"(\w+): \"", part)) for part in strings.split("const en = ")[:2])
    assert chinese == english
    others = "".join(path.read_text(encoding="utf-8") for path in PAGE.iterdir() if path.name != "strings.js")
    used = set(re.findall(r"data-(?:text|label|placeholder)=\"(\w+)\"", others))
    used |= {name for call in re.findall(r"\btext\(([^)]*)", others) for name in re.findall(r"\"(\w+)\"", call)}
    assert used - chinese - {"true"} == set()
    assert chinese - used - {"auto", "light", "dark"} == set()


def test_nothing_is_loaded_from_elsewhere() -> None:
    for path in PAGE.iterdir():
        found = set(re.findall(r"https?://[\w./-]+", path.read_text(encoding="utf-8")))
        assert found <= {"http://www.w3.org/2000/svg"}, path


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", *MICROPHONE])
        yield browser
        browser.close()


class Tab:
    """A page of the browser, and what it complained of."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda message: message.type == "error" and self.complaints.append(message.text))


@pytest.fixture
def tab(chromium: Any) -> Iterator[Tab]:
    context = chromium.new_context(locale="zh-CN", viewport={"width": 1280, "height": 900}, bypass_csp=False)
    context.set_default_timeout(20_000)
    opened = Tab(context.new_page())
    yield opened
    context.close()
    assert not opened.complaints


def ask(page: Any, prompt: str, n: int) -> None:
    page.fill("#prompt", prompt)
    page.fill("#n", str(n))
    page.click("#composer .primary")


@needs_browser
def test_previews_then_pictures_sorted_by_score_then_history(serve: Any, stepped: Any, tab: Tab) -> None:
    server, page = serve(), tab.page
    stepped.pause_at = 3
    page.goto(server.url)
    assert page.get_attribute("html", "lang") == "zh-CN"
    page.wait_for_selector("#model option", state="attached")
    page.select_option("#ranker", "toy")
    page.fill("#seed", "240")
    ask(page, "红烧牛肉面", 16)
    page.wait_for_selector(".card.seen.waiting img[src^='data:image/webp']")
    page.locator(".card.seen.waiting").nth(7).wait_for()  # the first batch is half way; its previews come one by one
    assert page.locator(".card.seen.waiting").count() == 8
    stepped.gate.set()
    page.wait_for_selector(".card.best")
    assert page.locator(".card .rank").all_text_contents()[:3] == ["1", "2", "3"]
    assert page.locator(".card .seed").first.text_content() == "#255"
    page.click(".card.best")
    assert page.locator("#detail-facts").inner_text().count("255") == 2  # the score and the seed
    assert "t2i generate" in page.locator("#command").inner_text()
    page.keyboard.press("ArrowRight")
    assert "254" in page.locator("#detail-facts").inner_text()
    page.click("#describe")
    page.locator("#detail-caption", has_text="8 by 8 pixels").wait_for()
    page.keyboard.press("Escape")
    page.reload()
    page.click("[data-view=history]")
    page.locator(".album h2", has_text="红烧牛肉面").wait_for()
    page.locator(".album .card").first.click()
    page.locator("#detail[open]").wait_for()


@needs_browser
def test_a_drawing_is_cancelled_and_drawn_again_with_its_seed(serve: Any, stepped: Any, tab: Tab) -> None:
    server, page = serve(), tab.page
    stepped.gate.clear()
    page.goto(server.url)
    page.wait_for_selector("#model option", state="attached")
    ask(page, "b", 8)
    page.click(".run .quiet")
    page.locator(".state", has_text="已取消").wait_for()
    server.wait(lambda: server.studio.metrics.pictures_in_flight._value.get() == 0)
    stepped.gate.set()
    page.click("#advanced summary")
    page.fill("#setting-blue", "200")
    page.fill("#seed", "77")
    ask(page, "a", 1)
    page.locator(".run .card.seen:not(.waiting)").first.wait_for()
    page.fill("#setting-blue", "")
    page.locator(".run .card.seen:not(.waiting)").first.click()
    page.click("#again")
    page.wait_for_selector(".run:nth-child(2) .card.seen")
    page.locator(".run:first-child .state", has_text="完成").wait_for()
    newest = server.get("/v1/history").json()["data"]
    assert newest[0]["rows"][0]["pixels"] == newest[1]["rows"][0]["pixels"]
    assert newest[0]["rows"][0]["seed"] == 77


@needs_browser
def test_own_pictures_are_ranked_and_captioned(serve: Any, tab: Tab, tmp_path: Path) -> None:
    server, page = serve(), tab.page
    page.goto(f"{server.url}/#look")
    page.wait_for_selector("#look-ranker option", state="attached")
    page.set_input_files("#files", [str(path) for path in toys.pictures(tmp_path / "own", "black", "red")])
    page.select_option("#look-ranker", "toy")
    page.fill("#sentence", "红")
    page.click("#rank")
    page.wait_for_selector(".looked .rank")
    assert page.locator(".looked .seed").all_text_contents() == ["red.png", "black.png"]
    page.click("#caption-all")
    page.locator(".looked .said", has_text="20 by 24 pixels").first.wait_for()


@needs_browser
def test_a_sound_is_chosen_mixed_with_words_and_removed(serve: Any, tab: Tab, tmp_path: Path) -> None:
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 4000).astype(np.float32)
    clips.save_wave(AudioClip(samples, 8000), tmp_path / "sound.wav")
    server, page = serve(), tab.page
    page.goto(server.url)
    page.wait_for_selector("#model option", state="attached")
    assert not page.is_visible("#sound")
    page.select_option("#model", "toy-painter")
    page.select_option("#ranker", "")
    page.set_input_files("#sound-file", str(tmp_path / "sound.wav"))
    page.locator("#player").wait_for()
    server.wait(lambda: page.evaluate("document.querySelector('#player').duration") == 0.5)
    ask(page, "", 1)
    page.locator(".run:first-child .card.seen:not(.waiting)").wait_for()
    page.fill("#share", "25")
    ask(page, "words", 1)
    page.locator(".run:nth-child(2) .card.seen:not(.waiting)").wait_for()
    page.locator(".run:first-child .card.seen:not(.waiting)").wait_for()
    page.click("#silence")
    assert not page.is_visible("#player")
    ask(page, "words alone", 1)
    page.locator(".run:nth-child(3)").wait_for()
    page.locator(".run:first-child .card.seen:not(.waiting)").wait_for()
    server.wait(lambda: len(server.get("/v1/history").json()["data"]) == 3)
    rows = {album["prompt"]: album["rows"][0] for album in server.get("/v1/history").json()["data"]}
    assert rows["heard in audio.wav"]["weights"] == {"audio": 1}
    assert rows["words"]["weights"] == {"words": 0.75, "audio": 0.25} and "audio" not in rows["words alone"]
    assert Path(rows["words"]["audio"]).read_bytes() == (tmp_path / "sound.wav").read_bytes()
    page.locator(".run:nth-child(2) .card.seen").click()
    page.click("#again")
    server.wait(lambda: len(server.get("/v1/history").json()["data"]) == 4)
    newest = server.get("/v1/history").json()["data"][0]["rows"][0]
    for key in ("prompt", "weights", "audio_sha256", "pixels"):
        assert newest[key] == rows["words"][key]


@needs_browser
def test_sounds_are_dropped_in_where_the_model_draws_from_them(serve: Any, tab: Tab, tmp_path: Path) -> None:
    clips.save_wave(AudioClip(np.full(4000, 0.5, np.float32), 8000), tmp_path / "sound.wav")
    server, page = serve(), tab.page
    drop = """([bytes, type]) => {
        const transfer = new DataTransfer();
        transfer.items.add(new File([new Uint8Array(bytes)], "dropped", { type }));
        window.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, cancelable: true }));
    }"""
    sound = [[*(tmp_path / "sound.wav").read_bytes()], "audio/wav"]
    page.goto(server.url)
    page.wait_for_selector("#model option", state="attached")
    page.evaluate(drop, sound)
    page.locator(".toast", has_text="所选模型不能用声音生成").wait_for()
    page.select_option("#model", "toy-painter")
    page.evaluate(drop, [[1, 2, 3], "audio/ogg"])
    page.locator(".toast", has_text="无法读取这个声音文件").wait_for()
    assert not page.is_visible("#player")
    page.evaluate(drop, sound)
    page.locator("#player").wait_for()
    page.evaluate(drop, [[*toys.picture("red")], "image/png"])
    page.locator(".looked").wait_for()


@needs_browser
def test_a_sound_is_recorded_and_sent_as_wave(serve: Any, tab: Tab) -> None:
    server, page = serve("toy-painter"), tab.page
    page.goto(server.url)
    page.wait_for_selector("#model option", state="attached")
    page.select_option("#ranker", "")
    page.click("#record")
    page.locator("#record", has_text="停止录音").wait_for()
    page.wait_for_timeout(2000)  # of the beeps, which come every half a second
    page.click("#record")
    page.locator("#player").wait_for()
    ask(page, "", 1)
    page.locator(".run .card.seen:not(.waiting)").wait_for()
    (album,) = server.get("/v1/history").json()["data"]
    clip = clips.open_clip(Path(album["rows"][0]["audio"]))
    assert clip.rate == 16000 and clip.seconds > 1


@needs_browser
def test_the_token_is_asked_for(serve: Any, tab: Tab) -> None:
    server, page = serve(token="secret"), tab.page
    page.goto(server.url)
    page.fill("#token", "wrong")
    page.click("#door .primary")
    page.locator("#door-wrong", has_text="令牌不正确").wait_for()
    page.fill("#token", "secret")
    page.keyboard.press("Enter")
    page.wait_for_selector("#model option", state="attached")
    page.reload()
    page.wait_for_selector("#model option", state="attached")
    assert all("401" in complaint for complaint in tab.complaints)  # the browser's own lines
    tab.complaints.clear()


@needs_browser
def test_prompts_are_text_and_errors_are_shown(serve: Any, tab: Tab) -> None:
    server, page = serve(), tab.page
    page.goto(server.url)
    page.wait_for_selector("#model option", state="attached")
    ask(page, "<img src=x onerror=alert(1)>", 1)
    page.locator(".run .card.seen:not(.waiting)").wait_for()
    assert page.locator(".run h2 img").count() == 0
    ask(page, "broken", 1)
    page.locator(".wrong", has_text="服务器内部错误").wait_for()


@needs_browser
def test_language_and_theme_are_remembered(serve: Any, tab: Tab) -> None:
    server, page = serve(), tab.page
    page.goto(server.url)
    page.click("#language")
    page.locator("button", has_text="Generate").wait_for()
    page.click("#theme")
    page.click("#theme")
    page.reload()
    page.locator("button", has_text="Generate").wait_for()
    assert page.get_attribute("html", "data-theme") == "dark"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(23, 21, 19)"


@needs_browser
def test_a_telephone_needs_no_scrolling_sideways(serve: Any, tab: Tab) -> None:
    server, page = serve(), tab.page
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto(server.url)
    page.wait_for_selector("#model option", state="attached")
    ask(page, "长" * 200, 3)
    page.locator(".run .card.seen:not(.waiting)").first.wait_for()
    for view in ("draw", "history", "look"):
        page.click(f"[data-view={view}]")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, view


@needs_browser
def test_everything_is_reached_by_keyboard(serve: Any, tab: Tab) -> None:
    server, page = serve(), tab.page
    page.goto(server.url)
    page.wait_for_selector("#model option", state="attached")
    page.focus("#prompt")
    page.keyboard.type("a")
    page.keyboard.press("Control+Enter")
    page.locator(".run .card.seen:not(.waiting)").first.wait_for()
    page.locator(".run .card:enabled").first.focus()
    page.keyboard.press("Enter")
    page.locator("#detail[open]").wait_for()
    assert page.evaluate("document.querySelector('#detail').contains(document.activeElement)")
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.classList.contains('card')")


@needs_browser
@pytest.mark.skipif(not AXE.exists(), reason="there is no axe-core here; run: make browser")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(serve: Any, chromium: Any, scheme: str) -> None:
    server = serve()
    context = chromium.new_context(locale="zh-CN", color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    page.goto(server.url)
    page.wait_for_selector("#model option", state="attached")
    page.evaluate(AXE.read_text(encoding="utf-8"))
    ask(page, "a", 2)
    page.locator(".run .card.seen:not(.waiting)").first.wait_for()
    found = []
    for view in ("draw", "history", "look"):
        page.click(f"[data-view={view}]")
        found += page.evaluate("axe.run()")["violations"]
    page.click("[data-view=draw]")
    page.locator(".run .card").first.click()
    page.locator("#detail[open]").wait_for()
    found += page.evaluate("axe.run()")["violations"]
    context.close()
    assert not [(each["id"], each["nodes"][0]["target"]) for each in found if each["impact"] in ("serious", "critical")]
