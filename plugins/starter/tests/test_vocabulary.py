from __future__ import annotations

from typing import get_args

import pytest

from t2i_starter import Look, Settings, look, t2i_models
from t2i_starter.source import Plates
from t2i_starter.vocabulary import words
from t2icli.pictures.vocabulary import unknown


@pytest.mark.parametrize("chosen", get_args(Look))
def test_every_caption_is_made_of_known_words(chosen: Look) -> None:
    plates = Plates(Settings(look=chosen))
    captions = [caption for at in range(1500) for caption in plates.invented(at).captions]
    assert [(caption, missing) for caption in captions if (missing := unknown(caption, words(chosen)))] == []


def test_shipped_models_know_the_words_of_the_look_they_learnt() -> None:
    for source in t2i_models():
        assert source.words is not None and source.words() == words(look(source.name.partition("/")[0]))


@pytest.mark.parametrize(
    "prompt",
    ["木碗里的炒饭", "黄色盘子上的虾", "两笼包子", "三盘饺子", "tofu in a blue-rimmed bowl", "three servings of fries"],
)
def test_vessels_colours_and_counts_are_known_of_photos(prompt: str) -> None:
    assert unknown(prompt, words("photo")) == []


@pytest.mark.parametrize(
    ("chosen", "prompt", "missing"),
    [
        ("drawn", "sunset over the sea", ["sunset", "over"]),
        ("drawn", "山间的湖", ["山间", "湖"]),
        ("drawn", "一只猫", []),
        ("photo", "sunset over the sea", ["sunset", "over"]),
        ("photo", "山间的湖", ["山间", "湖"]),
        ("photo", "一只猫", ["猫"]),
        ("photo", "十二本书和两匹马", ["书", "马"]),
        ("photo", "红色的汽车", ["汽车"]),
        ("photo", "两匹马", ["马"]),
        ("photo", "a black dog", ["dog"]),
        ("photo", "frog hot pot", ["frog"]),
    ],
)
def test_what_is_no_plate_is_not_known(chosen: Look, prompt: str, missing: list[str]) -> None:
    assert unknown(prompt, words(chosen)) == missing
