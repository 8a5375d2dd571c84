"""The program as a whole: what it imports, what it says when something is wrong, how it ends."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from t2icli.commands import PANELS, t2i_commands
from t2icli.contract.entries import Command, Entry
from t2icli.contract.hookspecs import hookimpl
from t2icli.testing import Runner, toys

PLUGIN = """
from typing import Annotated
import msgspec
from t2icli.contract.hookspecs import hookimpl
from t2icli.contract.entries import Entry

class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    size: Annotated[int, msgspec.Meta(description="width and height", ge=1)] = 8

class Slow:
    def __init__(self, settings):
        self.size = settings.size

    def generate(self, prompt, n, *, seed):
        import time
        from PIL import Image
        for i in range(n):
            time.sleep(0.1)
            yield Image.new("RGB", (self.size, self.size), (i, 0, 0))

@hookimpl
def t2i_generators():
    return [Entry("NAME", "slow and red", Settings, Slow)]
"""


def install(folder: Path, name: str, source: str) -> None:
    """A distribution of one module, as an installer would have left it."""
    (folder / f"{name}.py").write_text(source)
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[t2icli]\n{name} = {name}\n")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty plugins to put on the path of a fresh process."""
    folder = tmp_path_factory.mktemp("site")
    for number in range(20):
        install(folder, f"slow{number}", PLUGIN.replace("NAME", f"slow{number}"))
    return folder


def program(site: Path, **more: str) -> dict[str, str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("T2I_", "PYTHON"))}
    home = {"T2I_HOME": str(site / "home"), "NO_COLOR": "1"}
    return {**clean, "PYTHONPATH": str(site), **home, **more}


def t2i_process(site: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "t2icli", *words]
    return subprocess.run(command, env=program(site, **more), capture_output=True, encoding="utf-8", timeout=60)


@pytest.mark.slow
def test_help_takes_at_most_twice_the_time_of_an_empty_program(site: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.py"
    empty.write_text("import typer\napp = typer.Typer()\n@app.command()\ndef one(): 'x'\napp()\n")
    commands = {"empty": [str(empty), "--help"], "t2i": ["-m", "t2icli", "--help"]}
    best = dict.fromkeys(commands, float("inf"))
    for _ in range(4):  # in turns, so that whatever else the machine does hits both; the first fills the caches
        for name, words in commands.items():
            begun = _seconds_of_children()
            subprocess.run([sys.executable, *words], env=program(site), stdout=subprocess.DEVNULL, check=True)
            best[name] = min(best[name], _seconds_of_children() - begun)
    assert best["t2i"] <= 2 * best["empty"]


def _seconds_of_children() -> float:
    spent = os.times()
    return spent.children_user + spent.children_system


def test_every_command_is_listed_with_a_line_of_help(t2i: Runner) -> None:
    said = t2i.ok("--help").stdout
    assert t2i.ok().stdout == said
    for command in t2i_commands():
        assert f" {command.name} " in said and command.about
        assert t2i.ok(command.name, "--help").stdout


def test_garbage_is_collected_while_a_command_runs(site: Path, tmp_path: Path) -> None:
    install(
        tmp_path, "asks", HELLO.replace("show.line(", "import gc; show.line(f'{gc.isenabled()}'); show.line(") + ASKS
    )
    done = t2i_process(site, "hello", PYTHONPATH=os.pathsep.join([str(site), str(tmp_path)]))
    assert done.stdout.splitlines()[0] == "True", done.stderr


def test_the_version_is_that_of_the_distribution(t2i: Runner) -> None:
    from importlib.metadata import version

    assert t2i.ok("--version").stdout == f"t2i {version('t2icli')}\n"


def test_an_unknown_command_names_the_nearest_one(t2i: Runner) -> None:
    t2i.fails("generat", "x", says="did you mean 'generate'?")


def test_an_unknown_flag_is_an_error_of_the_user(t2i: Runner) -> None:
    assert t2i.fails("--bogus").stderr.splitlines()[0] == "error: no such option: --bogus"
    assert "see: t2i generate --help" in t2i.fails("generate", "x", "--bogus").stderr
    assert t2i.fails("rerank").stderr.startswith("error: missing argument")


def test_with_json_an_error_is_the_one_document_on_stdout(t2i: Runner) -> None:
    assert t2i.fails("generate", "", "--json").json() == {
        "error": {
            "type": "T2IError",
            "message": "the prompt is empty",
            "hint": 'say what to draw: t2i generate "a red bowl"',
        }
    }


def test_debug_may_stand_behind_the_command_and_shows_the_traceback(t2i: Runner) -> None:
    done = t2i.run("generate", "", "--debug")
    assert done.code == 2 and "Traceback" in done.stderr and "T2IError" in done.stderr
    t2i.fails("generate", "x", "--prompts", "none", "--", "--debug")


def test_a_bug_says_that_it_is_one(t2i: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    clean = "t2icli.pictures.prompts.clean"
    monkeypatch.setattr(clean, lambda prompt: 1 / 0)
    done = t2i.fails("generate", "x", code=1)
    assert done.stderr == "error: ZeroDivisionError: division by zero\n  this is a bug; add --debug to see where\n"


class Settings(msgspec.Struct, frozen=True):
    pass


def divides(settings: Settings) -> Any:
    return 1 / 0


class Divider:
    __name__ = "divider"

    @hookimpl
    def t2i_generators(self) -> list[Entry[Any]]:
        return [Entry("divider", "divides", Settings, divides)]


def test_a_bug_of_a_plugin_is_called_that(t2i: Runner) -> None:
    t2i.use(Divider())
    assert "this is a bug of plugin 'divider' (" in t2i.fails("generate", "x", "-m", "divider", code=1).stderr


def test_offline_is_told_to_the_libraries_before_they_are_imported(
    t2i: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Library:
        """A generator that looks at the variable where others import a library that does."""

        offline: ClassVar[list[str | None]] = []

        @hookimpl
        def t2i_generators(self) -> list[Entry[Any]]:
            return [Entry("library", "draws nothing", Settings, self.load)]

        def load(self, settings: Settings) -> Any:
            self.offline.append(os.environ.get("HF_HUB_OFFLINE"))
            return toys.Generator(toys.GeneratorSettings())

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    t2i.use(Library())
    draw = ("generate", "x", "-n", 1, "-m", "library", "--output", "out")
    t2i.ok(*draw)
    t2i.ok(*draw, "--offline")
    monkeypatch.setenv("T2I_OFFLINE", "1")
    t2i.ok(*draw)
    assert Library.offline == [None, "1", "1"]


HELLO = '''
import typer

def hello(name: str = "you") -> None:
    """Greet, as often as one likes."""
    from t2icli.commands import show
    show.line(f"hello {name}")

several = typer.Typer(callback=lambda: None)
several.command("bye")(hello)
'''

ASKS = """
from t2icli import Command, hookimpl
@hookimpl
def t2i_commands():
    return [Command("hello", "Greet.", "asks:hello")]
"""


class Speaking:
    """Adds commands, as a plugin may."""

    @hookimpl
    def t2i_commands(self) -> list[Command]:
        return [
            Command("hello", "Greet.", "t2i_hello:hello"),
            Command("several", "Greet and part.", "t2i_hello:several", "Manners"),
            Command("lost", "Nowhere to be found.", "t2i_hello:lost"),
        ]


class Thief:
    @hookimpl
    def t2i_commands(self) -> list[Command]:
        return [Command("generate", "Something else.", "t2i_hello:hello")]


class Faulty:
    @hookimpl
    def t2i_commands(self) -> list[Command]:
        raise RuntimeError("no\nluck")


@pytest.fixture
def speaking(t2i: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runner]:
    (tmp_path / "t2i_hello.py").write_text(HELLO)
    monkeypatch.syspath_prepend(tmp_path)
    t2i.use(Speaking())
    yield t2i
    sys.modules.pop("t2i_hello", None)


def test_a_plugin_may_add_commands_which_are_imported_when_they_run(speaking: Runner) -> None:
    listed = speaking.ok("--help").stdout
    assert "Greet." in listed and "Manners" in listed and "t2i_hello" not in sys.modules
    assert speaking.ok("hello", "--name", "me").stdout == "hello me\n"
    assert speaking.ok("several", "bye").stdout == "hello you\n"
    assert "as often as one likes" in speaking.ok("hello", "--help").stdout


def test_a_flag_of_a_plugins_command_has_a_variable_too(speaking: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T2I_NAME", "them")
    assert speaking.ok("hello").stdout == "hello them\n"


def test_a_command_that_cannot_be_loaded_names_its_plugin(speaking: Runner) -> None:
    speaking.fails("lost", code=1, says="command 'lost' of plugin 'Speaking' (under test) cannot be loaded: Attribute")


@pytest.mark.parametrize(("plugin", "reason"), [(Thief(), "'generate' is already taken"), (Faulty(), "no luck")])
def test_a_plugin_whose_command_fails_costs_one_line(speaking: Runner, plugin: object, reason: str) -> None:
    speaking.use(Speaking(), plugin, strict=False)
    done = speaking.ok("hello")
    assert done.stdout == "hello you\n"
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"warning: plugin '{type(plugin).__name__}'") and reason in line
    assert speaking.ok("hello", "--quiet").stderr == ""
    assert "Draw pictures" in speaking.ok("generate", "--help").stdout


@pytest.mark.parametrize(("words", "module"), [(["--help"], ""), (["models", "list"], "models")])
def test_only_the_module_of_the_command_that_runs_is_imported(words: list[str], module: str, site: Path) -> None:
    show = "print(*(name for name in sys.modules if name.startswith('t2icli.commands.')), file=sys.stderr)"
    code = f"import sys; from t2icli import cli; cli.run({words}); {show}"
    done = subprocess.run([sys.executable, "-c", code], env=program(site), capture_output=True, text=True, timeout=60)
    imported = {name.rpartition(".")[2] for name in done.stderr.split()}
    commands = {place.partition(":")[0] for own in PANELS.values() for place, _ in own.values()}
    assert imported & commands == {module} - {""}


def test_a_broken_plugin_costs_one_line_and_nothing_else(site: Path, tmp_path: Path) -> None:
    install(tmp_path, "broken", "import nothing_of_that_name\n")
    done = t2i_process(site, "models", "list", PYTHONPATH=os.pathsep.join([str(site), str(tmp_path)]))
    assert done.returncode == 0
    (line,) = (line for line in done.stderr.splitlines() if "warning" in line)
    assert "plugin 'broken' (broken 1.0) was left out" in line and "nothing_of_that_name" in line


@pytest.mark.parametrize("locale", [{"LC_ALL": "C", "LANG": "C"}, {"PYTHONIOENCODING": "ascii"}])
def test_chinese_comes_out_as_utf_8_in_any_locale(site: Path, tmp_path: Path, locale: dict[str, str]) -> None:
    folder = str(tmp_path / "红")
    done = t2i_process(site, "generate", "红烧牛肉面", "-n", "1", "-m", "slow1", "--output", folder, **locale)
    assert done.returncode == 0, done.stderr
    assert folder in done.stdout and folder in done.stderr
    assert json.loads((tmp_path / "红/results.jsonl").read_text(encoding="utf-8"))["prompt"] == "红烧牛肉面"


@pytest.mark.parametrize(
    ("words", "closed"),
    [
        (["--help"], (1,)),
        (["--help"], (0, 1, 2)),
        (["plugins", "--json"], (1,)),
        (["plugins", "--json"], (2,)),
        (["generate", "-", "-m", "none"], (0,)),
        (["generate", "-", "-m", "none"], (2,)),
        (["generate", "-", "-m", "none"], (0, 1, 2)),
    ],
    ids=str,
)
def test_a_stream_that_is_closed_leads_nowhere(site: Path, words: list[str], closed: tuple[int, ...]) -> None:
    command = [sys.executable, "-m", "t2icli", *words]
    run = f"import os; [os.close(n) for n in {closed}]; os.execvp({sys.executable!r}, {command})"
    done = subprocess.run([sys.executable, "-c", run], env=program(site), capture_output=True, text=True, timeout=60)
    assert done.returncode == (2 if words[0] == "generate" else 0)
    assert "Traceback" not in done.stderr and "bug" not in done.stderr
    assert (done.stdout == "") == (1 in closed or words[0] == "generate")


def test_a_reader_that_goes_away_early_is_no_error_message(site: Path, tmp_path: Path) -> None:
    words = ["generate", "x", "-n", "1", "-m", "slow1", "--json", "--output", str(tmp_path / "out")]
    process = subprocess.Popen(
        [sys.executable, "-m", "t2icli", *words], env=program(site), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    said = process.stderr.read().decode()
    process.stderr.close()
    assert process.wait(60) == 1
    assert "rror" not in said and "Traceback" not in said
    assert (tmp_path / "out/000.png").exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows has other signals")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_to_end_keeps_whole_pictures(site: Path, tmp_path: Path, name: str) -> None:
    from t2icli.pictures import images

    out = tmp_path / "out"
    words = ["generate", "x", "-n", "500", "-m", "slow1", "--output", str(out)]
    # A shell that starts the tests in the background has them ignore SIGINT.
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    command = [sys.executable, "-m", "t2icli", *words]
    process = subprocess.Popen(command, env=program(site), stderr=subprocess.PIPE, preexec_fn=heed)
    assert process.stderr is not None
    while not (out / "settings.toml").exists() and process.poll() is None:
        time.sleep(0.02)
    time.sleep(0.5)
    process.send_signal(getattr(signal, name))
    said = process.stderr.read().decode()
    process.stderr.close()
    assert process.wait(60) == {"SIGINT": 130, "SIGTERM": 143}[name]
    assert "Traceback" not in said and str(out) in said
    rows = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert 1 <= len(rows) < 50
    for row in rows:
        assert images.read_record(out / row["file"])["seed"] == row["seed"]


@pytest.mark.skipif(os.name == "nt" or not hasattr(os, "geteuid"), reason="no such limits there")
def test_a_file_that_cannot_grow_is_one_clear_message(site: Path, tmp_path: Path) -> None:
    """A real fault of the system while a picture is written: the limit of a file's size, like a full disk."""
    out = tmp_path / "out"
    limited = "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    limited += "resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500)); "
    limited += "from t2icli.cli import main; sys.argv[0] = 't2i'; main()"
    words = ["generate", "x", "-n", "2", "-m", "slow1", "-o", "size=800", "--output", str(out)]
    environment = program(site, PYTHONDONTWRITEBYTECODE="1")  # Python itself would leave half a .pyc behind
    command = [sys.executable, "-c", limited, *words]
    done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", timeout=60)
    assert done.returncode == 1
    assert "000.png': File too large" in done.stderr and "Traceback" not in done.stderr
    assert not list(out.glob("*.png")) and not list(out.glob(".*.part"))


def test_no_home_at_all_is_no_obstacle(site: Path, tmp_path: Path) -> None:
    environment = program(site)
    for name in ("HOME", "T2I_HOME", "XDG_DATA_HOME"):
        environment.pop(name, None)
    words = ["generate", "x", "-n", "1", "-m", "slow1", "--output", str(tmp_path / "out")]
    command = [sys.executable, "-m", "t2icli", *words]
    done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", timeout=60)
    assert done.returncode == 0, done.stderr


def test_a_home_that_cannot_be_written_is_no_obstacle(site: Path, tmp_path: Path) -> None:
    words = ["generate", "x", "-n", "1", "-m", "slow1", "--output", str(tmp_path / "out")]
    done = t2i_process(site, *words, HOME="/nonexistent", T2I_HOME="/nonexistent/t2i")
    assert done.returncode == 0, done.stderr


def test_a_shell_can_complete_commands_and_flags(site: Path) -> None:
    def completed(words: str) -> list[str]:
        asked = {"_T2I_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        return t2i_process(site, **asked).stdout.split()

    assert completed("t2i gen") == ["generate"]
    assert completed("t2i generate --batch") == ["--batch-size"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_is_shown_the_steps_of_what_is_being_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    from t2icli.commands import show

    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr(show, "quiet", False)
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with show.watching() as watch:
        watch.counting("drawing", 4)(1)
        watch.step(7, 25)
    assert "1/4" in terminal.getvalue() and "7/25" in terminal.getvalue()


@pytest.mark.skipif(os.name == "nt", reason="Windows has other terminals")
@pytest.mark.parametrize(
    ("columns", "sees"),
    [(100, "▀"), (0, "warning: --show needs to know how large the terminal is; try: stty cols 80 rows 24")],
)
def test_a_terminal_is_shown_the_pictures_and_a_bar(site: Path, tmp_path: Path, columns: int, sees: str) -> None:
    pytest.importorskip("textual_image")
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 600 if columns else 0, columns * 10))
    words = ["generate", "x", "-n", "6", "-m", "slow1", "--show", "--output", str(tmp_path / "out")]
    environment = program(site, TERM="xterm-256color", COLUMNS="100")
    command = [sys.executable, "-m", "t2icli", *words]
    process = subprocess.Popen(command, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    said = b""
    with contextlib.suppress(OSError):  # what Linux says at the end of a terminal
        while block := os.read(ours, 65536):
            said += block
    os.close(ours)
    assert process.wait(60) == 0
    assert b"drawing with slow1" in said and re.search(rb"[1-5]/6", said)  # the bar looks up ten times a second
    assert sees.encode() in said
