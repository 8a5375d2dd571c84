"""What a generator draws from besides a prompt or instead: `--like IMAGE --from IMAGE --mask IMAGE --audio FILE`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t2icli.contract.requests import CONDITIONS, Abilities, Request
from t2icli.contract.requests import check as check_alone
from t2icli.ground.errors import T2IError
from t2icli.pipelines.mixture import AudioFile, Mixture, embed_sound
from t2icli.registry import discovery
from t2icli.registry.settings import is_utf8

if TYPE_CHECKING:
    from PIL.Image import Image

    from t2icli.pipelines.provenance import Record
    from t2icli.registry.open import Opened


@dataclass(frozen=True)
class Example:
    """An example picture."""

    path: Path
    image: Image

    @property
    def pixels(self) -> str:
        """The hash of its pixels."""
        from t2icli.pictures.images import pixels_sha256

        return pixels_sha256(self.image)


@dataclass(frozen=True)
class Examples:
    """All the conditions of a run."""

    pictures: Mapping[str, Example] = field(default_factory=dict)
    """By the name of the condition, one of `CONDITIONS`."""
    sound: AudioFile | None = None
    weights: Mapping[str, float] = field(default_factory=dict)
    """As typed: how much words, the picture and the sound count."""
    mixture: Mixture | None = None
    """Set once the generator is loaded; None where no embedding is given to it."""

    @property
    def needed(self) -> frozenset[str]:
        """What a generator has to take, as `Entry.conditions` names it."""
        is_mixed = self.sound is not None or bool(self.weights)
        return frozenset(self.pictures) - {"like"} | {"embedding"} if is_mixed else frozenset(self.pictures)

    def mixed(
        self, source: Opened[Any], listener: str | None = None, tables: Mapping[str, Any] | None = None
    ) -> Examples:
        """The same for a generator that is loaded; `listener` and `tables` name the embedder of the sound."""
        if "embedding" not in self.needed:
            return self
        like = self.pictures["like"].image if "like" in self.pictures else None
        sound = None if self.sound is None else embed_sound(self.sound, listener, tables)
        return replace(self, mixture=Mixture.of(source, self.weights, like, sound))


def opened(*, audio: Path | None = None, weights: Mapping[str, float] | None = None, **paths: Path | None) -> Examples:
    pictures = {name: _open(path) for name, path in paths.items() if path is not None}
    sound = None if audio is None else replace(AudioFile.opened(audio), path=_noted(audio))
    return Examples(pictures, sound, weights or {})


def request(prompt: str, seed: int, examples: Examples) -> Request:
    images: dict[str, Any] = {name: example.image for name, example in examples.pictures.items()}
    if examples.mixture is not None:
        images.pop("like", None)
        images["embedding"] = examples.mixture.embedding(prompt)
    return Request(prompt, seed, **images)


def check(request: Request, abilities: Abilities, owner: str) -> None:
    """Whether a generator can draw this at all; an error names the installed ones that can."""
    check_alone(request, abilities, owner, generators_with)


def generators_with(condition: str) -> list[str]:
    """The installed generators that take it."""
    offers = discovery.installed().offers["generator"]
    return sorted(name for name, offer in offers.items() if condition in offer.entry.conditions)


def record(examples: Examples) -> dict[str, Any]:
    """Their record in every row and PNG."""
    fields: dict[str, Any] = {}
    for name, example in examples.pictures.items():
        fields |= {name: str(example.path), f"{name}_pixels": example.pixels}
    if examples.sound is not None:
        fields |= {"audio": str(examples.sound.path), "audio_sha256": examples.sound.sha256}
    return fields | (examples.mixture.record() if examples.mixture is not None else {})


def recorded(record: Record, source: Opened[Any]) -> Examples:
    """The conditions recorded in a PNG, if their files are unchanged."""
    paths = {name: Path(path) for name in CONDITIONS if (path := getattr(record, name, None)) is not None}
    audio = None if record.audio is None else Path(record.audio)
    examples = opened(audio=audio, weights=record.weights, **paths)
    for name, example in examples.pictures.items():
        if example.pixels != getattr(record, f"{name}_pixels"):
            raise T2IError(f"'{example.path}' has changed since it was given as {CONDITIONS[name]}", code=1)
    if examples.sound is not None and examples.sound.sha256 != record.audio_sha256:
        raise T2IError(f"'{examples.sound.path}' has changed since it was given as --audio", code=1)
    return examples.mixed(source, record.listener, record.listener_settings)


def _open(path: Path) -> Example:
    from t2icli.pictures.images import open_image

    return Example(_noted(path), open_image(path))


def _noted(path: Path) -> Path:
    if not is_utf8(path.absolute()):
        raise T2IError(f"the path {str(path)!r} is not valid UTF-8 and cannot be noted in a picture", "rename the file")
    return path.absolute()
