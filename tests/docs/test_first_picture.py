"""docs/first-picture.md: its commands work one after the other, with tiny models in place of the real ones."""

from __future__ import annotations

import re
import shlex
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from t2icli.testing import Runner
from t2icli.testing.hub import FakeHub

t2i_diffusers = pytest.importorskip("t2i_diffusers", reason="diffusers needs Python 3.11")
DOCS = Path(__file__).parents[2] / "docs"
SMALL = {
    "generate": ("-o", "size=64x64", "-o", "precision=fp32", "--device", "cpu"),
    "train": (
        "-o",
        "pixels=64",
        "-o",
        "preview_steps=2",
        "-o",
        "text_length=64",
        "--max-steps",
        "2",
        "--device",
        "cpu",
    ),
}
"""Pictures of 64 pixels and two steps of training are enough for networks of a few thousand numbers."""


def commands(page: str) -> list[list[str]]:
    blocks = re.findall(r"^```bash\n(.*?)^```", (DOCS / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [shlex.split(line) for block in blocks for line in block.splitlines()]


def test_both_languages_have_the_same_commands() -> None:
    assert commands("first-picture.md") == commands("first-picture.zh.md")


def test_the_page_works_from_its_first_command_to_its_last(t2i: Runner, fake_hub: FakeHub, tmp_path: Path) -> None:
    import t2i_transformers
    from t2i_diffusers.testing import pipelines

    fake_hub.add("Tongyi-MAI/Z-Image-Turbo", files(pipelines.build("z-image", tmp_path / "z-image")))
    fake_hub.add("google/siglip2-base-patch16-224", files(dual_encoder(tmp_path / "siglip2")))
    noise = np.random.default_rng(0)
    Path("photos").mkdir()
    for name in ("a", "b", "c"):
        Image.fromarray(noise.integers(0, 256, (64, 64, 3), np.uint8)).save(f"photos/{name}.png")
        Path(f"photos/{name}.txt").write_text("一碗面", encoding="utf-8")
    t2i.use(t2i_diffusers, t2i_transformers)
    for words in commands("first-picture.md"):
        t2i.ok(*words[1:], *SMALL.get(words[1], ()))
    found = {folder.name: len(list(folder.glob("0*.png"))) for folder in Path("pictures").iterdir()}
    assert found == {"noodles": 4, "small": 1, "best": 2, "tomato": 1, "mine": 4}


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def dual_encoder(folder: Path) -> Path:
    """A SigLIP 2 with random weights."""
    import transformers

    from t2icli.testing import tokenizers

    thin: dict[str, Any] = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    text = {**thin, "vocab_size": tokenizers.VOCABULARY, "max_position_embeddings": 64, "projection_size": 16}
    vision = {**thin, "patch_size": 16, "image_size": 32}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = transformers.SiglipConfig(text_config=text, vision_config=vision)
        transformers.SiglipModel(config).save_pretrained(folder)
        images = transformers.SiglipImageProcessor(size={"height": 32, "width": 32})
        transformers.SiglipProcessor(images, tokenizers.gemma()).save_pretrained(folder)
    return folder
