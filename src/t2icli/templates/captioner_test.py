from __future__ import annotations

from pathlib import Path

import t2i_sample
from PIL import Image

from t2icli.testing import Runner, check_captioner


def test_it_keeps_the_promises_of_a_captioner() -> None:
    (entry,) = t2i_sample.t2i_captioners()
    check_captioner(entry)


def test_t2i_caption_says_what_it_sees(t2i: Runner, tmp_path: Path) -> None:
    t2i.use(t2i_sample)
    Image.new("RGB", (32, 16), "white").save(tmp_path / "one.png")
    shown = t2i.ok("caption", tmp_path / "one.png", "--model", "sample").stdout
    assert "bright" in shown and "wide" in shown
