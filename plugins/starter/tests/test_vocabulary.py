from __future__ import annotations

import pytest

from t2i_starter import Settings, t2i_models
from t2i_starter.source import Plates
from t2icli.pictures.vocabulary import unknown


def test_every_caption_is_made_of_known_words() -> None:
    (known, *_) = {source.words for source in t2i_models()}
    assert known is not None
    plates = Plates(Settings(look="photo"))
    captions = [caption for at in range(1500) for caption in plates.invented(at).captions]
    assert [(caption, words) for caption in captions if (words := unknown(caption, known()))] == []


@pytest.mark.parametrize(
    "prompt",
    ["木碗里的炒饭", "黄色盘子上的虾", "两笼包子", "三盘饺子", "tofu in a blue-rimmed bowl", "three servings of fries"],
)
def test_vessels_colours_and_counts_are_known(prompt: str) -> None:
    known = t2i_models()[0].words
    assert known is not None and unknown(prompt, known()) == []


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("sunset over the sea", ["sunset", "over"]),
        ("山间的湖", ["山间", "湖"]),
        ("一只猫", ["只猫"]),
        ("红色的汽车", ["汽车"]),
        ("两匹马", ["匹马"]),
        ("a black dog", ["dog"]),
        ("frog hot pot", ["frog"]),
    ],
)
def test_what_is_no_plate_is_not_known(prompt: str, words: list[str]) -> None:
    known = t2i_models()[0].words
    assert known is not None
    assert unknown(prompt, known()) == words
