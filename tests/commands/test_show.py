"""What reaches the terminal: a stranger's text commands nothing."""

from __future__ import annotations

import io
import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from t2icli.commands import progress, show, terminal
from t2icli.ground.errors import T2IError
from t2icli.testing import Runner

PAYLOAD = "a\x1b]0;owned\x07\x1b[31m\x9b2J\x7f\x00\x08\rb\u202edcba\u2066\u2028\ud83d[/red][link=x] 红👩‍🍳"
COMMANDING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def a_long_job() -> None:
    with show.watching() as watch:
        watch.progress(PAYLOAD, 1, 2, {PAYLOAD: 1.0})
        watch.step(1, 2)
        watch.result(PAYLOAD, 1, 2, {PAYLOAD: 1.0})
        watch.progress(PAYLOAD, 2, 2)


def bars(job: str, plain: bool = False) -> None:
    with show.watching(plain=plain) as watch:
        watch.counting(job, 2)(1)


WAYS: dict[str, Callable[[], object]] = {
    "line": lambda: show.line(PAYLOAD),
    "note": lambda: show.note(PAYLOAD),
    "warn": lambda: show.warn(PAYLOAD),
    "warning": lambda: show.warning(PAYLOAD, UserWarning),
    "json": lambda: show.json({PAYLOAD: [PAYLOAD, Path(PAYLOAD)]}),
    "table": lambda: show.table([(PAYLOAD, 1), (Path(PAYLOAD), 2)], (PAYLOAD, "n"), PAYLOAD),
    "error": lambda: show.error(T2IError(PAYLOAD, PAYLOAD)),
    "error of a plugin": lambda: show.error(RuntimeError(PAYLOAD)),
    "error of the system": lambda: show.error(OSError(2, PAYLOAD, PAYLOAD)),
    "error as json": lambda: show.error(T2IError(PAYLOAD, PAYLOAD), as_json=True),
    "traceback": lambda: show.traceback(RuntimeError(PAYLOAD)),
    "a long job": a_long_job,
}


@pytest.fixture
def texts(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], Callable[[], str]]:
    """Makes both streams terminals or files; what it returns gives all that was written to them."""

    def catch(terminal: bool) -> Callable[[], str]:
        monkeypatch.setenv("TERM", "xterm-256color")
        monkeypatch.setattr(show, "quiet", False)
        streams = [Terminal() if terminal else io.StringIO() for _ in range(2)]
        monkeypatch.setattr(sys, "stdout", streams[0])
        monkeypatch.setattr(sys, "stderr", streams[1])
        return lambda: "".join(stream.getvalue() for stream in streams)

    return catch


@pytest.mark.parametrize("way", WAYS)
def test_a_file_or_a_pipe_gets_no_control_characters(way: str, texts: Callable[..., Callable[[], str]]) -> None:
    written = texts(False)
    WAYS[way]()
    assert "\\u001b" in written() and "\\u202e" in written()
    assert not COMMANDING.search(written())


@pytest.mark.parametrize("way", WAYS)
def test_a_terminal_gets_none_but_our_own(way: str, texts: Callable[..., Callable[[], str]]) -> None:
    written = texts(True)
    WAYS[way]()
    ours = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", written())
    assert not COMMANDING.search(ours)
    assert "owned" in ours and "\x1b[2J" not in written()


@pytest.mark.parametrize("draw", [lambda: bars("[/red]"), lambda: show.table([("[/red]",)], "x")])
def test_brackets_are_no_markup(draw: Callable[[], object], texts: Callable[..., Callable[[], str]]) -> None:
    written = texts(True)
    draw()
    assert "[/red]" in written()


def test_json_means_the_same_as_before(texts: Callable[..., Callable[[], str]]) -> None:
    written = texts(False)
    show.json({PAYLOAD: PAYLOAD, "back\\slash": "\\u001b", "红": "👩‍🍳"})
    assert json.loads(written()) == {PAYLOAD: PAYLOAD, "back\\slash": "\\u001b", "红": "👩‍🍳"}
    assert "红" in written()


def test_what_writers_of_right_to_left_and_emoji_need_stays() -> None:
    text = "مرحبا\u200f שלום\u200e 👩‍🍳\t红\n"
    assert terminal.visible(text) == text


def test_no_line_of_an_error_looks_like_another_message(texts: Callable[..., Callable[[], str]]) -> None:
    written = texts(False)
    show.error(T2IError("there is no file 'a\nerror: all is lost'"))
    show.warn("b\nerror: all is lost")
    assert not [line for line in written().splitlines()[1:] if line.startswith("error")]


@pytest.mark.skipif(sys.platform == "win32", reason="no such names there")
def test_a_file_name_commands_no_terminal(t2i: Runner) -> None:
    name = "a\x1b]0;owned\x07\x9b.png"
    Image.new("RGB", (8, 8), "red").save(name)
    Path("b\x1b[2J.png").write_text("no picture")
    done = t2i.run("rerank", "red", ".", "--ranker", "colours")
    assert done.code == 3 and "\\u001b]0;owned\\u0007\\u009b" in done.stdout and "\\u001b[2J" in done.stderr
    assert not COMMANDING.search(done.stdout + done.stderr)
    told = t2i.run("rerank", "red", ".", "--ranker", "colours", "--json")
    assert told.json()["results"][0]["path"] == name
    assert not COMMANDING.search(told.stdout)


def test_a_folder_that_cannot_be_copied_is_no_bug(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/b").symlink_to("nowhere")
    with pytest.raises(shutil.Error) as caught:
        shutil.copytree(tmp_path / "a", tmp_path / "c")
    assert show.error(caught.value) == 1
    assert f"cannot copy '{tmp_path}/a/b': " in (said := capsys.readouterr().err) and "bug" not in said


class Clock:
    """Time as the test has it."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.setattr(progress, "time", clock := Clock())
    return clock


@pytest.mark.parametrize("terminal", [False, True])
def test_lines_of_progress_are_the_same_in_a_pipe_and_in_plain_mode(
    terminal: bool, clock: Clock, texts: Callable[..., Callable[[], str]]
) -> None:
    written = texts(terminal)
    with show.watching(plain=terminal) as watch:
        watch.progress("train", 20, 500)
        for step in range(21, 33):
            clock.now += 1
            watch.progress("train", step, 500, {"loss": 0.12345, "rows": 7})
        watch.result("evaluate", 32, 500, {"val_loss": 0.5})
        watch.progress("quick", 0, 1)
        watch.progress("quick", 1, 1)
    assert written().splitlines() == [
        "train 25/500  loss 0.1235  rows 7  1.0/s  7 min 55 s left",
        "train 30/500  loss 0.1235  rows 7  1.0/s  7 min 50 s left",
        "evaluate 32/500  val_loss 0.5",
        "train 32/500  loss 0.1235  rows 7  1.0/s  7 min 48 s left",
    ]


def test_a_job_of_one_slow_picture_shows_its_steps(clock: Clock, texts: Callable[..., Callable[[], str]]) -> None:
    written = texts(False)
    with show.watching() as watch:
        advance = watch.counting("drawing", 1)
        clock.now += 6
        watch.step(12, 1000)
        advance(1)
    assert written().splitlines() == ["drawing 0/1  step 12/1000", "drawing 1/1  0.2/s"]


def test_bytes_and_counts_without_an_end_are_shown(clock: Clock, texts: Callable[..., Callable[[], str]]) -> None:
    written = texts(False)
    with show.watching() as watch:
        watch.progress("downloading a.pt", 0, 8_000_000, unit="B")
        watch.progress("rows", 0)
        clock.now += 5
        watch.progress("downloading a.pt", 2_000_000, 8_000_000, unit="B")
        watch.progress("rows", 10, None, {"ok": 9, "no-word": 1, "MB": 1.5})
    assert written().splitlines() == [
        "downloading a.pt 2.0/8.0 MB  0.4 MB/s  15 s left",
        "rows 10  ok 9  no-word 1  MB 1.5  2.0/s",
        "downloading a.pt 2.0/8.0 MB  0.4 MB/s  15 s left",
        "rows 10  ok 9  no-word 1  MB 1.5  2.0/s",
    ]


def test_a_bar_has_the_words_of_a_line_and_leaves_figures_on_the_screen(
    clock: Clock, texts: Callable[..., Callable[[], str]]
) -> None:
    written = texts(True)
    with show.watching() as watch:
        watch.progress("train", 0, 500)
        clock.now += 5
        watch.progress("train", 250, 500, {"loss": 0.5})
    assert "250/500  loss 0.5  50.0/s  5 s left" in written()
    with show.watching() as watch:
        watch.progress("train", 0, 500)
        watch.progress("train", 500, 500, {"loss": 0.25})
    assert re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", written()).count("train 500/500  loss 0.25") == 1


def test_results_that_are_printed_meanwhile_go_to_stdout(texts: Callable[..., Callable[[], str]]) -> None:
    texts(True)
    with show.watching() as watch:
        watch.progress("captioning", 1, 3)
        show.line("a result")
    assert sys.stdout.getvalue() == "a result\n"  # type: ignore[attr-defined]


def test_quiet_follows_nothing(texts: Callable[..., Callable[[], str]], monkeypatch: pytest.MonkeyPatch) -> None:
    written = texts(True)
    monkeypatch.setattr(show, "quiet", True)
    bars("x")
    assert written() == ""
