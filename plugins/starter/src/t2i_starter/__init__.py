"""Plated dishes: an endless, seeded dataset of food with Chinese and English names, and models trained on it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from t2icli.contract.entries import Entry, lazily
from t2icli.contract.hookspecs import hookimpl
from t2icli.contract.kinds import DatasetPreparer
from t2icli.store.sources import ModelSource

MODELS = Path(__file__).parent / "models"
SHIPPED = {
    "dalle": "draws dishes, their names in Chinese or English",
    "brivl": "scores how well a picture fits the name of a dish",
    "clip": "pictures of dishes and their names in one space",
    "clipcap": "names the dish in a picture",
    "clipgen": "draws dishes from an embedding of words, a picture or a sound",
    "dalle2": "draws dishes by diffusion",
    "flow": "draws dishes in a few steps",
    "vqgan": "pictures of dishes as codes and back",
    "wavbrivl": "embeds the names of dishes as one synthesiser speaks them in Chinese",
}
"""What the models of each backend can do; where several would do, the first one installed is used."""
Look = Literal["drawn", "photo"]
LOOK: Look = "photo"
"""What `make starter` trains models of, and the default of the dataset."""
STAND_IN = "a small model of dishes, to try things with"
"""What the cards say."""
USUAL_INGREDIENTS = (3.0, 10.0, 9.0, 3.0)
"""How often a dish has none, one, two and three ingredients, where its form leaves the choice."""


Weight = Annotated[float, Meta(ge=0)]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    size: Annotated[int, Meta(description="width and height in pixels", ge=32, le=1024)] = 240
    seed: Annotated[int, Meta(description="another seed draws other dishes")] = 0
    look: Annotated[
        Look,
        Meta(description="photo composes path-traced layers; drawn has single things as well, such as cats"),
    ] = LOOK
    things: Annotated[
        Annotated[float, Meta(ge=0, le=1)] | None,
        Meta(description="fraction of pictures that show a single thing, such as a cat: 0.12; with look=photo none"),
    ] = None
    ingredients: Annotated[
        tuple[Weight, Weight, Weight, Weight],
        Meta(description="how often dishes have none, one, two and three ingredients, as weights"),
    ] = USUAL_INGREDIENTS
    held_out: Annotated[float, Meta(description="fraction of compositions kept for the test split", ge=0, lt=1)] = 0.02
    plating: Annotated[
        Literal["free", "neat"],
        Meta(description="of look=drawn: neat lays the pieces upright in four places, which a small model learns"),
    ] = "free"
    copies: Annotated[int, Meta(description="pictures of each name, when SOURCE is a file of names", ge=1)] = 1


load = lazily("t2i_starter.source:Plates")
known_words = lazily("t2i_starter.vocabulary:words")


@hookimpl
def t2i_datasets() -> list[Entry[DatasetPreparer]]:
    about = "generated dishes, seeded; SOURCE is how many, or a file of dish names"
    return [Entry("plates", about, Settings, load)]


@hookimpl
def t2i_models() -> list[ModelSource]:
    return models_in(MODELS)


def models_in(folder: Path) -> list[ModelSource]:
    """The shipped models that `folder` has."""
    return [
        ModelSource(f"{name}/starter", about, "MIT", folder=folder / name, words=known_words)
        for name, about in SHIPPED.items()
        if (folder / name / "model.toml").is_file()
    ]
