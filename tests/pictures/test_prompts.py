from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from t2icli.ground.errors import T2IError
from t2icli.pictures import prompts


@pytest.mark.parametrize("empty", ["", "   ", "\n\t", "\u3000"])
def test_a_prompt_without_words_is_refused(empty: str) -> None:
    with pytest.raises(T2IError, match="empty"):
        prompts.clean(empty)


@pytest.mark.parametrize("character", ["\x00", "\x1b", "\x7f", "\x1c"])
def test_control_characters_are_refused_and_named(character: str) -> None:
    with pytest.raises(T2IError, match=f"U\\+{ord(character):04X} at character 3"):
        prompts.clean(f"ab{character}")


def test_bytes_that_are_not_utf_8_are_refused() -> None:
    with pytest.raises(T2IError, match="not valid UTF-8"):
        prompts.clean(b"a\xff".decode(errors="surrogateescape"))


def test_white_space_and_line_breaks_become_one_space() -> None:
    assert prompts.clean("  red\n\n bowl\u3000of\tsoup ") == "red bowl of soup"


@pytest.mark.parametrize("prompt", ["🍜 👩‍🍳", "𰻝𰻝面", "مرحبا بالعالم", "x" * 10_000])
def test_emoji_rare_characters_right_to_left_and_length_pass_unchanged(prompt: str) -> None:
    assert prompts.clean(prompt) == unicodedata.normalize("NFC", prompt)


def test_composed_and_decomposed_prompts_are_the_same() -> None:
    assert prompts.clean("cafe\u0301") == prompts.clean("caf\u00e9") == "caf\u00e9"


def test_a_file_of_prompts_is_read_by_lines_and_an_error_names_the_line(tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("\ufeffred bowl\n\n红烧牛肉面\r\n", encoding="utf-8")
    assert prompts.read(file) == ["red bowl", "红烧牛肉面"]
    file.write_text("fine\nb\x00d\n")
    with pytest.raises(T2IError, match="line 2 of"):
        prompts.read(file)


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("红烧牛肉面", "红烧牛肉面"),
        ("../../etc/passwd", "etc-passwd"),
        ("C:\\Windows", "c-windows"),
        ("🍜", ""),
        ("..", ""),
        ("CON", "con-"),
        ("½ a/b", "1-2-a-b"),
        ("<b>&\"'", "b"),
    ],
)
def test_a_slug_holds_letters_and_digits_alone(prompt: str, name: str) -> None:
    assert prompts.slug(prompt) == name


def test_a_slug_is_short_enough_for_a_folder() -> None:
    assert len(prompts.slug("𰻝" * 10_000).encode()) <= 160


def test_prompts_are_read_as_they_are_needed(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_bytes("\ufeff first \n\n".encode() + b"\xff\n")
    prompts_of = prompts.stream(path)
    assert next(prompts_of) == "first"
    with pytest.raises(T2IError, match="is not UTF-8: line 3"):
        next(prompts_of)
