from __future__ import annotations

from pathlib import Path

import t2i_sample
from PIL import Image

from t2icli.data import dataset, shards
from t2icli.testing import Runner, check_generator, check_recipe


def reds(folder: Path) -> Path:
    """A prepared dataset of four red pictures."""
    for i in range(4):
        Image.new("RGB", (8, 8), (250, 20, 20)).save(folder / f"{i}.png")
    shards.write(folder / "data", [dataset.SourceRow(str(i), folder / f"{i}.png", ("red",)) for i in range(4)])
    return folder / "data"


def test_it_keeps_the_promises_of_a_recipe(tmp_path: Path) -> None:
    (entry,) = t2i_sample.t2i_recipes()
    check_recipe(entry, dataset.PreparedDataset.open(reds(tmp_path)), tmp_path / "model", size=4)


def test_what_was_trained_draws(t2i: Runner, tmp_path: Path) -> None:
    t2i.use(t2i_sample)
    words = ["-o", "size=4", "--max-steps", "40", "--batch-size", "2", "--report-to", "none"]
    t2i.ok("train", "sample", "--train-data", reds(tmp_path), *words, "--output", tmp_path / "run")
    (entry,) = t2i_sample.t2i_generators()
    check_generator(entry, model=str(tmp_path / "run/model"))
    t2i.ok("generate", "red", "-m", tmp_path / "run/model", "--output", tmp_path / "out")
    red, green, _ = Image.open(tmp_path / "out/000.png").convert("RGB").tobytes()[:3]
    assert red > 200 > 80 > green
