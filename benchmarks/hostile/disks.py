"""A disk of one megabyte that is full, or becomes so: a message, exit code 1, no half file, nothing else harmed.

Needs root, who alone may mount such a disk."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

from cases import Case, installed
from kills import PLUGIN, Story, ended, pictures

KEPT = "kept.txt"
ROOM = {"nothing": 0, "a page": 1, "a bit": 5, "more": 30}
"""Pages of 4 kB that are left."""
COMMANDS: dict[str, Sequence[str]] = {
    "generate": ["generate", "红", "-m", "noise", "-n", "40", "-o", "size=64", "--output", "d/o"],
    "generate --rerank": ["generate", "红", "-m", "noise", "-n", "9", "--rerank", "colours", "--output", "d/o"],
    "prepare": ["prepare", "plates", "40", "--output", "d/out", "--shard-rows", "5"],
    "prepare --export": ["prepare", "PREPARED", "--export", "openclip-csv", "--output", "d/out"],
    "rerank --copy": ["rerank", "红", "PICTURES", "-r", "colours", "--copy", "d/c"],
    "replay --output": ["replay", "DRAWN", "--output", "d/again.png"],
    "plugins new": ["plugins", "new", "mine", "--output", "d/mine"],
    "train": ["train", "tokenizer", "--train-data", "PREPARED", "--output", "d/r", "-o", "vocabulary=300"],
    "train, steps": ["train", "tiny", "--train-data", "PREPARED", "--output", "d/x", "--max-steps", "6"],
    "models import": ["models", "import", "MODEL", "--name", "vqgan/x"],
    "models default": ["models", "default", "vqgan", "vqgan/starter"],
}


@dataclass(frozen=True)
class Sources:
    """What the commands read, on another disk."""

    folder: Path

    def words(self, words: Sequence[str]) -> list[str]:
        places = {"PREPARED": "data", "PICTURES": "p", "DRAWN": "o/000.png", "MODEL": "model"}
        return [str(self.folder / places[word]) if word in places else word for word in words]


def disks(random: Random, shared: Path) -> Iterator[Story]:
    if os.geteuid() != 0:
        print("disks: skipped, needs root")
        return
    large = pictures(shared / "p", 30)
    ended(["prepare", "folder", str(large), "--output", "data"], shared)
    ended(["generate", "x", "-m", "noise", "-n", "1", "--output", "o"], shared)
    starter = Path(__file__).parents[2] / "plugins/starter/src/t2i_starter/models/vqgan"
    shutil.copytree(starter, shared / "model")
    sources, plugin = Sources(shared), installed(shared, "tinyrecipe", PLUGIN)
    for about, words in COMMANDS.items():
        for room, pages in ROOM.items():
            yield Story(f"{about}: room for {room}", partial(_on_a_full_disk, sources.words(words), pages, plugin))


def _on_a_full_disk(words: Sequence[str], pages: int, plugin: Mapping[str, str], folder: Path) -> list[str]:
    disk = folder / "d"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(disk)], check=True)
    try:
        (disk / KEPT).write_text("kept")
        _fill(disk, pages)
        variables = {**plugin, "T2I_HOME": str(disk / "home")}
        case = Case("", words, codes=(0, 1), environment=variables, seconds=90, megabytes=1300)
        found = case.run(folder)
        return found + ["another file was harmed"] * ((disk / KEPT).read_text() != "kept")
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def _fill(disk: Path, pages: int) -> None:
    """Leave so many pages."""
    room = os.statvfs(disk)
    with open(disk / "full", "wb", buffering=0) as file:
        for _ in range(max(0, room.f_bavail - pages)):
            file.write(b"\0" * room.f_frsize)
