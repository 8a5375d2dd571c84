from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from t2icli.backends import colours
from t2icli.backends.colours.rank import COLOURS, Colours, named, oklab
from t2icli.registry import discovery
from t2icli.testing import check_ranker


def test_it_keeps_the_promises_of_a_ranker() -> None:
    check_ranker(discovery.find("ranker", "colours"))


@pytest.mark.parametrize(
    ("prompt", "found"), [("a Red rose", ["red"]), ("红花绿叶", ["red", "green"]), ("a bored cat", [])]
)
def test_colours_are_read_as_words_in_english_and_characters_in_chinese(prompt: str, found: list[str]) -> None:
    assert named(prompt) == found


@pytest.mark.parametrize("colour", COLOURS)
def test_of_flat_pictures_that_of_the_colour_named_scores_highest(colour: str) -> None:
    flat = {name: Image.new("RGB", (4, 4), paint) for name, (_, paint) in COLOURS.items()}
    scores = dict(zip(flat, Colours(colours.Settings()).score(colour, list(flat.values())), strict=True))
    assert max(scores, key=lambda name: scores[name]) == colour
    assert scores[colour] == pytest.approx(1)


def test_more_of_a_colour_scores_higher() -> None:
    pictures = []
    for share in (1, 4, 8):
        picture = Image.new("RGB", (8, 8), "white")
        picture.paste((204, 32, 36), (0, 0, 8, share))
        pictures.append(picture)
    scores = Colours(colours.Settings()).score("red", pictures)
    assert scores == sorted(scores)


def test_oklab_has_the_published_values() -> None:
    # White, and the primaries of sRGB as given by Ottosson.
    assert oklab(np.array([255.0, 255.0, 255.0])) == pytest.approx([1, 0, 0], abs=1e-4)
    assert oklab(np.array([255.0, 0.0, 0.0])) == pytest.approx([0.6280, 0.2249, 0.1258], abs=1e-3)
