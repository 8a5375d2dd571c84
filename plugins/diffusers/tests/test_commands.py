"""Through the front door: `t2i generate -m diffusers -o source=FOLDER`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import t2i_diffusers
from t2icli.pictures.images import open_image
from t2icli.testing import Runner

QUICK = ("-o", "steps=2", "-o", "size=64x64", "-o", "precision=fp32")


def test_a_folder_draws_without_a_store_and_a_picture_is_replayed(t2i: Runner, tiny: Callable[[str], Path]) -> None:
    t2i.use(t2i_diffusers)
    model = ("-m", "diffusers", "-o", f"source={tiny('z-image')}", *QUICK)
    for n, folder in ((2, "two"), (1, "one")):
        t2i.ok("generate", "红烧牛肉面", *model, "-n", n, "--seed", 7, "--output", folder)
    drawn = sorted(Path("two").glob("*.png"))
    assert [open_image(path).size for path in drawn if path.name != "grid.png"] == [(64, 64)] * 2
    assert Path("one/000.png").read_bytes() == Path("two/000.png").read_bytes()
    assert "agrees in every pixel" in t2i.ok("replay", "two/001.png").stdout
