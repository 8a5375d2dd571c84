"""English messages in another language, by the templates they were made from."""

from __future__ import annotations

import pytest

from t2icli.ground import translate
from t2icli.ground.translate import Catalogue

ZH = Catalogue(
    {
        "no {0} called {1}": "没有名为 {1} 的{0}",
        "{0}: {1}": "{0}：{1}",
        "did you mean {0}?": "是否想输入 {0}？",
        "ranker": "排序器",
        "nothing was done": "未执行任何操作",
    }
)


def test_values_take_their_places_and_are_translated_themselves() -> None:
    assert ZH.translate("no ranker called 'brvl'") == "没有名为 'brvl' 的排序器"


def test_the_template_with_the_most_words_wins() -> None:
    assert ZH.translate("no ranker called 'a: b'") == "没有名为 'a: b' 的排序器"


def test_a_message_within_a_message_is_translated() -> None:
    assert ZH.translate("x.png: nothing was done") == "x.png：未执行任何操作"


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
