"""A ranker by colour words alone; it needs no weights."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from t2icli.contract.entries import Entry, lazily
from t2icli.contract.hookspecs import hookimpl
from t2icli.contract.kinds import Ranker


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    width: Annotated[float, Meta(description="how far a pixel's colour may be off and still count, in OKLab", gt=0)] = (
        0.12
    )
    size: Annotated[int, Meta(description="pictures are shrunk to this many pixels each way", ge=1, le=1024)] = 64


load = lazily("t2icli.backends.colours.rank:Colours")


@hookimpl
def t2i_rankers() -> list[Entry[Ranker]]:
    return [
        Entry("colours", "counts the colours named in a Chinese or English prompt; needs no weights", Settings, load)
    ]
