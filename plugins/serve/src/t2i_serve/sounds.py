"""A sound to draw from: the one of a request, and as a vector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t2i_serve.errors import about
from t2i_serve.pool import Resident
from t2icli.contract.kinds import AudioClip, AudioEmbedder
from t2icli.pipelines import mixture
from t2icli.pipelines.mixture import EmbeddedAudio, Mixture
from t2icli.registry.open import Opened

if TYPE_CHECKING:
    from PIL.Image import Image

KINDS = {b"RIFF": ".wav", b"fLaC": ".flac", b"OggS": ".ogg", b"FORM": ".aiff", b"ID3": ".mp3", b"\xff\xfb": ".mp3"}
"""How files of sounds begin, and what they are called."""


@dataclass(frozen=True)
class AudioInput:
    """What a request sends."""

    content: bytes
    clip: AudioClip
    listener: str
    """The embedder for it."""
    weights: Mapping[str, float]

    @property
    def name(self) -> str:
        """Of its file in the album."""
        return "audio" + next((kind for start, kind in KINDS.items() if self.content.startswith(start)), "")

    def saved(self, folder: Path) -> mixture.AudioFile:
        """The sound in an album, so that `t2i replay` has it."""
        path = (folder / self.name).absolute()
        path.write_bytes(self.content)
        return mixture.AudioFile(path, self.clip)


async def embedded(audio: AudioInput, resident: Resident) -> EmbeddedAudio:
    """The sound as a vector, computed in the thread of the embedder."""
    opened: Opened[AudioEmbedder] = resident.opened
    (vector,) = await resident.run(opened.thing.embed_audio, [audio.clip])
    return EmbeddedAudio(vector, opened)


def mixed(audio: AudioInput, sound: EmbeddedAudio, like: Image | None, source: Opened[Any]) -> Mixture:
    """With words and a picture, for a generator of the same space."""
    with about("audio"):
        return Mixture.of(source, audio.weights, like, sound)
