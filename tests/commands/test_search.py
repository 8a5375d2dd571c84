from __future__ import annotations

from pathlib import Path

from PIL import Image

from t2icli.testing import Runner


def test_search_needs_an_embedder_and_says_which(t2i: Runner, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), "red").save(tmp_path / "a.png")
    t2i.fails("search", "red", tmp_path, "-r", "colours", says="ranks pictures but does not embed them")
