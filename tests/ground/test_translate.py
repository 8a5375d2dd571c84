"""English messages in another language, by the templates they were made from."""

from __future__ import annotations

import pytest

from t2icli.ground import translate
from t2icli.ground.translate import Catalogue

ZH = Catalogue(
    {
        "no {0} called {1}": "没有名为 {1} 的 {0}",
        "did you mean {0}?": "是否想输入 {0}？",
        "name": "名称",
        "'{0}' is empty": "'{0}' 是空的",
        "{0} needs {1}": "{0} 需要 {1}",
        "nothing was done": "未执行任何操作",
    }
)


def test_values_take_their_places() -> None:
    assert ZH.translate("no ranker called 'brvl'") == "没有名为 'brvl' 的 ranker"


def test_the_template_with_the_most_words_wins() -> None:
    assert ZH.translate("no ranker called 'a: b'") == "没有名为 'a: b' 的 ranker"


def test_a_message_within_a_message_is_translated() -> None:
    assert ZH.translate("x.png: nothing was done") == "x.png：未执行任何操作"


def test_alternatives_are_joined_in_the_language() -> None:
    catalogue = Catalogue({"{0}, or {1}": "{0}，或 {1}", "run: {0}": "请运行：{0}"})
    assert catalogue.translate("run: t2i a, or t2i b, or t2i c") == "请运行：t2i a，或 t2i b，或 t2i c"


def test_names_stay_as_they_are_even_where_a_message_reads_the_same() -> None:
    assert ZH.translate("name") == "名称"
    assert ZH.translate("no name called 'nothing was done'") == "没有名为 'nothing was done' 的 name"
    assert ZH.translate("'nothing was done' is empty") == "'nothing was done' 是空的"


def test_messages_in_a_row_are_translated_one_by_one() -> None:
    assert ZH.translate("clip needs weights; nothing was done") == "clip 需要 weights；未执行任何操作"
    assert ZH.translate("some of it; is not known") == "some of it; is not known"


def test_a_message_of_any_length_is_shown() -> None:
    text = "\n".join(["x: " * 5000, "a; " * 5000, *["nothing was done"] * 5000])
    assert ZH.translate(text).count("未执行任何操作") == 5000


def test_lines_are_translated_one_by_one() -> None:
    assert ZH.translate("nothing was done\n  did you mean 'brivl'?") == "未执行任何操作\n  是否想输入 'brivl'？"


def test_what_is_unknown_stays() -> None:
    assert ZH.translate("a sentence of somebody else") == "a sentence of somebody else"


@pytest.mark.parametrize(
    ("variables", "spoken"),
    [
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "zh_CN.UTF-8", "T2I_LANG": "en"}, "en"),
        ({"LANG": "C", "T2I_LANG": "zh"}, "zh"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "de_DE.UTF-8"}, "en"),
        ({}, "en"),
    ],
)
def test_the_language_is_the_users(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], spoken: str) -> None:
    for name in ("T2I_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert translate.language() == spoken
