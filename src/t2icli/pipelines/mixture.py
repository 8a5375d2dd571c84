"""Words, a picture and a sound as one embedding: what a generator draws in place of a prompt.

All must be vectors of the space that the generator listens to. Those of another are refused: a map between two spaces
would lose most of what is in them, without a word.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t2icli.contract.kinds import AudioEmbedder, Embedder
from t2icli.contract.requests import EmbeddingGenerator
from t2icli.ground.errors import T2IError
from t2icli.registry import defaults, parts
from t2icli.registry.cosine import CosineRanker
from t2icli.registry.open import Choice, Opened, choose

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from t2icli.contract.kinds import AudioClip

PARTS = ("words", "like", "audio")


@dataclass(frozen=True)
class AudioFile:
    """A sound in a file."""

    path: Path
    clip: AudioClip

    @classmethod
    def opened(cls, path: Path) -> AudioFile:
        from t2icli.sounds.clips import open_clip

        return cls(path, open_clip(path))

    @property
    def sha256(self) -> str:
        """The hash of its samples."""
        from t2icli.sounds.clips import samples_sha256

        return samples_sha256(self.clip)

    def embedded(self, listener: Opened[AudioEmbedder], word: str = "") -> EmbeddedAudio:
        (vector,) = listener.thing.embed_audio([self.clip])
        return EmbeddedAudio(vector, listener, word or listener.entry)


@dataclass(frozen=True)
class EmbeddedAudio:
    """A sound as a vector."""

    vector: Tensor
    listener: Opened[AudioEmbedder]
    word: str = ""
    """What names the listener: the same model ranks and finds pictures by it."""

    @property
    def space(self) -> str:
        return self.listener.thing.space


def choose_listener(word: str | None = None, tables: Mapping[str, Any] | None = None, **flags: Any) -> Choice:
    """The embedder of sounds that `word` names, else the usual one, not loaded; `flags` are as in `choose`."""
    entry, chosen = choose("embedder", word or defaults.listener(), tables, **flags)
    listener = Choice.of("embedder", entry, chosen)
    if not entry.embeds_audio:
        raise T2IError(f"{listener.name!r} does not embed sounds", "omit --audio-embedder, or name one that does")
    return listener


def embed_sound(
    sound: AudioFile, word: str | None = None, tables: Mapping[str, Any] | None = None, **flags: Any
) -> EmbeddedAudio:
    """The sound's vector, by the embedder that `choose_listener` finds."""
    return sound.embedded(choose_listener(word, tables, **flags).open(), word or "")


@dataclass(frozen=True)
class Mixture:
    """How much words, a picture and a sound count, and what turns each into a vector."""

    generator: EmbeddingGenerator
    weights: Mapping[str, float]
    like: Image | None = None
    sound: EmbeddedAudio | None = None

    @classmethod
    def of(
        cls,
        source: Opened[Any],
        weights: Mapping[str, float],
        like: Image | None = None,
        sound: EmbeddedAudio | None = None,
    ) -> Mixture:
        given = {"like": like is not None, "audio": sound is not None}
        weights = weights or {part: 1.0 for part in PARTS if given.get(part)}
        _check(weights, given)
        generator = embedding_generator(source)
        if sound is not None:
            _check_listener(sound.listener, generator.space, source.name)
        return cls(generator, weights, like, sound)

    @cached_property
    def embedding(self) -> Callable[[str], Tensor]:
        """The unit vector of the mixture with a prompt, which counts only where words have a weight.

        The last one is kept: it is checked and filed as well as drawn.
        """
        return lru_cache(maxsize=1)(self._embedding)

    def _embedding(self, prompt: str) -> Tensor:
        vectors = dict(self._fixed)
        if self.weights.get("words"):
            vectors["words"] = self.generator.embedder.embed_texts([prompt])[0]
        first, *others = (vectors[part] * self.weights[part] for part in PARTS if part in vectors)
        total: Tensor = first
        for vector in others:
            total = total + vector
        unit: Tensor = total / total.norm()
        return unit

    @cached_property
    def _fixed(self) -> dict[str, Tensor]:
        """The vectors that are the same for all prompts."""
        fixed: dict[str, Tensor] = {}
        if self.like is not None:
            fixed["like"] = self.generator.embedder.embed_images([self.like])[0]
        return fixed if self.sound is None else {**fixed, "audio": self.sound.vector}

    def record(self) -> dict[str, Any]:
        """What a row and a PNG say of it, beside the files."""
        fields: dict[str, Any] = {"weights": dict(self.weights)}
        if self.sound is not None:
            listener = self.sound.listener
            fields |= {"listener": listener.entry, "listener_settings": listener.tables}
        return fields


def check_space(sound: EmbeddedAudio, source: Opened[Any]) -> None:
    """Whether pictures or texts as `source` embeds them can be compared with a sound."""
    if space_of(source) != sound.space:
        raise T2IError(
            f"{source.name!r} cannot be compared with the sound, which is a vector of {shown(sound.space)}",
            f"omit it, or use {sound.word}",
        )


def embedding_generator(source: Opened[Any]) -> EmbeddingGenerator:
    """The generator, if it draws from embeddings."""
    if not isinstance(source.thing, EmbeddingGenerator):
        hint = "name one that draws from an embedding, such as -m clipgen or -m dalle2"
        raise T2IError(f"{source.name!r} draws only from prompts, not from sounds or mixtures", hint)
    return source.thing


def _check_listener(listener: Opened[AudioEmbedder], space: str, owner: str) -> None:
    """Whether it embeds sounds in `space`, that of the model `owner`."""
    if listener.thing.space != space:
        raise T2IError(
            f"{listener.name!r} embeds sounds in the space of {shown(listener.thing.space)}, "
            f"but {owner!r} uses that of {shown(space)}: their vectors cannot be compared",
            f"use models of one space, or train one for the other: t2i train {listener.entry} -o space=NAME",
        )


def space_of(opened: Opened[Any]) -> str:
    """Of an embedder, or of what ranks by one; empty for other rankers."""
    embedder = opened.thing.embedder if isinstance(opened.thing, CosineRanker) else opened.thing
    if not isinstance(embedder, Embedder):
        return ""
    return embedder.space if isinstance(embedder, AudioEmbedder) else parts.space(opened.entry, opened.settings)


def shown(space: str) -> str:
    """A space by the name of its embedder and the beginning of its hash."""
    name, _, rest = space.partition(" ")
    return f"{name} ({rest[:8]})" if rest and not rest.startswith("{") else name


def parse_weights(text: str, *, has_words: bool) -> dict[str, float]:
    """`words=0.7,audio=0.3`."""
    weights: dict[str, float] = {}
    for word in text.split(","):
        part, equals, number = word.strip().partition("=")
        try:
            value = float(number) if equals else math.nan
        except ValueError:
            value = math.nan
        if part not in PARTS or not (math.isfinite(value) and value >= 0):
            raise T2IError(f"{word.strip()!r} is not a weight", "write: --weights words=0.7,audio=0.3")
        weights[part] = value
    if not any(weights.values()):
        raise T2IError("all weights are 0", "write: --weights words=0.7,audio=0.3")
    if weights.get("words") and not has_words:
        raise T2IError("--weights has a weight for words, but there is no prompt", "add a prompt, or leave out words")
    return weights


def _check(weights: Mapping[str, float], given: Mapping[str, bool]) -> None:
    """Every file that is given has a weight, and every weight has something to weigh."""
    for part, is_given in given.items():
        if is_given and part not in weights:
            raise T2IError(f"--weights has no weight for --{part}", f"add {part}=WEIGHT to --weights")
        if weights.get(part) and not is_given:
            raise T2IError(f"--weights has a weight for {part}, but there is no --{part}", f"add --{part} FILE")
