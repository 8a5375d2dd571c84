"""Sounds in files.

Whatever a file holds becomes one channel of 32-bit floats: channels are averaged. PCM WAV needs no further package;
FLAC, OGG, MP3 and other WAV need soundfile, `t2i install 't2icli[audio]'`. A file is refused, with the reason, when it
is no sound, is cut short or silent, is shorter than `MIN_SECONDS` or longer than `MAX_SECONDS`, or has an unusual rate
or number of channels. Length, rate and channels are checked before anything is decoded. Every sound from outside is
opened here.
"""

from __future__ import annotations

import hashlib
import io
import wave
from functools import lru_cache
from math import gcd
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from t2icli.contract.kinds import AudioClip
from t2icli.ground.errors import T2IError
from t2icli.pictures.images import read_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIN_SECONDS, MAX_SECONDS = 0.05, 600
RATES = range(4_000, 192_001)
MOST_CHANNELS = 8
SILENCE = 1e-4
"""A sound is silent if no sample is larger: that is three steps of 16 bits."""
SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif"})
"""Endings of sounds in a folder; a file that is named itself may have any."""
ZEROS, SHARPNESS = 16, 8.0
"""Of the resampling filter: zero crossings on each side, and the Kaiser window's beta."""


def open_clip(path: Path) -> AudioClip:
    """The sound in a file, or the reason why there is none."""
    return decode(read_file(path), f"'{path}'")


def decode(content: bytes, name: str) -> AudioClip:
    """The sound in the bytes of a file; errors speak of it by `name`."""
    if not content:
        raise T2IError(f"{name} is empty")
    clip = _from_wave(content, name) or _from_soundfile(content, name)
    if not np.isfinite(clip.samples).all():
        raise T2IError(f"{name} is damaged: it has samples that are not numbers")
    if np.abs(clip.samples).max() < SILENCE:
        raise T2IError(f"{name} is silent")
    return clip


def samples_sha256(clip: AudioClip) -> str:
    """A hash of the sound itself, whatever file it is in."""
    return hashlib.sha256(f"{clip.rate}:".encode() + clip.samples.astype("<f4").tobytes()).hexdigest()


def resampled(clip: AudioClip, rate: int) -> NDArray[np.float32]:
    """The samples at another rate, by a windowed sinc: the same numbers on every machine."""
    if clip.rate == rate:
        return clip.samples
    shared = gcd(clip.rate, rate)
    up, down = rate // shared, clip.rate // shared
    kernels, half = _kernels(up, down)
    wanted = -(-len(clip.samples) * up // down)
    blocks = -(-wanted // up)
    padded = np.pad(clip.samples, (half, half + blocks * down - len(clip.samples) + down))
    frames = np.lib.stride_tricks.sliding_window_view(padded, half * 2 + down)[::down][:blocks]
    result: NDArray[np.float32] = np.concatenate([frame @ kernels.T for frame in frames])[:wanted]
    return result


@lru_cache(maxsize=8)  # computing them takes ten times as long as using them on a sound of two seconds
def _kernels(up: int, down: int) -> tuple[NDArray[np.float32], int]:
    """The filters (up, taps) of a block, and the samples they need on each side."""
    cutoff = min(1.0, up / down) * 0.97
    half = int(np.ceil(ZEROS / cutoff))
    # Sample i of the result stands at i * down / up; `up` of them share a block of `down` samples.
    at = np.arange(-half, half + down)[None] - (np.arange(up) * down / up)[:, None]
    inside = np.clip(at / half, -1, 1)
    window = np.i0(SHARPNESS * np.sqrt(1 - inside**2)) / np.i0(SHARPNESS)
    return (np.sinc(at * cutoff) * cutoff * window * (np.abs(at) < half)).astype(np.float32), half


def save_wave(clip: AudioClip, path: Path) -> None:
    """Write 16-bit PCM."""
    path.write_bytes(wave_bytes(clip))


def wave_bytes(clip: AudioClip) -> bytes:
    """A WAV file of 16-bit PCM."""
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(clip.rate)
        file.writeframes((clip.samples.clip(-1, 1) * 32767).round().astype("<i2").tobytes())
    return stream.getvalue()


def _from_wave(content: bytes, name: str) -> AudioClip | None:
    """PCM WAV by the standard library; None for anything else."""
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        return None
    try:
        file = wave.open(io.BytesIO(content), "rb")
    except EOFError as error:
        raise T2IError(f"{name} is truncated") from error
    except wave.Error:  # other than PCM
        return None
    with file:
        channels, width, rate, count = file.getnchannels(), file.getsampwidth(), file.getframerate(), file.getnframes()
        _check(name, count, rate, channels)
        frames = file.readframes(count)
    if len(frames) < count * channels * width:
        raise T2IError(f"{name} is truncated")
    return AudioClip(_mono(_integers(frames, width), channels), rate)


def _integers(frames: bytes, width: int) -> NDArray[np.float32]:
    """Little-endian integers of 1 to 4 bytes as floats in [-1, 1); of one byte, 128 is zero."""
    samples: NDArray[np.float32]
    if width == 1:
        samples = (np.frombuffer(frames, np.uint8).astype(np.float32) - np.float32(128)) / np.float32(128)
        return samples
    if width == 3:
        wide = np.zeros((len(frames) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(frames, np.uint8).reshape(-1, 3)
        frames, width = wide.tobytes(), 4
    samples = np.frombuffer(frames, f"<i{width}").astype(np.float32) / np.float32(2 ** (8 * width - 1))
    return samples


def _from_soundfile(content: bytes, name: str) -> AudioClip:
    try:
        import soundfile
    except ImportError as error:
        raise T2IError(
            f"{name} is not a PCM WAV file, the only kind of sound that is read without the package soundfile",
            "run: t2i install 't2icli[audio]'; or convert it: ffmpeg -i FILE sound.wav",
        ) from error
    try:
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            _check(name, file.frames, file.samplerate, file.channels)
            samples: Any = file.read(dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise T2IError(f"{name} is not a sound of a known format") from error
    return AudioClip(_mono(np.ascontiguousarray(samples).ravel(), samples.shape[1]), file.samplerate)


def _mono(samples: NDArray[np.float32], channels: int) -> NDArray[np.float32]:
    mixed: NDArray[np.float32] = samples.reshape(-1, channels).mean(axis=1, dtype=np.float32)
    return mixed


def _check(name: str, count: int, rate: int, channels: int) -> None:
    if rate not in RATES:
        raise T2IError(f"{name} has {rate:,} samples a second; {RATES[0]:,} to {RATES[-1]:,} are possible")
    if not 1 <= channels <= MOST_CHANNELS:
        raise T2IError(f"{name} has {channels} channels, more than {MOST_CHANNELS}")
    if count < MIN_SECONDS * rate:
        raise T2IError(f"{name} is too short: {count / rate:.3g} seconds")
    if count > MAX_SECONDS * rate:
        seconds = f"{count / rate:,.0f} seconds, more than {MAX_SECONDS:,}"
        raise T2IError(f"{name} is too long: {seconds}", f"trim it: ffmpeg -i FILE -t {MAX_SECONDS} sound.wav")
