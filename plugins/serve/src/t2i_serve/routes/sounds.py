"""The sound of a request: base64 in JSON, or a file of a form, treated as untrusted."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from t2i_serve.errors import ApiError, about
from t2i_serve.offers import Offers
from t2i_serve.routes.uploads import content
from t2i_serve.schema import EditRequest, GenerationRequest, InputAudio
from t2i_serve.sounds import AudioInput
from t2icli.registry import defaults
from t2icli.sounds import clips

PicturesBody = GenerationRequest | EditRequest


async def sent(body: PicturesBody, offers: Offers, file: bytes | None = None) -> AudioInput | None:
    """The sound, from `file` or the body, with everything refused that needs no model to be known as wrong."""
    if body.audio is None and file is None:
        _check_alone(body)
        return None
    weights = _weights(body, ("like", "audio") if isinstance(body, EditRequest) and body.use == "like" else ("audio",))
    listener = _listener(body.audio_embedder, offers)
    if file is None:
        word = body.audio.data if isinstance(body.audio, InputAudio) else body.audio or ""
        file = await asyncio.to_thread(content, word, "the sound", "audio")
    with about("audio"):
        clip = await asyncio.to_thread(clips.decode, file, "the sound")
    return AudioInput(file, clip, listener, weights)


def _check_alone(body: PicturesBody) -> None:
    for name in ("weights", "audio_embedder"):
        if getattr(body, name) is not None:
            raise ApiError(400, f"{name} needs audio", "invalid_value", name)


def _weights(body: PicturesBody, given: Sequence[str]) -> dict[str, float]:
    """How much words and what is `given` count."""
    weights = {str(part): weight for part, weight in (body.weights or {}).items()}
    if body.weights is None:
        weights = dict.fromkeys(given, 1.0)
    for part in given:
        if part not in weights:
            raise ApiError(400, f"weights has no weight for {part}", "invalid_value", "weights")
    if weights.get("like") and "like" not in given:
        raise ApiError(400, "weights has a weight for like, but use is not like", "invalid_value", "weights")
    if not any(weights.values()):
        raise ApiError(400, "all weights are 0", "invalid_value", "weights")
    if weights.get("words") and not body.prompt.strip():
        raise ApiError(400, "weights has a weight for words, but the prompt is empty", "invalid_value", "prompt")
    return weights


def _listener(word: str | None, offers: Offers) -> str:
    """The embedder of sounds of that name, or the default one."""
    with about("audio_embedder"):
        offer = offers.find("embedder", word or defaults.listener())
    if not offer.entry.embeds_audio:
        raise ApiError(400, f"{offer.name!r} does not embed sounds", "invalid_value", "audio_embedder")
    return offer.name
