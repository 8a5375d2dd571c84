"""Every word that names are made of: of dishes as `look=photo` serves them, of plates and single things as drawn."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from t2i_starter import LOOK, Look, servings, source
from t2i_starter import words as tables


@functools.cache
def words(look: Look = LOOK) -> frozenset[str]:
    """In lower case; English names as single words, Chinese ones whole."""
    known = [*_drawn()] if look == "drawn" else [*_chinese(), *_english()]
    return frozenset(word.lower() for word in known)


def _drawn() -> Iterator[str]:
    for names in tables.chinese().values():
        yield from names
    for thing in source.things():
        yield from (*thing.chinese, f"一{thing.measure}")
    yield from (f"一{measure}" for measure in tables.measures().values())
    english = [*tables.english().values(), *(thing.english for thing in source.things()), *tables.VESSELS.values()]
    for chinese, name in (*tables.TASTY, *tables.PRETTY, *tables.PICTURED):
        yield chinese
        english.append(name)
    for name in english:
        yield from name.replace("-", " ").split()


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
