"""Loading what an entry offers, and whether it is what its kind promises."""

from __future__ import annotations

from typing import Any

from t2icli.contract.kinds import KINDS, Entry
from t2icli.ground.errors import T2IError


def loaded(kind: str, entry: Entry[Any], chosen: Any) -> Any:
    """What `entry.load` gives; an error names what a plugin's thing lacks, before it is used."""
    thing = entry.load(chosen)
    if missing := lacking(kind, thing):
        raise T2IError(
            f"{kind} {entry.name!r} lacks {missing}", "a mistake of its plugin: t2icli.contract.kinds", code=1
        )
    return thing


def lacking(kind: str, thing: object) -> str:
    """What a thing does not have of its kind: `score (Ranker)`; empty where it has all."""
    known = KINDS[kind]
    if isinstance(thing, known):
        return ""
    promises = known if isinstance(known, tuple) else (known,)
    missing = {promise: [name for name in _members(promise) if not hasattr(thing, name)] for promise in promises}
    nearest = min(promises, key=lambda promise: len(missing[promise]))
    return f"{', '.join(missing[nearest])} ({nearest.__name__})"


def _members(promise: type) -> list[str]:
    """The attributes and methods that a protocol declares."""
    declared = [name for each in promise.__mro__[:-1] for name in (*vars(each).get("__annotations__", ()), *vars(each))]
    return sorted({name for name in declared if not name.startswith("_")})
