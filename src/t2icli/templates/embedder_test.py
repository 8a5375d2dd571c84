from __future__ import annotations

from pathlib import Path

import t2i_sample
from PIL import Image

from t2icli.testing import Runner, check_embedder


def test_it_keeps_the_promises_of_an_embedder() -> None:
    (entry,) = t2i_sample.t2i_embedders()
    check_embedder(entry)


def test_it_ranks_for_free(t2i: Runner, tmp_path: Path) -> None:
    t2i.use(t2i_sample)
    Image.linear_gradient("L").convert("RGB").save(tmp_path / "one.png")
    assert "one.png" in t2i.ok("rerank", "a red apple", tmp_path, "--ranker", "sample").stdout
