"""Processes forked from one that has torch in it already: a start costs milliseconds."""

from __future__ import annotations

import multiprocessing
from collections.abc import Mapping
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import tiny

server = multiprocessing.get_context("forkserver")
LAZY = ["torch._dynamo", "torch._inductor", "torch.testing", "pyarrow.parquet", "typer._adapters", "PIL.PngImagePlugin"]
server.set_forkserver_preload(["t2icli.training.loop", "t2icli.pipelines.train", "t2icli.cli", *LAZY])


def start(words: list[str], folder: Path, environment: Mapping[str, str] | None = None) -> ForkServerProcess:
    """`t2i WORDS` with the tiny recipe, in `folder`; what it says is added to `folder/said`."""
    process = server.Process(target=tiny.t2i, args=(words, folder, folder / "home", environment))
    process.start()
    return process
