from __future__ import annotations

from pathlib import Path

import t2i_sample
from PIL import Image

from t2icli.testing import Runner, check_ranker


def test_it_keeps_the_promises_of_a_ranker() -> None:
    (entry,) = t2i_sample.t2i_rankers()
    check_ranker(entry)


def test_t2i_rerank_puts_the_strongest_contrast_first(t2i: Runner, tmp_path: Path) -> None:
    t2i.use(t2i_sample)
    Image.new("RGB", (16, 16), "grey").save(tmp_path / "flat.png")
    Image.linear_gradient("L").convert("RGB").save(tmp_path / "strong.png")
    shown = t2i.ok("rerank", "anything", tmp_path, "--ranker", "sample").stdout
    assert shown.index("strong.png") < shown.index("flat.png")
