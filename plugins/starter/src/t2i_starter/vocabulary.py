"""Every word that the names of plates and single things are made of."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from t2i_starter import source
from t2i_starter import words as tables


@functools.cache
def words() -> frozenset[str]:
    """In lower case; English names as single words, Chinese ones whole."""
    return frozenset(word.lower() for word in [*_chinese(), *_english()])


def _chinese() -> Iterator[str]:
    for names in tables.chinese().values():
        yield from names
    for thing in source.things():
        yield from (*thing.chinese, f"一{thing.measure}")
    yield from (f"一{measure}" for measure in tables.measures().values())
    yield from (praise for praise, _ in (*tables.TASTY, *tables.PRETTY))
    yield from (chinese for chinese, _ in tables.PICTURED)


def _english() -> Iterator[str]:
    names = [*tables.english().values(), *(thing.english for thing in source.things())]
    names += [praise for _, praise in (*tables.TASTY, *tables.PRETTY)]
    names += [english for _, english in tables.PICTURED]
    names += tables.VESSELS.values()
    for name in names:
        yield from name.replace("-", " ").split()
