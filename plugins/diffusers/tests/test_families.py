"""Every family that reads Chinese, and Stable Diffusion, drawn by the same code. What they draw is noise."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL.Image import Image

from t2i_diffusers.testing.pipelines import FAMILIES, build
from t2icli.contract.entries import Entry
from t2icli.contract.requests import Request
from t2icli.ground.watch import Watch
from t2icli.store.verified import file_sha256
from t2icli.testing import check_generator

PROMPT = "红烧牛肉面"


class Looking(Watch):
    """Counts steps and paints every preview; cancels at a given step."""

    def __init__(self, cancel_at: int | None = None) -> None:
        self.cancel_at = cancel_at
        self.steps: list[tuple[int, int]] = []
        self.previews: list[Image] = []

    def step(self, done: int, of: int) -> None:
        self.steps.append((done, of))
        if done == self.cancel_at:
            raise KeyboardInterrupt

    def preview(self, index: int, picture: Callable[[], Image]) -> None:
        self.previews.append(picture())


def pixels(images: list[Image]) -> list[bytes]:
    return [image.tobytes() for image in images]


def test_a_tiny_pipeline_has_the_same_bytes_every_time(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    first, again = (_hashes(folder) for folder in (tiny("kolors"), build("kolors", tmp_path)))
    assert first and first == again, "kolors is the one whose tokenizer is trained"


def _hashes(folder: Path) -> dict[Path, str]:
    return {path.relative_to(folder): file_sha256(path) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_picture_depends_on_its_seed_alone_whoever_watches_or_cancels(family: str, load: Callable[..., Any]) -> None:
    generator = load(family)
    images = list(generator.generate(PROMPT, 2, seed=7))
    assert [image.size for image in images] == [(64, 64), (64, 64)]
    assert np.asarray(images[0]).std() > 5, "a plain picture shows that the pipeline was driven wrongly"
    assert pixels(images)[0] != pixels(images)[1]
    with pytest.raises(KeyboardInterrupt):
        list(generator.draw([Request(PROMPT, 7)], Looking(cancel_at=1)))
    watch = Looking()
    assert pixels(list(generator.draw([Request(PROMPT, 8)], watch))) == pixels(images)[1:]
    assert watch.steps == [(0, 2), (1, 2), (2, 2)]
    assert len(watch.previews) == 2
    # The last step leaves no noise, so what it aims at is the picture itself.
    last, drawn = (np.asarray(image.convert("RGB"), int) for image in (watch.previews[-1], images[1]))
    assert last.shape == drawn.shape and np.abs(last - drawn).mean() < 3


def test_a_pipeline_that_nothing_here_names_is_called_by_its_signature(load: Callable[..., Any]) -> None:
    generator = load("latent-consistency", steps="4", cfg_scale="8")
    first, second = generator.generate(PROMPT, 2, seed=7)
    assert first.size == (64, 64) and first.tobytes() != second.tobytes()
    watch = Looking()
    assert pixels(list(generator.draw([Request(PROMPT, 8)], watch))) == [second.tobytes()]
    assert watch.steps[-1] == (4, 4) and len(watch.previews) == 4


def test_all_promises_of_a_generator_hold(entry: Entry[Any], tiny: Callable[..., Any]) -> None:
    check_generator(entry, source=tiny("z-image"), steps="3", size="64x64", precision="fp32", device="cpu")


@pytest.mark.gpu
def test_all_promises_hold_on_a_gpu_but_for_the_last_bits_of_other_batches(
    entry: Entry[Any], tiny: Callable[..., Any]
) -> None:
    options = {"steps": "3", "size": "64x64", "precision": "fp32", "device": "cuda", "batch": "2"}
    check_generator(entry, source=tiny("z-image"), tolerance=2, **options)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("family", FAMILIES)
def test_all_promises_of_a_generator_hold_for_every_family(
    family: str, entry: Entry[Any], tiny: Callable[..., Any]
) -> None:
    without_negative = family in ("flux2-klein", "sana-sprint")
    with pytest.warns(UserWarning, match="negative") if without_negative else contextlib.nullcontext():
        check_generator(entry, source=tiny(family), steps="3", size="64x64", precision="fp32", device="cpu")
