"""Command lines: numbers, encodings, control characters, paths and flags that contradict one another."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

from cases import Case, says
from kills import pictures

DRAW = ("generate", "x", "-m", "noise", "-n", "1", "-o", "size=8", "--output", "o")

NUMBERS = (
    "-0",
    "１２",
    "1_000",
    "0x10",
    "1e9",
    "+1",
    " 3",
    "3\n",
    "9" * 40,
    "-1",
    "٣",
    "Ⅷ",
    "1.0",
    "NaN",
    "",
    "\u202e1",
)
"""For `-n`, which wants a count: some of these are one."""

BAD: dict[str, Sequence[str | bytes]] = {
    "size of 10^18": ["generate", "x", "-m", "noise", "-n", "1", "-o", "size=1" + "0" * 18],
    "size of a million": ["generate", "x", "-m", "noise", "-n", "1", "-o", "size=1000000"],
    "negative seed": [*DRAW, "--seed", "-9223372036854775809"],
    "seed of 2^62": [*DRAW, "--seed", str(2**62)],
    "seed that is a float": [*DRAW, "--seed", "1e3"],
    "top of 0": [*DRAW, "--rerank", "colours", "--top", "0"],
    "top without rerank": [*DRAW, "--top", "1"],
    "empty prompt": ["generate", "", "-m", "noise"],
    "spaces for a prompt": ["generate", " \t\u3000", "-m", "noise"],
    "zero-width prompt": ["generate", "\u200b\u200d\ufeff", "-m", "noise", "-n", "1", "-o", "size=8"],
    "bytes for a prompt": ["generate", b"\xff\xfe\x80", "-m", "noise", "-n", "1", "-o", "size=8"],
    "escapes in a prompt": ["generate", "\x1b]0;owned\x07\x1b[2J", "-m", "noise", "-n", "1", "-o", "size=8"],
    "half a surrogate": ["generate", b"\xed\xa0\x80", "-m", "noise", "-n", "1", "-o", "size=8"],
    "a prompt of 100,000 letters": ["generate", "面" * 30_000, "-m", "noise", "-n", "1", "-o", "size=8"],
    "a prompt that is dots": ["generate", "..", "-m", "noise", "-n", "1", "-o", "size=8"],
    "a prompt that is a path": ["generate", "../../../etc/passwd", "-m", "noise", "-n", "1", "-o", "size=8"],
    "output is a file": [*DRAW[:-1], "stdin"],
    "output below a file": [*DRAW[:-1], "stdin/x"],
    "output is a device": [*DRAW[:-1], "/dev/null"],
    "output below /proc": [*DRAW[:-1], "/proc/self/x"],
    "output of 5,000 letters": [*DRAW[:-1], "x" * 5000],
    "output of many folders": [*DRAW[:-1], "x/" * 3000],
    "output with bytes": [*DRAW[:-1], b"o\xff\x80"],
    "output with escapes": [*DRAW[:-1], "o\x1b[31m\u202e"],
    "output with a newline": [*DRAW[:-1], "o\nerror: x"],
    "model is /dev/zero": ["generate", "x", "-m", "/dev/zero"],
    "model is a URL": ["generate", "x", "-m", "http://127.0.0.1/x"],
    "model has escapes": ["generate", "x", "-m", "\x1b[31mnoise"],
    "model of 100,000 letters": ["generate", "x", "-m", "n" * 100_000],
    "unknown option": [*DRAW, "-o", "siz=9"],
    "option without a value": [*DRAW, "-o", "size"],
    "option without a name": [*DRAW, "-o", "=8"],
    "option of many dots": [*DRAW, "-o", "." * 500 + "=1"],
    "option 3,000 levels deep": [*DRAW, "-o", "a." * 3000 + "a=1"],
    "one option twice": [*DRAW, "-o", "size=8", "-o", "size=9"],
    "option that is a table": [*DRAW, "-o", "size.x=1", "-o", "size=8"],
    "unknown device": [*DRAW, "--device", "cuda:99999999999"],
    "device with escapes": [*DRAW, "--device", "\x1b[2J"],
    "weights of rankers": [*DRAW, "--rerank", "colours=inf"],
    "weight that is not a number": [*DRAW, "--rerank", "colours=nan"],
    "negative weight": [*DRAW, "--rerank", "colours=-1e308,colours=1e308"],
    "one ranker twice": [*DRAW, "--rerank", "colours,colours"],
    "no ranker": [*DRAW, "--rerank", ",,="],
    "prompts from /dev/null": ["generate", "--prompts", "/dev/null", "-m", "noise"],
    "prompts from a folder": ["generate", "--prompts", ".", "-m", "noise"],
    "like a text": ["generate", "--like", "stdin", "-m", "noise"],
    "like and a prompt": ["generate", "x", "--like", "stdin", "-m", "noise"],
    "json and a mistake": [*DRAW, "--json", "--seed", "x"],
    "config is a device": [*DRAW, "--config", "/dev/null"],
    "config is a folder": [*DRAW, "--config", "."],
    "batch size of 10^30": [*DRAW, "--batch-size", "1" + "0" * 30],
    "rerank of nothing": ["rerank", "x", "nothing*.png"],
    "rerank of a root": ["rerank", "x", "/dev", "-r", "colours"],
    "copy and move": ["rerank", "x", ".", "-r", "colours", "--copy", "a", "--move", "b"],
    "prepare onto its source": ["prepare", "folder", ".", "--output", "."],
    "prepare without rows": ["prepare", "csv", "stdin", "--output", "p"],
    "shares above one": ["prepare", "csv", "stdin", "--output", "p", "--val", "0.7", "--test", "0.7"],
    "share that is not a number": ["prepare", "csv", "stdin", "--output", "p", "--val", "nan"],
    "shards of no rows": ["prepare", "csv", "stdin", "--output", "p", "--shard-rows", "0"],
    "fetch for ever": ["prepare", "csv", "stdin", "--output", "p", "-o", "fetch.timeout=inf"],
    "train on nothing": ["train", "vae", "--train-data", "nothing", "--output", "r"],
    "train with no steps": ["train", "vae", "--train-data", ".", "--max-steps", "-1"],
    "train at infinity": ["train", "vae", "--train-data", ".", "--lr", "inf"],
    "resume nothing": ["train", "--resume", "--output", "nothing"],
    "remove the store": ["models", "rm", "../..", "-y"],
    "remove a path": ["models", "rm", "/", "-y"],
    "import under a path": ["models", "import", "stdin", "--as", "vqgan", "--name", "../../x"],
    "default of nothing": ["models", "default", "a\x1b[31m", "b"],
    "a plugin called ..": ["plugins", "new", "../x"],
    "a plugin called import": ["plugins", "new", "import", "--output", "."],
    "uninstall a path": ["uninstall", "../x", "-y"],
    "uninstall an option": ["uninstall", "-y", "--", "-r/etc/passwd"],
    "unknown command": ["\x1b[31mgenerate"],
    "command of bytes": [b"\xff"],
    "only --": ["--"],
    "quiet and nothing": ["--quiet"],
}
HUGE = "9" * 18
PICTURE, FEW = "../shared/p/0000.png", ("-n", "1", "--output", "o")
SETTINGS: dict[str, Sequence[str]] = {
    "beams of 10^18": ["caption", PICTURE, "-o", f"beams={HUGE}"],
    "a thousand beams": ["caption", PICTURE, "-o", "beams=1000", "-o", "max_tokens=3"],
    "tokens of 10^18": ["caption", PICTURE, "-o", f"max_tokens={HUGE}"],
    "captions of 10^18": ["caption", PICTURE, "-n", HUGE],
    "candidates of 10^18": ["caption", PICTURE, "-o", f"candidates={HUGE}"],
    "a batch of 10^18": ["caption", PICTURE, "-o", f"batch={HUGE}"],
    "top-k of 10^18": ["generate", "红", "-m", "dalle", *FEW, "-o", f"top_k={HUGE}"],
    "a temperature of 1e-320": ["generate", "红", "-m", "dalle", *FEW, "-o", "temperature=1e-320"],
    "a temperature of 1e308": ["generate", "红", "-m", "dalle", *FEW, "-o", "temperature=1e308"],
    "a guidance of 1e308": ["generate", "红", "-m", "dalle", *FEW, "-o", "cfg_scale=1e308"],
    "dalle2, steps of 10^18": ["generate", "红", "-m", "dalle2", *FEW, "-o", f"steps={HUGE}"],
    "dalle2, a guidance of 1e308": ["generate", "红", "-m", "dalle2", *FEW, "-o", "cfg_scale=1e308", "-o", "steps=2"],
    "a batch of rankers of 10^18": ["rerank", "红", PICTURE, "-r", "brivl", "-o", f"batch={HUGE}"],
    "a width of 10^18": ["train", "vae", "--train-data", "../shared/p", "--output", "r", "-o", f"width={HUGE}"],
    "a picture of 10^18": ["train", "vae", "--train-data", "../shared/p", "--output", "r", "-o", f"size={HUGE}"],
    "workers of 10^18": ["train", "vae", "--train-data", "../shared/p", "--output", "r", "--workers", HUGE],
    "a batch of 10^18 pictures": ["train", "vae", "--train-data", "../shared/p", "--output", "r", "--batch-size", HUGE],
}
"""Numbers for backends with the models that ship; these take seconds each."""
CLOSED = {
    "closed stdout": ([*DRAW], (1,)),
    "closed stdout and stderr": ([*DRAW], (1, 2)),
    "closed stdin": ([*DRAW], (0,)),
    "all closed": ([*DRAW], (0, 1, 2)),
    "closed stdout of a list": (["plugins"], (1,)),
    "closed stderr of a mistake": (["generate", "x", "-m", "nothing"], (2,)),
    "closed stdout of --help": (["--help"], (1,)),
    "closed stdout of --json": (["doctor", "--json"], (1,)),
    "closed stdin of a question": (["models", "rm", "x/y"], (0,)),
    "closed stdin of prompts": (["generate", "-", "-m", "noise"], (0,)),
}
CONFIGS = {
    "a file of zeros": b"\0" * 5000,
    "latin-1": b"prompt = '\xe9'\n",
    "dates for numbers": b"n = 1979-05-27T07:32:00Z\n",
    "a number of 5,000 digits": b"n = " + b"9" * 5000 + b"\n",
    "keys 2,000 deep": b".".join([b"a"] * 2000) + b" = 1\n",
    "a table for a flag": b"[n]\nx = 1\n",
    "escapes for keys": b'"\\u001b[31m" = 1\n',
    "twice": b"n = 1\nn = 2\n",
    "a megabyte of brackets": b"n = " + b"[" * 1_000_000,
}


def lines(random: Random, shared: Path) -> Iterator[Case]:
    for number in NUMBERS:
        yield Case(f"-n {number[:12]!r}", [*DRAW[:4], "-n", number, *DRAW[6:]])
    for name, words in BAD.items():
        yield Case(name, words, codes=(0, 1, 2))
    pictures(shared / "p", 2)
    for name, words in SETTINGS.items():
        yield Case(name, words, codes=(0, 1, 2), megabytes=3000, seconds=120)
    for name, (words, closed) in CLOSED.items():
        yield Case(name, words, closed=closed, codes=(0, 1, 2))
    for name, content in CONFIGS.items():

        def write(folder: Path, content: bytes = content) -> None:
            (folder / "c.toml").write_bytes(content)

        yield Case(f"config: {name}", ["generate", "x", "-m", "noise", "--config", "c.toml"], write, codes=(2,))
    for name, value in {"bytes": b"\xff\xfe", "escapes": b"\x1b[31m", "words": "３ 4".encode(), "nothing": b""}.items():
        yield Case(f"T2I_SEED of {name}", DRAW, environment={"T2I_SEED": os.fsdecode(value)}, codes=(0, 2))
    yield Case("prompts of bytes on stdin", ["generate", "-", *DRAW[2:]], stdin=random.randbytes(3000), codes=(0, 2))
    yield Case("an endless line on stdin", ["generate", "-", *DRAW[2:]], stdin=b"x" * 5_000_000, codes=(0, 2))
    yield Case("a reader that has gone", DRAW, environment={"PYTHONUNBUFFERED": "1"}, codes=(0,), check=says("drawn"))
