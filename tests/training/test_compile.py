"""`-o loop.compile=true`: the step's loss is compiled, what is evaluated and saved is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from t2icli.testing import Runner
from t2icli.training import log


def losses(run: str, what: str = "train", name: str = "loss") -> list[float]:
    return [line[name] for line in log.read(Path(run) / "log.jsonl") if line["what"] == what]


def twice(loss: Any) -> Any:
    """A compiler that is quick and shows where it was: the losses are doubled, which changes no step of adamw."""

    def compiled(*inputs: Any) -> Any:
        value, figures = loss(*inputs)
        return 2 * value, figures

    return compiled


def test_every_turns_loss_is_compiled_and_what_is_evaluated_is_not(
    tiny_t2i: Runner, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = ["train", "tiny", "--train-data", data, "--report-to", "none", "--clip", "0"]
    tiny_t2i.ok(*run, "--output", "plain")
    monkeypatch.setattr(torch, "compile", twice)
    tiny_t2i.ok(*run, "--output", "twice", "-o", "loop.compile=true")
    for name in ("loss", "judge_loss"):
        expected = [2 * loss for loss in losses("plain", name=name)]
        assert expected and losses("twice", name=name) == pytest.approx(expected, rel=1e-3)
    assert losses("twice", "val") == pytest.approx(losses("plain", "val"), rel=1e-3) and losses("plain", "val")


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
