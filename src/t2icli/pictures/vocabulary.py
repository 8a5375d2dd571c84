"""Which words of a prompt a model has never read, going by a list of the words it was trained on."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterator

FUNCTION_WORDS = frozenset("a an and at by for in of on or some the to with".split()) | frozenset("的和与及或在里上一")
"""Function words, which need not be in the vocabulary."""
COUNTED = re.compile(r"[一二两三四五六七八九十几]+[个只条匹头群本张座辆列架艘台件位名幅栋间棵朵片块颗根支把双]")
"""A number with a measure word, 两匹 in 两匹马: it says nothing of what is to be seen."""
RUN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]+|[^\W\d_\u3400-\u9fff\uf900-\ufaff]+")
"""Chinese characters in a row, or letters of any other script."""
ENDINGS = ("s", "es", "ies")


def unknown(prompt: str, known: Collection[str]) -> list[str]:
    """The words of `prompt` that are not `known`, which is in lower case; each once, in their order."""
    runs = RUN.findall(unicodedata.normalize("NFKC", prompt).lower())
    missing = (word for run in runs for word in (_chinese(run, known) if _is_chinese(run) else _word(run, known)))
    return list(dict.fromkeys(missing))


def _is_chinese(run: str) -> bool:
    return "\u3400" <= run[0] <= "\u9fff" or "\uf900" <= run[0] <= "\ufaff"


def _word(run: str, known: Collection[str]) -> Iterator[str]:
    singular = [run.removesuffix(ending) for ending in ENDINGS]
    forms = (run, *singular, *(form + ending for form in singular for ending in ("s", "y")))
    if run not in FUNCTION_WORDS and not any(form in known for form in forms):
        yield run


def _chinese(run: str, known: Collection[str]) -> Iterator[str]:
    """What remains after removing the longest known words from left to right.

    A single character in a name that is mostly known is no word of its own: 香 in 香葱煎蛋.
    """
    longest = max(map(len, known), default=1)
    left, at, ignored = [""], 0, 0
    while at < len(run):
        lengths = range(min(longest, len(run) - at), 0, -1)
        length = next((n for n in lengths if _is_known(run[at : at + n], known)), 0)
        if (counted := COUNTED.match(run, at)) and len(counted[0]) > length:
            length = len(counted[0])
            ignored += length
        if not length:
            left[-1] += run[at]
        elif left[-1]:
            left.append("")
        at += length or 1
    mostly_known = 2 * sum(map(len, left)) < len(run) - ignored
    yield from (word for word in left if len(word) > mostly_known)


def _is_known(word: str, known: Collection[str]) -> bool:
    return word in known or word in FUNCTION_WORDS
