"""Plated dishes: an endless, seeded dataset of drawn food with Chinese and English names."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from t2icli.hookspecs import hookimpl
from t2icli.kinds import DatasetPreparer, Entry


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    size: Annotated[int, Meta(description="width and height in pixels", ge=32, le=1024)] = 128
    seed: Annotated[int, Meta(description="another seed draws other dishes")] = 0
    things: Annotated[float, Meta(description="share of pictures that show a single thing: a cat", ge=0, le=1)] = 0.12
    held_out: Annotated[float, Meta(description="share of compositions kept for the test split", ge=0, lt=1)] = 0.02
    copies: Annotated[int, Meta(description="pictures of each name, when SOURCE is a file of names", ge=1)] = 1


def load(settings: Settings) -> DatasetPreparer:
    from t2i_starter.source import Plates

    return Plates(settings)


@hookimpl
def t2i_datasets() -> list[Entry[DatasetPreparer]]:
    about = "drawn dishes, endless and seeded; SOURCE is how many, or a file of dish names"
    return [Entry("plates", about, Settings, load)]
