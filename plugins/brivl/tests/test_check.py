from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

import t2i_brivl
from t2i_brivl import check
from t2icli.store.models import Model
from t2icli.testing import Runner


class Parrot:
    """Says of the published pictures and sentences what was published, a little off."""

    width = 2048

    def __init__(self, off: float) -> None:
        self.off = off

    def embed_texts(self, texts: list[str]) -> torch.Tensor:
        assert texts[0] == "诺伍德大厅酒店位于阿伯丁，是家4星级酒店。"
        return self._said("np_text.npy")

    def embed_boxes(self, images: list, boxes: list) -> torch.Tensor:
        assert [len(each) for each in boxes] == [100, 100, 100]
        return self._said("np_img.npy")

    def _said(self, name: str) -> torch.Tensor:
        published = torch.from_numpy(check._published(name))
        noise = torch.from_numpy(np.random.default_rng(0).standard_normal(published.shape)).float()
        return torch.nn.functional.normalize(published + self.off * noise / 2048**0.5, dim=-1)


def test_the_published_vectors_are_recognised(tmp_path: Path) -> None:
    for name in ("baike_14361859_0", "baike_14014334_0", "baike_14708276_0"):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.jpg")
    same = check.compare(Parrot(1e-3), tmp_path)
    assert len(same) == 6 and all(each.is_same for each in same)
    others = check.compare(Parrot(0.2))
    assert others and not any(each.is_same for each in others)


def test_the_command_refuses_a_small_brivl(t2i: Runner, imported_text: Model) -> None:
    t2i.use(t2i_brivl)
    t2i.fails("brivl", "check", imported_text.folder, says="256 dimensions, the released one 2048")


def test_pulling_the_released_model_says_how_to_import_it(t2i: Runner) -> None:
    t2i.use(t2i_brivl)
    t2i.fails("models", "pull", "brivl/1.0", says="t2i models import FILE... --as brivl")


def test_a_small_brivl_is_imported_and_ranks_from_the_command_line(t2i: Runner, brivl: Path) -> None:
    t2i.use(t2i_brivl)
    files = [brivl / name for name in ("brivl_tiny.pth", "vocab.txt", "config.yml", "bert_config.json")]
    t2i.ok("models", "import", *files, "--as", "brivl", "--name", "tiny")
    prompt = "这一碗红烧牛肉面的肉好多，真是好吃！"
    words = ("rerank", prompt, brivl / "clip_sort", "-r", "brivl", "-o", "preprocess=clip_sort", "--json")
    order = [Path(each["path"]).stem for each in t2i.ok(*words).json()["results"]]
    assert order == ["0", "7", "2", "4", "6", "1", "3", "5"]
