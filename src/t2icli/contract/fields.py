"""What a field of a backend's settings can be besides a plain value, and the marks it can carry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar

from msgspec import Meta

from t2icli.contract.entries import Entry
from t2icli.contract.kinds import loaded
from t2icli.ground.errors import T2IError
from t2icli.store.models import Model

T = TypeVar("T")
NONE = "none"
"""In the place of a backend's name: no part at all, where the setting's default is that."""


@dataclass(frozen=True)
class Part(Generic[T]):
    """Another backend this one is made with, chosen by a setting: `-o codec=dvae`."""

    kind: str
    name: str
    settings: Any = None
    """The chosen backend's own settings; None until they are configured."""
    entry: Entry[T] | None = None
    """The chosen backend; None until the settings are configured."""

    @property
    def model(self) -> Model | None:
        """The model that the chosen backend loads."""
        return getattr(self.settings, "model", None)

    @property
    def is_none(self) -> bool:
        """Whether there is no such part."""
        return self.name == NONE

    def load(self) -> T:
        if self.entry is None:
            raise T2IError(
                f"the {self.kind} {self.name!r} is not configured", "load its owner with t2icli.load", code=1
            )
        thing: T = loaded(self.kind, self.entry, self.settings)
        return thing


def part(kind: str, name: str) -> Any:
    """The default of a field that names another backend: `codec: Part[Codec] = part("codec", "vqgan")`.

    With `part("embedder", NONE)` there is none unless one is chosen.
    """
    return Part(kind, name)


def in_place_of(*others: str) -> dict[str, Any]:
    """`Meta(extra=in_place_of("tokenizer"))` marks a setting that replaces others if it is given."""
    return {"in_place_of": others}


def first_weights(*replaced: str) -> dict[str, Any]:
    """Marks a setting of a recipe with weights that training begins from, in place of other settings."""
    return {**in_place_of(*replaced), "first_weights": True}


def base_of(backend: str) -> dict[str, Any]:
    """`base: Annotated[Model, Meta(extra=base_of("diffusers"))]` is the model that a recipe trains beside.

    It is one of that backend and of the store, so that the result can have it as a part without a copy: `Card.links`.
    """
    return {"base_of": backend}


PER_PICTURE = {"per_picture": True}
"""`Meta(extra=PER_PICTURE)` marks a setting that may differ from picture to picture without loading weights again."""
FILE_PER_PICTURE = {**PER_PICTURE, "names_file": True}
"""The same for a setting whose value may be the path of a file, which a server does not accept."""

Start = Annotated[Model | None, Meta(extra=first_weights())]
"""The type of a recipe's setting with the model to continue from: `start: Annotated[Start, Meta(...)] = None`."""

ELSEWHERE = in_place_of("model")
"""Marks a setting that names weights outside our model folders. Where it is given, the backend's default model is
left out, so that it is not mistaken for the one used."""
