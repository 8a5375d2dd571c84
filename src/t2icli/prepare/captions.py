"""The rules for captions, a million a second: whole columns at a time, and all words of a list in one search."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from t2icli.errors import T2IError
from t2icli.prepare.languages import language
from t2icli.prepare.settings import Rules

SPACES = "".join(filter(str.isspace, map(chr, range(0x110000))))
DIGITS = "".join(filter(str.isdecimal, map(chr, range(0x110000))))
"""Spelt out, because arrow's own classes know ASCII only and change with its version."""
SMALL = 1 << 20
"""Bytes of a word list up to which the quickest, largest automaton is built."""

Test = Callable[[Any], Any]
"""An arrow array of captions in, True for each that is to be dropped out."""


class CaptionRules:
    """The caption half of `Rules`, ready to be applied."""

    def __init__(self, rules: Rules) -> None:
        import pyarrow.compute as pc

        self.required = rules.captions == "required"
        self.tests: dict[str, Test] = {}
        if rules.min_length:
            self.tests["caption-too-short"] = lambda texts: pc.less(pc.utf8_length(texts), rules.min_length)
        if rules.max_length is not None:
            self.tests["caption-too-long"] = lambda texts: pc.greater(pc.utf8_length(texts), rules.max_length)
        if rules.forbidden or not rules.digits:
            self.tests["forbidden-character"] = _holds(f"[{re.escape(rules.forbidden + DIGITS * (not rules.digits))}]")
        if rules.longest_piece is not None:
            self.tests["piece-too-long"] = _holds(f"[^;,{SPACES}]{{{rules.longest_piece + 1}}}")
        if rules.languages:
            self.tests["other-language"] = _other_language(frozenset(rules.languages))
        if rules.words is not None:
            self.tests["no-word"] = _without(read_words(Path(rules.words)))
        self.reasons = ("", *self.tests)

    def judge(self, rows: Sequence[tuple[str, ...]]) -> list[tuple[tuple[str, ...], str]]:
        """For each row the captions that may stay, and why it is dropped: because none of them may, or ''."""
        verdicts = self._reasons(list(chain.from_iterable(rows)))
        if all(len(captions) == 1 for captions in rows):
            return [(captions, reason) for captions, reason in zip(rows, verdicts, strict=True)]
        judged, start = [], 0
        for captions in rows:
            mine = verdicts[start : start + len(captions)]
            start += len(captions)
            judged.append(self._row(captions, mine))
        return judged

    def _row(self, captions: tuple[str, ...], reasons: Sequence[str]) -> tuple[tuple[str, ...], str]:
        if not captions:
            return (), "no-caption" if self.required else ""
        kept = tuple(caption for caption, reason in zip(captions, reasons, strict=True) if not reason)
        return (kept, "") if kept else (captions, reasons[0])

    def _reasons(self, captions: list[str]) -> list[str]:
        """The first rule each caption breaks; later rules see only what earlier ones left."""
        if not self.tests or not captions:
            return [""] * len(captions)
        import pyarrow as pa

        broken = np.zeros(len(captions), dtype=np.int8)
        texts, here = pa.array(captions, pa.string()), np.arange(len(captions))
        for number, test in enumerate(self.tests.values(), start=1):
            bad = np.asarray(test(texts))
            broken[here[bad]] = number
            here = here[~bad]
            texts = texts.filter(pa.array(~bad))
        return [self.reasons[number] for number in broken.tolist()]


def _holds(pattern: str) -> Test:
    import pyarrow.compute as pc

    return lambda texts: pc.match_substring_regex(texts, pattern)


def _other_language(wanted: frozenset[str]) -> Test:
    return lambda texts: np.array([language(text) not in wanted for text in texts.to_pylist()], dtype=bool)


def _without(words: Sequence[str]) -> Test:
    """Captions that hold none of the words: one Aho-Corasick pass over all captions laid end to end."""
    import ahocorasick_rs as ac

    raw = [word.encode() for word in words]
    kind = ac.Implementation.DFA if sum(map(len, raw)) < SMALL else ac.Implementation.ContiguousNFA
    automaton = ac.BytesAhoCorasick(raw, implementation=kind)

    def test(texts: Any) -> Any:
        found = automaton.find_matches_as_indexes("\n".join(texts.to_pylist()).encode())
        starts = np.fromiter((match[1] for match in found), dtype=np.int64, count=len(found))
        bad = np.ones(len(texts), dtype=bool)
        bad[np.searchsorted(_ends(texts), starts, side="right")] = False
        return bad

    return test


def _ends(texts: Any) -> Any:
    """Where each caption ends when all are joined with one byte between them."""
    import pyarrow.compute as pc

    return np.cumsum(np.asarray(pc.binary_length(texts)) + 1)


def read_words(path: Path) -> list[str]:
    """A word list: one a line, UTF-8."""
    try:
        words = sorted({line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()} - {""})
    except OSError as error:
        raise T2IError(f"cannot read the word list '{path}': {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise T2IError(f"the word list '{path}' is not UTF-8") from error
    if not words:
        raise T2IError(f"the word list '{path}' is empty")
    return words
