"""Every distribution builds, and what is built works where nothing else of ours is: `make test-wheels`."""

from __future__ import annotations

import email
import os
import re
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from t2icli.contract.kinds import KINDS

ROOT = Path(__file__).parents[2]
FOLDERS = [
    ROOT,
    *sorted(path.parent for path in [*ROOT.glob("plugins/*/pyproject.toml"), *ROOT.glob("examples/*/pyproject.toml")]),
]
OURS = re.compile(r"t2i|__editable__|_t2i|borrowed", re.IGNORECASE)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel and a source distribution of each."""
    folder = tmp_path_factory.mktemp("dist")
    for source in FOLDERS:
        run([sys.executable, "-m", "hatchling", "build", "-d", str(folder)], cwd=source)
    return folder


class Environment:
    """An environment with the packages of others, and none of ours but those installed into it."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, with_pip=False, symlinks=True)
        self.folder, self.python = folder, folder / "bin/python"
        borrowed = folder / "borrowed"
        borrowed.mkdir()
        for site in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
            for path in Path(site).iterdir():
                if not OURS.match(path.name):
                    (borrowed / path.name).symlink_to(path)
        here = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
        (here / "borrowed.pth").write_text(f"{borrowed}\n")

    def install(self, *words: str) -> None:
        run([str(self.python), "-m", "pip", "install", "--quiet", "--no-index", *words])

    def run(self, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("T2I_", "PYTHON"))}
        environment = {**clean, "T2I_HOME": str(self.folder / "home"), "T2I_OFFLINE": "1"}
        command = [str(self.folder / "bin" / words[0]), *words[1:]]
        return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def run(command: list[str], cwd: Path | None = None) -> None:
    ended = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_every_distribution_is_as_an_index_wants_it(dist: Path) -> None:
    files = sorted(dist.iterdir())
    assert len(files) == 2 * len(FOLDERS)
    run([sys.executable, "-m", "twine", "check", "--strict", *map(str, files)])
    for wheel in dist.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            names = archive.namelist()
            (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
            about = email.message_from_bytes(archive.read(metadata))
        assert any(name.endswith("licenses/LICENSE") for name in names), wheel
        assert wheel.name.startswith("t2icli_noise") or any(name.endswith("/locale/zh.json") for name in names), wheel
        # An index page has none of the files that a link within the source tree leads to.
        assert re.findall(r"\]\((?!https?://)[^)]*\)", str(about.get_payload())) == [], wheel


def test_the_mission_line_works_from_an_empty_folder(dist: Path, tmp_path: Path) -> None:
    environment = Environment(tmp_path / "venv")
    environment.install("--find-links", str(dist), "t2icli[all]")
    here = tmp_path / "empty"
    here.mkdir()
    where = environment.run("python", "-c", "import t2icli, t2i_starter; print(t2icli.__file__)", cwd=here)
    assert str(tmp_path / "venv") in where.stdout, where.stderr
    drawn = environment.run("t2i", "generate", "红烧牛肉面", "-n", "16", "--rerank", "brivl", cwd=here)
    assert drawn.returncode == 0, drawn.stderr
    paths = drawn.stdout.splitlines()
    assert len(paths) == 16 and all((here / path).is_file() for path in paths)
    assert (here / "pictures/红烧牛肉面/index.html").is_file()
    listed = environment.run("t2i", "plugins", cwd=here).stdout
    assert {
        "t2icli-brivl",
        "t2icli-clipcap",
        "t2icli-clipgen",
        "t2icli-dalle2",
        "t2icli-flow",
        "t2icli-starter",
        "t2icli-transformers",
        "t2icli-wavbrivl",
    } <= set(listed.split())
    assert environment.run("t2i", "serve", "--help", cwd=here).returncode == 0


def test_t2icli_alone_says_what_is_missing(dist: Path, tmp_path: Path) -> None:
    environment = Environment(tmp_path / "venv")
    environment.install(*map(str, dist.glob("t2icli-*.whl")))
    drawn = environment.run("t2i", "generate", "红烧牛肉面", cwd=tmp_path)
    assert drawn.returncode == 2 and "t2i install plugins/starter in the source tree" in drawn.stderr


AUTHOR = """
from collections.abc import Sequence

import msgspec
from PIL.Image import Image

from t2icli import Entry, Model, Ranker, T2IError, hookimpl, load


class Settings(msgspec.Struct, frozen=True):
    model: Model | None = None


class Widest:
    def __init__(self, settings: Settings) -> None:
        if settings.model is not None and settings.model.card.kind != "ranker":
            raise T2IError("that is not a ranker", "name another model")

    def score(self, prompt: str, images: Sequence[Image]) -> list[float]:
        return [float(image.width) for image in images]


class Silent:
    def __init__(self, settings: Settings) -> None: ...


@hookimpl
def t2i_rankers() -> list[Entry[Ranker]]:
    return [
        Entry("widest", "the widest picture first", Settings, Widest),
        Entry("silent", "cannot rank", Settings, Silent),
    ]


print(load("ranker", "widest").score("red", []))
"""


def test_the_types_of_what_is_installed_hold_for_a_strangers_plugin(dist: Path, tmp_path: Path) -> None:
    environment = Environment(tmp_path / "venv")
    environment.install(*map(str, dist.glob("t2icli-*.whl")))
    for kind in KINDS:
        made = environment.run("t2i", "plugins", "new", f"my-{kind}", "--kind", kind, cwd=tmp_path)
        assert made.returncode == 0, made.stderr
    (tmp_path / "author.py").write_text(AUTHOR)
    sources = ["author.py", *map(str, tmp_path.glob("t2icli-my-*/**/*.py"))]
    checked = environment.run("python", "-m", "mypy", "--strict", *sources, cwd=tmp_path)
    # Of all that, one entry alone is not what it is announced as.
    assert re.findall(r"^(?!Found).*error: .*$", checked.stdout, re.MULTILINE) == [
        'author.py:31: error: Argument 4 to "Entry" has incompatible type "type[Silent]"; '
        'expected "Callable[[Any], Ranker]"  [arg-type]'
    ], checked.stdout + checked.stderr
