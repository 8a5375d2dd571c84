"""`make test-pythons`: on the oldest and the newest Python that we claim, the tests of all that needs no torch.

Torch for two more Pythons would be ten gigabytes. The files that do need it are compiled there, and not run.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from t2icli.ground import toml

ROOT = Path(__file__).parents[1]
PROJECT = toml.read(ROOT / "pyproject.toml")["project"]
NEEDS_TORCH = re.compile(r"^(torch|torchvision|open_clip_torch|transformers|safetensors|tokenizers)\b")
IMPORTS = re.compile(
    r"^\s*(import|from) (torch|safetensors|tokenizers|transformers|open_clip)\b|\bhuggingface_hub\b", re.MULTILINE
)
"""What is not installed, in the text of a test."""
FOLDERS = ("ground", "registry", "contract", "data", "pictures", "store")
FILES = ("test_cli.py", "test_config.py", "test_architecture.py")


def claimed() -> list[str]:
    """The oldest and the newest: `3.10`, `3.13`."""
    versions = re.findall(r"Python :: (3\.\d+)$", "\n".join(PROJECT["classifiers"]), re.MULTILINE)
    return [versions[0], versions[-1]]


def find(version: str) -> Path | None:
    """An interpreter on the path, or one of pyenv's."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    places = [shutil.which(f"python{version}"), *sorted(pyenv.glob(f"versions/{version}.*/bin/python"))]
    return next((Path(place) for place in places if place is not None and _works(place, version)), None)


def _works(place: str | Path, version: str) -> bool:
    """pyenv's stand-ins are on the path also where what they stand for is not chosen."""
    program = "import ensurepip, sys, venv; print('%d.%d' % sys.version_info[:2])"
    ended = subprocess.run([place, "-c", program], capture_output=True, text=True, check=False)
    return ended.stdout.strip() == version


def install(interpreter: Path, folder: Path) -> Path:
    """An environment with what is small; the core and one plugin in place."""
    python = folder / "bin/python"
    wanted = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["data"]]
    small = [each for each in wanted if not NEEDS_TORCH.match(each)]
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--constraint", "constraints.txt"]
    run([interpreter, "-m", "venv", folder])
    run([*pip, "hatchling", "editables", "pytest", "pytest-timeout", "pytest-xdist", *small])
    run([*pip, "--no-deps", "--no-build-isolation", "-e", ".", "-e", "plugins/starter"])
    return python


def run(command: list[str | Path]) -> None:
    subprocess.run(command, cwd=ROOT, check=True)


def tests() -> Iterator[Path]:
    files = [file for folder in FOLDERS for file in sorted((ROOT / "tests" / folder).glob("test_*.py"))]
    for file in (*files, *(ROOT / "tests" / name for name in FILES)):
        if not IMPORTS.search(file.read_text(encoding="utf-8")):
            yield file


def check(interpreter: Path, version: str) -> bool:
    print(f"\n=== Python {version}: {interpreter}", flush=True)
    python = install(interpreter, ROOT / f".venv-{version}")
    run([python, "-m", "compileall", "-q", "src", *sorted((ROOT / "plugins").glob("*/src"))])
    words = ["-q", "-n", "2", "--dist", "loadfile", "-p", "no:cacheprovider"]
    return subprocess.run([python, "-m", "pytest", *words, *tests()], cwd=ROOT).returncode == 0


def main() -> int:
    results: list[str] = []
    for version in claimed():
        interpreter = find(version)
        if interpreter is None:
            results.append(f"NOT RUN  Python {version}: there is no python{version} on the path or among pyenv's")
        else:
            results.append(f"{'passed ' if check(interpreter, version) else 'FAILED '}  Python {version}")
    print("\n" + "\n".join(results))
    return int(any(result.startswith("FAILED") for result in results))


if __name__ == "__main__":
    sys.exit(main())
