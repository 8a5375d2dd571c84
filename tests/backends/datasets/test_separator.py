from __future__ import annotations

from pathlib import Path

import pytest

from t2icli import load


@pytest.mark.parametrize("between", ["\t", ",", ";"])
def test_the_first_line_of_a_csv_says_what_separates_its_cells(tmp_path: Path, between: str) -> None:
    """text2img's and open_clip's tables are called .csv and separated by tabs."""
    caption = "a red plate, round" if between == "\t" else "a red plate"
    lines = [between.join(("title", "filepath")), between.join((caption, "red.png"))]
    (tmp_path / "train_clean.csv").write_text("\n".join(lines) + "\n")
    row = next(iter(load("dataset", "csv").rows(tmp_path / "train_clean.csv")))
    assert row.captions == (caption,) and row.image == tmp_path / "red.png"
