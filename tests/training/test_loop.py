"""One run, watched from outside: what it leaves, and that the same settings give the same weights."""

from __future__ import annotations

from pathlib import Path

from t2icli.store import models
from t2icli.testing import Runner
from t2icli.training import log


def weights(run: Path, name: str = "model") -> bytes:
    return (run / name / models.WEIGHTS).read_bytes()


def test_a_run_leaves_a_model_a_log_checkpoints_and_previews(tiny_t2i: Runner, data: Path) -> None:
    result = tiny_t2i.ok("train", "tiny", "--train-data", data, "--output", "x")
    run = Path("x")
    assert result.stdout.strip() == "x/model"
    assert models.open_model(run / "model").card.backend == "tiny"
    assert models.open_model(run / "best").card.source.startswith("step ")
    assert [p.name for p in sorted((run / "checkpoints").glob("step-*"))] == ["step-000000009", "step-000000012"]
    assert [p.name for p in sorted((run / "previews").iterdir())] == ["step-000000006.png", "step-000000012.png"]
    lines = log.read(run / "log.jsonl")
    assert [line["step"] for line in lines if line["what"] == "train"] == [3, 6, 9, 12]
    assert [line["step"] for line in lines if line["what"] == "val"] == [4, 8, 12]
    assert lines[-1]["loss"] < lines[0]["loss"]
    assert list((run / "tensorboard").iterdir())
    assert "train 12/12" in result.stderr
