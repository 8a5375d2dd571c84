"""`-o loop.compile=true`: the step's loss is compiled, what is evaluated and saved is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from t2icli.store import models
from t2icli.testing import Runner
from t2icli.training import log


def losses(run: str) -> list[float]:
    return [line["loss"] for line in log.read(Path(run) / "log.jsonl") if line["what"] == "train"]


def test_each_turns_loss_is_compiled_once_and_the_run_is_the_same(
    tiny_t2i: Runner, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = []

    def compile(loss: Any) -> Any:
        compiled.append(loss.__name__)
        return lambda *given: loss(*given)

    run = ["train", "tiny", "--train-data", data, "--report-to", "none"]
    tiny_t2i.ok(*run, "--output", "plain")
    monkeypatch.setattr(torch, "compile", compile)
    tiny_t2i.ok(*run, "--output", "compiled", "-o", "loop.compile=true")
    assert compiled == ["draw", "judge"]
    plain, again = (Path(name, "model", models.WEIGHTS).read_bytes() for name in ("plain", "compiled"))
    assert plain == again


def test_without_a_compiler_it_says_what_to_do(
    tiny_t2i: Runner, data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from torch._inductor import config

    monkeypatch.setattr(config.cpp, "cxx", (None, str(tmp_path / "no-compiler")))
    monkeypatch.setattr(config, "force_disable_caches", True)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    run = ["train", "tiny", "--train-data", data, "--report-to", "none", "--output", "run"]
    tiny_t2i.fails(*run, "-o", "loop.compile=true", code=1, says="-o loop.compile=false")


@pytest.mark.slow
def test_a_compiled_run_learns_as_one_that_is_not(tiny_t2i: Runner, data: Path) -> None:
    run = ["train", "tiny", "--train-data", data, "--report-to", "none", "-o", "dropout=0"]
    tiny_t2i.ok(*run, "--output", "plain")
    tiny_t2i.ok(*run, "--output", "compiled", "-o", "loop.compile=true")
    assert losses("compiled") == pytest.approx(losses("plain"), rel=1e-3)
