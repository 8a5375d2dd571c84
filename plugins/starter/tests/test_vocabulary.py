from __future__ import annotations

import pytest

from t2i_starter import Settings, t2i_models
from t2i_starter.source import Plates
from t2i_starter.vocabulary import words
from t2icli.pictures.vocabulary import unknown


def test_every_caption_is_made_of_known_words() -> None:
    plates = Plates(Settings())
    captions = [caption for at in range(1500) for caption in plates.invented(at).captions]
    assert [(caption, missing) for caption in captions if (missing := unknown(caption, words()))] == []


def test_shipped_models_know_these_words() -> None:
    assert all(source.words is not None and source.words() == words() for source in t2i_models())


@pytest.mark.parametrize(
    "prompt",
    ["木碗里的炒饭", "黄色盘子上的虾", "两笼包子", "三盘饺子", "tofu in a blue-rimmed bowl", "three servings of fries"],
)
def test_vessels_colours_and_counts_are_known_of_photos(prompt: str) -> None:
    assert unknown(prompt, words()) == []


@pytest.mark.parametrize(
    ("prompt", "missing"),
    [
        ("sunset over the sea", ["sunset", "over"]),
        ("山间的湖", ["山间", "湖"]),
        ("一只猫", ["猫"]),
        ("十二本书和两匹马", ["书", "马"]),
        ("红色的汽车", ["汽车"]),
        ("两匹马", ["马"]),
        ("a black dog", ["dog"]),
        ("frog hot pot", ["frog"]),
    ],
)
def test_what_is_no_plate_is_not_known(prompt: str, missing: list[str]) -> None:
    assert unknown(prompt, words()) == missing
