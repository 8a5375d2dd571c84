"""Every word that names of dishes are made of, as `look=photo` serves them."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from t2i_starter import servings
from t2i_starter import words as tables


@functools.cache
def words() -> frozenset[str]:
    """In lower case; English names as single words, Chinese ones whole."""
    return frozenset(word.lower() for word in (*_chinese(), *_english()))


def _chinese() -> Iterator[str]:
    for word, names in tables.chinese().items():
        if word.key not in servings.MISSING:
            yield from names
    counts = ("一", *servings.COUNTS)
    measures = {*tables.measures().values(), *servings.MEASURES.values()}
    yield from (f"{count}{measure}" for count in counts for measure in measures)
    for name in servings.vessels().values():
        yield from name.chinese
    for name in servings.colours().values():
        yield from (f"{colour}{end}" for colour in name.chinese for end in ("", "色"))
    yield from servings.WHERE
    yield from (praise for praise, _ in tables.TASTY)
    yield from (chinese for chinese, _ in tables.PICTURED)


def _english() -> Iterator[str]:
    names = [name for word, name in tables.english().items() if word.key not in servings.MISSING]
    names += [name.english for name in (*servings.vessels().values(), *servings.colours().values())]
    names += [praise for _, praise in tables.TASTY]
    names += [english for _, english in tables.PICTURED]
    names += [*tables.VESSELS.values(), servings.SERVING, *servings.COUNTS]
    for name in names:
        yield from name.replace("-", " ").split()
