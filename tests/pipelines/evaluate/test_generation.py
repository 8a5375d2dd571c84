from __future__ import annotations

import random
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

from t2icli.contract.entries import Entry
from t2icli.contract.hookspecs import hookimpl
from t2icli.ground.errors import T2IError
from t2icli.pictures.images import open_image
from t2icli.pipelines.evaluate.distances import frechet
from t2icli.pipelines.evaluate.generation import AT_ONCE, evaluate
from t2icli.registry.open import Opened
from t2icli.testing import Runner

COLOURS = ("red", "green", "blue", "black")


class Settings(msgspec.Struct, frozen=True): ...


class Forgetful:
    """Draws the colour it is asked for one time in four, else any."""

    def generate(self, prompt: str, n: int, *, seed: int) -> Iterator[Image.Image]:
        for i in range(n):
            chance = random.Random(f"{prompt}{seed + i}")
            yield Image.new("RGB", (8, 8), prompt if chance.random() < 0.25 else chance.choice(COLOURS))


def by_colour(prompts: Sequence[str], images: Sequence[Image.Image]) -> np.ndarray:
    wanted = [Image.new("RGB", (1, 1), prompt).getpixel((0, 0)) for prompt in prompts]
    return np.asarray([[float(image.getpixel((0, 0)) == colour) for image in images] for colour in wanted])


@pytest.fixture
def source() -> Opened:
    return Opened("generator", "forgetful", Settings(), Forgetful())


def test_the_best_of_more_candidates_fits_more_often(source: Opened) -> None:
    result = evaluate(source, COLOURS, 64, by_colour, by_colour, seed=0)
    assert [each.n for each in result.curve] == [1, 4, 16, 64]
    found = [each.r_precision for each in result.curve]
    assert 25 < found[0] < 65 and found[1] > found[0] + 15 and found[2] > 98


def test_a_ranker_that_knows_nothing_gains_nothing_in_the_judges_eyes(source: Opened) -> None:
    noise = np.random.default_rng(0)
    result = evaluate(
        source, COLOURS, 64, lambda prompts, images: noise.random((len(prompts), len(images))), by_colour, seed=0
    )
    assert result.curve[1].r_precision == pytest.approx(result.curve[0].r_precision, abs=15)


def test_a_picture_that_fits_another_prompt_as_well_is_no_hit() -> None:
    source = Opened("generator", "forgetful", Settings(), Forgetful())
    alike = evaluate(
        source, COLOURS, 1, by_colour, lambda prompts, images: np.ones((len(prompts), len(images))), seed=0
    )
    assert alike.curve[0].r_precision == 0


def test_candidates_are_seen_a_few_at_a_time_and_let_go(source: Opened) -> None:
    met: list[weakref.ref[Image.Image]] = []
    most = 0

    def watching(prompts: Sequence[str], images: Sequence[Image.Image]) -> np.ndarray:
        nonlocal most
        met.extend(map(weakref.ref, images))
        most = max(most, sum(image() is not None for image in met))
        return by_colour(prompts, images)

    result = evaluate(source, COLOURS, 200, watching, by_colour, seed=0)
    assert result.candidates == 200 and most <= 2 * AT_ONCE


def test_one_prompt_is_not_enough(source: Opened) -> None:
    with pytest.raises(T2IError, match="at least two different prompts"):
        evaluate(source, ["red", "red"], 2, by_colour, by_colour, seed=0)


def test_the_frechet_distance_is_that_of_the_fitted_normal_distributions() -> None:
    features = np.random.default_rng(0).standard_normal((400, 6)) @ np.diag([1, 2, 3, 1, 0.5, 0.0])
    spread = np.trace(np.cov(features, rowvar=False))
    assert frechet(features, features) == pytest.approx(0, abs=1e-6)
    assert frechet(features, features + 2) == pytest.approx(6 * 4, abs=1e-6)
    assert frechet(features, 3 * features) == pytest.approx(
        4 * spread + 4 * np.square(features.mean(0)).sum(), rel=1e-9
    )


def test_the_command_prints_the_curve_and_draws_it(t2i: Runner, tmp_path: Path) -> None:
    class Plugin:
        __name__ = "forgetful"

        @hookimpl
        def t2i_generators(self) -> list[Entry]:
            return [Entry("forgetful", "often wrong", Settings, lambda settings: Forgetful())]

    t2i.use(Plugin())
    (tmp_path / "prompts.txt").write_text("\n".join(COLOURS[:3]))
    words = ("evaluate", "generation", tmp_path / "prompts.txt", "-m", "forgetful", "-r", "colours", "-n", "16")
    shown = t2i.ok(*words, "--plot", tmp_path / "curve.png")
    assert "R-precision" in shown.stdout and "the same ranker chooses and judges" in shown.stderr
    assert open_image(tmp_path / "curve.png").size == (960, 480)
    curve = t2i.ok(*words, "--json").json()["best_of"]
    assert [each["n"] for each in curve] == [1, 4, 16] and curve[2]["r_precision"] > curve[0]["r_precision"]
