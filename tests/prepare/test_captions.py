from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from t2icli.ground.errors import T2IError
from t2icli.prepare.captions import CaptionRules
from t2icli.prepare.languages import language
from t2icli.prepare.settings import Rules


def judge(*captions: str, **rules: Any) -> list[str]:
    made = CaptionRules(Rules(**rules))
    return [made.reasons[number] for number in made.judge([(caption,) for caption in captions])[1]]


def words(tmp_path: Path, *listed: str) -> str:
    path = tmp_path / "words.txt"
    path.write_text("\n".join(listed), encoding="utf-8")
    return str(path)


def test_lengths_count_characters_and_not_bytes() -> None:
    assert judge("面" * 32, "面" * 33, "😀" * 32, max_length=32) == ["", "caption-too-long", ""]
    assert judge("面", "两面", min_length=2) == ["caption-too-short", ""]


@pytest.mark.parametrize("digit", "1 １ ٣ 𝟗".split())
def test_digits_of_every_script_are_found(digit: str) -> None:
    assert judge(f"面{digit}", digits=False) == ["forbidden-character"]


@pytest.mark.parametrize("sign", "① ² Ⅳ 三 ½".split())
def test_numbers_that_are_no_digits_may_stay(sign: str) -> None:
    assert judge(f"面{sign}", digits=False) == [""]


def test_forbidden_characters_are_taken_literally() -> None:
    assert judge("a]b", "a-b", "a^b", "a\\b", "acb", forbidden="]^-\\") == ["forbidden-character"] * 4 + [""]


@pytest.mark.parametrize("space", [" ", "\t", "\n", "\u00a0", "\u3000", "\u2009", "\x1c", ",", ";"])
def test_pieces_end_at_every_kind_of_space(space: str) -> None:
    assert judge("面" * 18 + space + "面" * 18, longest_piece=18) == [""]


@pytest.mark.parametrize("mark", "，。、；|")
def test_pieces_do_not_end_at_chinese_punctuation(mark: str) -> None:
    assert judge("面" * 10 + mark + "面" * 10, longest_piece=18) == ["piece-too-long"]


def test_a_word_counts_wherever_it_stands_but_not_across_captions(tmp_path: Path) -> None:
    listed = words(tmp_path, "牛肉面", "汤", "")
    captions = ["红烧牛肉面", "牛", "肉面", "喝汤", "牛 肉面", "牛肉\n面", "牛肉", "面汤汤", "\n", "x\n汤"]
    bad = "no-word"
    assert judge(*captions, words=listed) == ["", bad, bad, "", bad, bad, bad, "", bad, ""]


def test_words_that_overlap_hide_nothing_from_the_next_caption(tmp_path: Path) -> None:
    assert judge("ab", "bc", "c", "xbcx", words=words(tmp_path, "b", "abc", "bcx")) == ["", "", "no-word", ""]


def test_many_words_and_captions_agree_with_looking_each_up(tmp_path: Path) -> None:
    import random

    chance = random.Random(3)
    letters = "面汤饭菜肉鱼蛋虾葱蒜"
    listed = ["".join(chance.choices(letters, k=chance.randint(2, 5))) for _ in range(60)]
    captions = ["".join(chance.choices(letters, k=chance.randint(1, 12))) for _ in range(500)]
    expected = ["" if any(word in caption for word in listed) else "no-word" for caption in captions]
    assert judge(*captions, words=words(tmp_path, *listed)) == expected
    assert len(set(expected)) == 2


def test_of_several_captions_only_the_bad_ones_go() -> None:
    made = CaptionRules(Rules(max_length=3))
    kept, verdicts = made.judge([("good", "ok", "yes"), ("too long", "also long"), (), ("fine!", "no")])
    assert kept == [("ok", "yes"), ("too long", "also long"), (), ("no",)]
    assert [made.reasons[number] for number in verdicts] == ["", "caption-too-long", "", ""]


def test_rows_without_captions_stay_unless_captions_are_required() -> None:
    made = CaptionRules(Rules(captions="required", max_length=9))
    assert [made.reasons[number] for number in made.judge([(), ("a",), ("a", "b")])[1]] == ["no-caption", "", ""]


def test_the_first_broken_rule_is_the_reason(tmp_path: Path) -> None:
    rules = {"max_length": 5, "digits": False, "words": words(tmp_path, "x")}
    assert judge("123456", "1", "a", "x", **rules) == ["caption-too-long", "forbidden-character", "no-word", ""]


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("红烧牛肉面", "zh"),
        ("iPhone 手机壳", "zh"),
        ("a bowl of noodles", "en"),
        ("ラーメン一杯", "ja"),
        ("牛肉麺とご飯", "ja"),
        ("불고기", "ko"),
        ("борщ со сметаной", "ru"),
        ("حساء", "ar"),
        ("123 !!!", "und"),
        ("", "und"),
    ],
)
def test_a_language_is_told_by_its_script(caption: str, expected: str) -> None:
    assert language(caption) == expected


def test_other_languages_can_be_left_out() -> None:
    assert judge("红烧牛肉面", "noodles", "面", languages=("zh",)) == ["", "other-language", ""]


@pytest.mark.parametrize(("content", "says"), [(b"", "is empty"), ("面".encode("gbk"), "not UTF-8")])
def test_a_word_list_that_cannot_be_used_is_named(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "w.txt").write_bytes(content)
    with pytest.raises(T2IError, match=says):
        judge("a", words=str(tmp_path / "w.txt"))
