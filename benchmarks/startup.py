"""How long `t2i --help` takes beside an empty Typer program, with twenty plugins installed, and how long sixteen
pictures of the starter take, from the typed line to the gallery, beside importing torch.

    python benchmarks/startup.py [ROUNDS]

The programs take turns, so that a busy machine slows all of them alike; ratios are of medians. The command
of the empty program takes a value, so Typer imports pydantic.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from table import record

from t2icli.pipelines import scaffold

Env = dict[str, str]

EMPTY = """
import typer
app = typer.Typer()
@app.command()
def one(name: str = ""): "Nothing."
@app.command()
def two(): "Nothing."
app()
"""
T2I = "from t2icli.__main__ import main; main()"
PROGRAMS = {
    "an empty Typer program --help": [EMPTY, "--help"],
    "an empty Typer program one": [EMPTY, "one", "--name", "x"],
    "t2i --version": [T2I, "--version"],
    "t2i --help": [T2I, "--help"],
    "t2i generate --help": [T2I, "generate", "--help"],
    "t2i plugins": [T2I, "plugins"],
    "t2i models list": [T2I, "models", "list"],
}
PICTURES = ["generate", "红烧牛肉面", "-n", "16", "--rerank", "brivl", "--seed", "1", "--output", "pictures", "--force"]
FIRST = {
    "python -c 'import torch'": ["import torch"],
    "t2i generate 红烧牛肉面 -n 16 --rerank brivl": [T2I, *PICTURES],
}


def main(rounds: int = 15) -> None:
    with tempfile.TemporaryDirectory() as folder:
        install_plugins(Path(folder), 20)
        environment = {**os.environ, "PYTHONPATH": folder, "T2I_HOME": f"{folder}/home"}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # users have compiled files, after the first start
        about = "With twenty plugins installed. The empty program's command takes a value, so Typer imports pydantic."
        compare("Starting", about, PROGRAMS, rounds, Path(folder), environment)
        about = "From the typed line to sixteen ranked pictures and their gallery, with the starter's models."
        compare("The first pictures", about, FIRST, rounds, Path(folder), environment)


def compare(title: str, about: str, programs: dict[str, list[str]], rounds: int, folder: Path, variables: Env) -> None:
    """Record what each takes, beside the first of them."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in programs}
    for _ in range(rounds + 1):
        for name, words in programs.items():
            taken[name].append(measure([sys.executable, "-c", *words], folder, variables))
    standard = figures(next(iter(taken.values())))
    rows = []
    for name, pairs in taken.items():
        (wall, walls), (used, uses) = own = figures(pairs)
        by_wall, by_use = (mine[1] / theirs[1] for mine, theirs in zip(own, standard, strict=True))
        rows.append([name, wall, walls, by_wall, used, uses, by_use])
    columns = ["", *(f"{kind} s{of}" for kind in ("wall", "CPU") for of in (", least", ", median", " / the first's"))]
    record(title, about, columns, rows)


def measure(command: list[str], folder: Path, environment: Env) -> tuple[float, float]:
    """Seconds by the clock, and seconds of processor time, which a busy machine changes less."""
    begun, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(command, cwd=folder, env=environment, check=True, **quiet)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - begun, used


def figures(pairs: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Smallest and median of each column; the first row only warmed the disk's cache."""
    return [(min(column), statistics.median(column)) for column in zip(*pairs[1:], strict=True)]


def install_plugins(site: Path, n: int) -> None:
    """Plugins as pip would leave them."""
    kinds = scaffold.kinds()
    for i in range(n):
        project = scaffold.new(f"fake{i}", kinds[i % len(kinds)], site / "projects")
        (project / f"src/t2i_fake{i}").rename(site / f"t2i_fake{i}")
        info = site / f"t2icli_fake{i}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: t2icli-fake{i}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[t2icli]\nfake{i} = t2i_fake{i}\n")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
