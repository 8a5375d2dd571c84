"""BLEU against the values its implementation in NLTK documents; the others against pycocoevalcap 1.2."""

from __future__ import annotations

import pytest

from t2icli.ground.errors import T2IError
from t2icli.pipelines.evaluate.caption_scores import bleu, characters, cider_d, cutter, longest_common, rouge_l, scores

GUIDE = "It is a guide to action which ensures that the military always obeys the commands of the party".split()
GUIDES = [
    "It is a guide to action that ensures that the military will forever heed Party commands".split(),
    (
        "It is the guiding principle which guarantees the military forces always being under the command of the Party"
    ).split(),
    "It is the practical guide for the army always to heed the directions of the party".split(),
]
READER = "he read the book because he was interested in world history".split()
READERS = ["he was interested in world history because he read the book".split()]

CAPTIONS = [
    text.split()
    for text in (
        "a man rides a horse",
        "two dogs are playing in the snow",
        "a red car on the road",
        "a cat sleeps on the sofa",
    )
]
REFERENCES = [
    [text.split() for text in texts]
    for texts in (
        ("a man is riding a horse", "a person rides a brown horse", "someone on a horse"),
        ("two dogs play in the snow", "dogs are playing in white snow"),
        ("a red bus on the street", "a bus drives down a street in the city"),
        ("a cat sleeps on the sofa",),
    )
]


def test_bleu_is_what_nltk_documents() -> None:
    assert bleu([GUIDE], [GUIDES]) == pytest.approx(0.5045666840058485)
    assert bleu([GUIDE, READER], [GUIDES, READERS]) == pytest.approx(0.5920778868801042)


def test_bleu_counts_no_word_more_often_than_a_reference_has_it() -> None:
    seven_thes, cats = ["the"] * 7, ["the cat is on the mat".split(), "there is a cat on the mat".split()]
    assert bleu([seven_thes], [cats], 1) == pytest.approx(2 / 7)  # Papineni et al. 2002, example 2


def test_all_three_are_what_the_coco_evaluation_gives() -> None:
    assert bleu(CAPTIONS, REFERENCES) == pytest.approx(0.5718597857, abs=1e-6)
    rouge = [rouge_l(caption, known) for caption, known in zip(CAPTIONS, REFERENCES, strict=True)]
    assert rouge == pytest.approx([0.71554252, 0.78005115, 0.66666667, 1.0], abs=1e-6)
    assert cider_d(CAPTIONS, REFERENCES) == pytest.approx([2.10320815, 4.3373474, 0.85318038, 10.0], abs=1e-6)


def test_a_caption_that_is_its_reference_gets_everything_and_an_empty_one_nothing() -> None:
    perfect = scores(CAPTIONS, [[caption] for caption in CAPTIONS])
    assert perfect == pytest.approx({"bleu_4": 1.0, "rouge_l": 1.0, "cider_d": 10.0})
    assert scores([[]] * 4, REFERENCES) == {"bleu_4": 0.0, "rouge_l": 0.0, "cider_d": 0.0}


def test_chinese_is_cut_by_character_or_by_word_and_latin_words_stay_whole() -> None:
    assert characters("一个red圆形，2个。") == ["一", "个", "red", "圆", "形", "2", "个"]
    pytest.importorskip("jieba")
    assert cutter("word")("一个女人坐在苹果电脑前") == ["一个", "女人", "坐在", "苹果电脑", "前"]
    assert cutter("word")("A red circle!") == ["a", "red", "circle"]


def test_the_longest_common_subsequence_may_have_gaps() -> None:
    assert longest_common("abcbdab", "bdcaba") == 4


def test_images_without_references_are_refused() -> None:
    with pytest.raises(T2IError, match="nothing to compare captions with"):
        scores([["a"]], [[]])
