"""`t2i plugins`, `t2i plugins new`, `t2i install` and `t2i uninstall`."""

from __future__ import annotations

import inspect
import json
import os
import runpy
import subprocess
import sys
import sysconfig
import types
import venv
from pathlib import Path

import pytest

import t2i_noise
from t2icli.contract.entries import Command
from t2icli.contract.hookspecs import hookimpl
from t2icli.contract.kinds import KINDS
from t2icli.pipelines import install, scaffold
from t2icli.testing import Runner

NOISE = Path(__file__).parents[2] / "examples/t2icli-noise"


class Broken:
    @hookimpl
    def t2i_rankers(self) -> list[int]:
        return [3]


def test_everything_installed_is_listed_with_its_origin(t2i: Runner) -> None:
    t2i.use(t2i_noise)
    row = next(line for line in t2i.ok("plugins").stdout.splitlines() if " noise " in line)
    assert "generator" in row and "clouds of colour" in row and "under test" in row


def test_a_kind_lists_only_its_own(t2i: Runner) -> None:
    t2i.use(t2i_noise)
    kinds = {row["kind"] for row in t2i.ok("plugins", "ranker", "--json").json()["plugins"]}
    assert kinds == {"ranker"}


class Greeting:
    """Brings a command and nothing else."""

    @hookimpl
    def t2i_commands(self) -> list[Command]:
        return [Command("greet", "Say hello.", "t2i_greet:greet")]


def test_a_plugin_that_brings_a_command_alone_is_listed(t2i: Runner) -> None:
    t2i.use(Greeting())
    row = t2i.ok("plugins", "command", "--json").json()["row"]
    assert (row["kind"], row["name"], row["about"]) == ("command", "greet", "Say hello.")
    assert row in t2i.ok("plugins", "--json").json()["plugins"]
    assert "t2i greet --help" in t2i.ok("plugins", "greet").stdout
    t2i.fails("plugins", "command", "generate", says="no plugin brings a command called 'generate'")


@pytest.mark.parametrize("words", [["generator", "noise"], ["noise"], ["list", "generator", "noise"]])
def test_one_of_them_is_shown_with_its_settings(t2i: Runner, words: list[str]) -> None:
    t2i.use(t2i_noise)
    shown = t2i.ok("plugins", *words).stdout
    assert "width and height in pixels" in shown and "256" in shown


def test_settings_are_there_for_machines(t2i: Runner) -> None:
    t2i.use(t2i_noise)
    details = t2i.ok("plugins", "generator", "noise", "--json").json()
    assert details["settings"][0] == {
        "name": "size",
        "type": "int",
        "default": "256",
        "about": "width and height in pixels",
    }


def test_a_broken_plugin_is_shown_with_the_reason(t2i: Runner) -> None:
    t2i.use(Broken(), strict=False)
    assert "must return Entry objects, not int" in t2i.ok("plugins").stdout
    (broken,) = t2i.ok("plugins", "--json").json()["broken"]
    assert broken["plugin"] == "Broken"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["rankr"], "did you mean 'ranker'?"),
        (["generator", "nose"], "did you mean 'noise'?"),
        (["generatr", "noise"], "did you mean 'generator'?"),
    ],
)
def test_a_wrong_word_is_answered_with_the_nearest(t2i: Runner, words: list[str], says: str) -> None:
    t2i.use(t2i_noise)
    t2i.fails("plugins", *words, says=says)


def test_a_kind_that_nobody_offers_says_what_to_install(t2i: Runner) -> None:
    t2i.fails("plugins", "captioner", "clipcap", says="t2i install plugins/clipcap in the source tree")


def test_every_kind_has_a_template() -> None:
    assert scaffold.kinds() == list(KINDS)


@pytest.mark.parametrize("kind", scaffold.kinds())
def test_the_tests_of_a_new_plugin_pass_at_once(
    kind: str, t2i: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    t2i.ok("plugins", "new", f"my-{kind}", "--kind", kind, "--output", tmp_path)
    monkeypatch.syspath_prepend(tmp_path / f"t2icli-my-{kind}/src")
    tests = runpy.run_path(str(tmp_path / f"t2icli-my-{kind}/tests/test_t2i_my_{kind}.py"))
    here = {"t2i": t2i, "tmp_path": tmp_path}
    ran = [name for name in tests if name.startswith("test_")]
    for name in ran:
        tests[name](**{wanted: here[wanted] for wanted in inspect.signature(tests[name]).parameters})
    assert f"test_it_keeps_the_promises_of_a{'n' if kind == 'embedder' else ''}_{kind}" in ran


@pytest.mark.slow
def test_pytest_finds_all_a_new_plugin_needs(t2i: Runner, tmp_path: Path) -> None:
    folder = t2i.ok("plugins", "new", "pasta", "--output", tmp_path).stdout.strip()
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["../evil"], "cannot be a plugin's name"),
        (["Pasta"], "cannot be a plugin's name"),
        (["pasta", "--kind", "rankr"], "did you mean 'ranker'?"),
        (["taken"], "already exists"),
    ],
)
def test_a_new_plugin_needs_a_good_name_and_a_free_place(t2i: Runner, words: list[str], says: str) -> None:
    Path("t2icli-taken").mkdir()
    t2i.fails("plugins", "new", *words, says=says)


class Environment:
    """A virtual environment of its own in which `t2i` and everything it needs can be imported."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, with_pip=False, symlinks=True)
        self.python = str(folder / "bin/python")
        self.home = folder / "home"
        self.site = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
        paths = [path for path in sys.path if path.endswith("site-packages") or path.endswith("src")]
        (self.site / "borrowed.pth").write_text("\n".join(paths))

    def t2i(self, *words: object, code: int = 0, **variables: str) -> str:
        command = [self.python, "-m", "t2icli", *map(str, words)]
        clean = {key: value for key, value in os.environ.items() if not key.startswith("T2I_")}
        environment = {**clean, "T2I_HOME": str(self.home), "T2I_OFFLINE": "1", **variables}
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=100)
        assert ended.returncode == code, ended.stdout + ended.stderr
        return ended.stdout + ended.stderr


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plugin no other environment of this machine knows of."""
    pytest.importorskip("hatchling", reason="without a network, hatchling must be here to build a plugin")
    folder = scaffold.new("throwaway", "generator", tmp_path_factory.mktemp("project"))
    return folder


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return Environment(tmp_path / "venv")


@pytest.mark.slow
def test_a_plugin_is_installed_used_and_uninstalled(environment: Environment, project: Path, tmp_path: Path) -> None:
    refused = environment.t2i("install", project, code=2)
    assert "t2icli-throwaway" in refused and "add --yes" in refused
    assert "throwaway" not in environment.t2i("plugins", "generator")
    installed = environment.t2i("install", project, "-y")
    assert "now there is" in installed and "rings of colour" in installed
    environment.t2i("generate", "tea", "-m", "throwaway", "-o", "size=16", "--output", tmp_path / "tea")
    assert list((tmp_path / "tea").glob("*.png"))
    assert "t2icli-throwaway was removed" in environment.t2i("uninstall", "throwaway", "-y")
    assert "throwaway" not in environment.t2i("plugins", "generator")


@pytest.mark.slow
def test_the_example_is_installed_by_t2i_install(environment: Environment, tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    environment.t2i("install", NOISE, "-y", "--", "--force-reinstall", "--no-deps")
    assert list(environment.site.glob("t2icli_noise-*.dist-info"))


def announce(site: Path, name: str, module: str) -> None:
    """A distribution as pip would leave it, with one plugin."""
    info = site / f"t2icli_{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: t2icli-{name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[t2icli]\n{name} = t2i_{name}\n")
    (info / "RECORD").write_text(f"t2i_{name}.py,,\n{info.name}/METADATA,,\n{info.name}/entry_points.txt,,\n")
    (site / f"t2i_{name}.py").write_text(module)


@pytest.mark.slow
def test_uninstall_never_imports_the_plugin(environment: Environment) -> None:
    mark = environment.site / "imported"
    announce(environment.site, "vandal", f"open({str(mark)!r}, 'w')\nraise SystemExit('no')")
    environment.t2i("uninstall", "vandal", "-y")
    assert not mark.exists() and not (environment.site / "t2i_vandal.py").exists()


@pytest.mark.slow
def test_what_a_broken_plugin_is_to_be_removed_with_removes_it(environment: Environment) -> None:
    announce(environment.site, "vandal", "raise BaseException('no')")
    said = environment.t2i("plugins")
    (command,) = (
        line.partition("to remove it: t2i ")[2]
        for line in said.splitlines()
        if line.startswith("warning: plugin 'vandal'")
    )
    environment.t2i(*command.split(), "-y")
    assert "vandal" not in environment.t2i("plugins")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["numpy", "-y"], "is not a t2i plugin"),
        (["t2icli", "-y"], "the tool itself"),
        (["t2icli-nose", "-y"], "no distribution called"),
        (["t2icli-noise"], "add --yes"),
    ],
)
def test_uninstall_refuses_what_is_no_plugin(t2i: Runner, words: list[str], says: str) -> None:
    t2i.fails("uninstall", *words, says=says)


def pretend(
    monkeypatch: pytest.MonkeyPatch, stdout: str = "", stderr: str = "", returncode: int = 0
) -> list[list[str]]:
    """No installer is run; the commands it would have been given are noted."""
    run: list[list[str]] = []

    def note(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        run.append(command)
        return subprocess.CompletedProcess(command, returncode, stdout, stderr)

    monkeypatch.setattr(install, "subprocess", types.SimpleNamespace(run=note, CompletedProcess=object))
    return run


REPORT = json.dumps({"install": [{"metadata": {"name": name, "version": "9"}} for name in ("t2icli-x", "numpy")]})


def test_install_shows_dependencies_and_asks_before_anything_is_done(
    t2i: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = pretend(monkeypatch, stdout=REPORT)
    result = t2i.fails("install", "t2icli-x", says="add --yes")
    assert "t2icli-x" in result.stdout and "new" in result.stdout and "numpy" in result.stdout
    assert len(run) == 1 and "--dry-run" in run[0]


def test_flags_behind_two_dashes_reach_pip(t2i: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    run = pretend(monkeypatch, stdout=REPORT)
    t2i.ok("install", "t2icli-x", "-y", "--upgrade", "--", "--index-url", "http://127.0.0.1/simple")
    assert run[-1][-4:] == ["--upgrade", "t2icli-x", "--index-url", "http://127.0.0.1/simple"]


def test_a_folder_here_goes_before_a_name_on_the_index(t2i: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    run = pretend(monkeypatch, stdout=REPORT)
    Path("pasta").mkdir()
    t2i.ok("install", "pasta", "-y")
    assert run[-1][-1] == str(Path("pasta").absolute())


def test_who_watches_sees_the_installer_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install.sys.stderr, "isatty", lambda: True, raising=False)
    streams: list[object] = []

    def note(command: list[str], **given: object) -> subprocess.CompletedProcess[str]:
        streams.append(given.get("stdout"))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(install, "subprocess", types.SimpleNamespace(run=note))
    install.install(["t2icli-x"])
    assert streams == [sys.stderr]


def test_what_is_no_plugin_is_said_to_bring_nothing(t2i: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, stdout=REPORT)
    assert "not a t2i plugin" in t2i.ok("install", "t2icli-x", "-y").stderr


def test_an_extra_of_t2icli_is_installed_as_its_requirements_and_needs_no_plugin(
    t2i: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = pretend(monkeypatch, stdout=REPORT)
    done = t2i.ok("install", "t2icli[show,words]", "-y")
    assert run[-1][-2:] == ["textual-image", "jieba"]
    assert "warning" not in done.stderr and "installed" in done.stderr
    t2i.fails("install", "t2icli[shwo]", "-y", says="did you mean 'show'?")


def test_a_distribution_of_ours_that_is_on_no_index_says_where_it_is(
    t2i: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, stderr="ERROR: No matching distribution found for t2icli-brivl", returncode=1)
    refused = t2i.fails("install", "t2icli-brivl", "-y", code=1, says="pip could not install")
    assert "t2i install plugins/brivl in the source tree" in refused.stderr


def test_what_is_here_already_is_not_installed_again(t2i: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    run = pretend(monkeypatch, stdout='{"install": []}')
    assert "everything is already installed" in t2i.ok("install", "t2icli-x", "-y").stderr
    assert len(run) == 1


def test_why_pip_failed_is_passed_on(t2i: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, stderr="ERROR: No matching distribution found for t2icli-x", returncode=1)
    t2i.fails("install", "t2icli-x", "-y", code=1, says="No matching distribution found for t2icli-x")


def test_uv_is_used_where_there_is_no_pip(t2i: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pip", None)  # as if it were not installed
    monkeypatch.setattr(install.shutil, "which", lambda name: f"/opt/{name}")
    run = pretend(monkeypatch, stderr="Would install 1 package\n + t2icli-x==9.1\n")
    assert "9.1" in t2i.ok("install", "t2icli-x", "-y").stdout
    assert run[0][:3] == ["/opt/uv", "pip", "install"] and sys.executable in run[0]


def test_without_pip_and_uv_it_says_how_to_get_one(t2i: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pip", None)
    monkeypatch.setattr(install.shutil, "which", lambda name: None)
    t2i.fails("install", "t2icli-x", "-y", code=1, says="ensurepip")
