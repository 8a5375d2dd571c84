from __future__ import annotations

import pytest

from t2icli.pictures.vocabulary import unknown

KNOWN = {"红烧", "牛肉", "面", "一碗", "猫", "noodles", "beef", "cherry", "box"}


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("红烧牛肉面", []),
        ("一碗红烧的牛肉面", []),
        ("Beef Noodles in the box", []),
        ("cherries and boxes", []),
        ("two bowls of noodles", ["two", "bowls"]),
        ("外星人", ["外星人"]),
        ("外星人吃牛肉面", ["外星人吃"]),
        ("香牛肉面", []),  # a lone character in a name that is known
        ("湖", ["湖"]),
        ("кот and ネコ 3", ["кот", "ネコ"]),
        ("sunset, sunset!", ["sunset"]),
        ("", []),
    ],
)
def test_words_that_were_never_read_are_found(prompt: str, words: list[str]) -> None:
    assert unknown(prompt, KNOWN) == words
