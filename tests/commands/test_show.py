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

from t2icli.commands import show, tally, watch
from t2icli.ground.errors import T2IError
from t2icli.testing import Runner
from t2icli.training.progress import Progress

PAYLOAD = "a\x1b]0;owned\x07\x1b[31m\x9b2J\x7f\x00\x08\rb\u202edcba\u2066\u2028\ud83d[/red][link=x] 红👩‍🍳"
COMMANDING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def transfer() -> None:
    with show.transfer() as tell:
        tell(PAYLOAD, 1, 2)


def steps() -> None:
    with show.bar_with_steps(PAYLOAD, 2) as (advance, watch):
        advance()
        watch.step(1, 2)


def rows_going_by() -> None:
    with tally.tallying() as told:
        if isinstance(told, tally.Tally):
            told.every = -1
        told(PAYLOAD, 1, 1)


def a_long_job() -> None:
    with watch.watching() as watching:
        watching(Progress(PAYLOAD, 1, 1, 1.0))
        watching(Progress("evaluate", 1, 1, 1.0, figures={PAYLOAD: 1.0}))


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
    "progress": lambda: list(show.progress([1], PAYLOAD)),
    "steps": steps,
    "transfer": transfer,
    "rows going by": rows_going_by,
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
    if way != "progress":  # draws for a terminal alone
        assert ("\\u001b" in written() and "\\u202e" in written()) or way == "steps"
    assert not COMMANDING.search(written())


@pytest.mark.parametrize("way", WAYS)
def test_a_terminal_gets_none_but_our_own(way: str, texts: Callable[..., Callable[[], str]]) -> None:
    written = texts(True)
    WAYS[way]()
    ours = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", written())
    assert not COMMANDING.search(ours)
    assert "owned" in ours and "\x1b[2J" not in written()


@pytest.mark.parametrize("draw", [lambda: list(show.progress([1], "[/red]")), lambda: show.table([("[/red]",)], "x")])
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
    assert show.visible(text) == text


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
