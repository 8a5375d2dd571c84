"""The rules for captions, a million a second: whole columns at a time, and all words of a list in one search."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from t2icli.ground import files
from t2icli.ground.errors import T2IError
from t2icli.prepare.languages import language
from t2icli.prepare.settings import Rules

SPACES = "".join(filter(str.isspace, map(chr, range(0x20000))))
DIGITS = "".join(filter(str.isdecimal, map(chr, range(0x20000))))
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
            self.tests["piece-too-long"] = _long_piece(rules.longest_piece)
        if rules.languages:
            self.tests["other-language"] = _other_language(frozenset(rules.languages))
        if rules.words is not None:
            self.tests["no-word"] = _without(read_words(Path(rules.words)))
        self.reasons = ("", "no-caption", *self.tests)
        """What a verdict's number means; 0 is a caption that may stay."""

    def judge(self, rows: Sequence[tuple[str, ...]]) -> tuple[list[tuple[str, ...]], Any]:
        """For each row the captions that may stay, and the verdict on it: the first caption's if none may stay."""
        import pyarrow as pa

        counts = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
        each = self.verdicts(pa.array(chain.from_iterable(rows), pa.string()))
        ends = np.cumsum(counts)
        if not len(rows) or (counts == 1).all():
            return list(rows), each
        rest = list(rows)
        verdicts = np.full(len(rows), int(self.required), dtype=np.int8)
        for i in np.flatnonzero(counts).tolist():
            mine = each[ends[i] - counts[i] : ends[i]]
            stay = np.flatnonzero(mine == 0).tolist()
            verdicts[i] = 0 if stay else mine[0]
            rest[i] = tuple(rows[i][k] for k in stay) if stay else rows[i]
        return rest, verdicts

    def verdicts(self, texts: Any) -> Any:
        """For each of an arrow array of captions the number of the first rule it breaks; '' counts as no caption."""
        import pyarrow as pa
        import pyarrow.compute as pc

        there = np.asarray(pc.not_equal(texts, ""))
        broken = np.where(there, 0, int(self.required)).astype(np.int8)
        here = np.flatnonzero(there)
        texts = texts if len(here) == len(texts) else texts.take(pa.array(here))
        for number, test in enumerate(self.tests.values(), start=2):
            bad = np.asarray(test(texts))
            if bad.any():  # later rules see only what earlier ones left
                broken[here[bad]] = number
                here = here[~bad]
                texts = texts.filter(pa.array(~bad))
        return broken


def _holds(pattern: str) -> Test:
    import pyarrow.compute as pc

    return lambda texts: pc.match_substring_regex(texts, pattern)


def _long_piece(longest: int) -> Test:
    import pyarrow.compute as pc

    def test(texts: Any) -> Any:
        bad = np.asarray(pc.greater(pc.utf8_length(texts), longest))
        bad[bad] = np.asarray(pc.match_substring_regex(texts.filter(bad), pattern))  # the short ones need no search
        return bad

    pattern = f"[^;,{SPACES}]{{{longest + 1}}}"
    return test


def _other_language(wanted: frozenset[str]) -> Test:
    return lambda texts: np.array([language(text) not in wanted for text in texts.to_pylist()], dtype=bool)


def _without(words: Sequence[str]) -> Test:
    """Captions that hold none of the words: one Aho-Corasick pass over all captions laid end to end."""
    import ahocorasick_rs as ac

    raw = [word.encode() for word in words]
    kind = ac.Implementation.DFA if sum(map(len, raw)) < SMALL else ac.Implementation.ContiguousNFA
    automaton = ac.BytesAhoCorasick(raw, implementation=kind)

    def test(texts: Any) -> Any:
        matches = automaton.find_matches_as_indexes(_joined(texts))
        starts = np.fromiter((match[1] for match in matches), dtype=np.int64, count=len(matches))
        bad = np.ones(len(texts), dtype=bool)
        bad[np.searchsorted(_ends(texts), starts, side="right")] = False
        return bad

    return test


def _joined(texts: Any) -> bytes:
    """All captions with a newline between them, without making Python's strings of them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    whole = pa.ListArray.from_arrays(pa.array([0, len(texts)], pa.int32()), texts)
    return bytes(pc.binary_join(whole, "\n")[0].as_buffer())


def _ends(texts: Any) -> Any:
    """Where each caption ends when all are joined with one byte between them."""
    import pyarrow.compute as pc

    return np.cumsum(np.asarray(pc.binary_length(texts)) + 1)


def read_words(path: Path) -> list[str]:
    """A word list: one a line, UTF-8."""
    words = sorted({line.strip() for line in files.read_text(path).splitlines()} - {""})
    if not words:
        raise T2IError(f"the word list '{path}' is empty")
    return words
