"""Captions spoken by espeak-ng, each time by another voice, in another tempo, in another room."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from random import Random
from xml.sax.saxutils import escape

import numpy as np

from t2i_wavbrivl import Speech
from t2icli.contract.kinds import AudioClip
from t2icli.ground.errors import T2IError
from t2icli.prepare import languages
from t2icli.sounds.clips import resampled

VARIANTS = (
    *(f"m{i}" for i in (1, 2, 3, 5, 6, 7, 8)),
    *(f"f{i}" for i in (1, 2, 4, 5)),
    *("Alex", "Andrea", "Annie", "Diogo", "Gene", "Jacky", "Lee", "Mario", "Mike", "Tweaky"),
    *("belinda", "quincy", "robert", "steph"),
)
"""For training."""
UNSEEN = ("f3", "m4", "linda", "paul")
"""For tests."""
RATE = 16_000
OF_ESPEAK, HEADER = 22_050, 44
PATIENCE = 60.0
PAUSE, SILENCE, QUIET = 2000, 1.2, 8 / 32768
"""Between two texts: milliseconds asked for, seconds by which it is known, and how loud silence is."""
MARGIN = 400
"""Samples kept around the speech."""


def speak(text: str, voice: str, speed: int, pitch: int) -> AudioClip:
    """One text in one voice, which may name a variant: `cmn-latn-pinyin+f3`."""
    samples = _run(text, voice, speed, pitch)
    if not len(samples):
        raise T2IError(f"espeak-ng cannot speak {text[:40]!r} with voice {voice!r}")
    return AudioClip(samples, OF_ESPEAK)


def speak_all(texts: Sequence[str], voice: str, speed: int, pitch: int) -> list[AudioClip]:
    """Many texts in one voice, by one process: to start one costs ten times as much as to speak the name of a dish.

    Of a text that says nothing the clip is empty.
    """
    marked = f"<break time='{PAUSE}ms'/>".join(map(escape, texts))
    samples = _run(f"<speak>{marked}</speak>", voice, speed, pitch, "-m")
    edges = np.flatnonzero(np.diff(np.concatenate([[0], np.abs(samples) > QUIET, [0]])))
    starts, ends = edges[::2], edges[1::2]
    last = np.flatnonzero(np.append(starts[1:] - ends[:-1] > SILENCE * OF_ESPEAK, True))
    if len(last) != len(texts):  # one of them says nothing, or rests for so long itself
        return [AudioClip(_run(text, voice, speed, pitch), OF_ESPEAK) for text in texts]
    firsts = [0, *(last[:-1] + 1)]
    parts = (slice(max(0, starts[i] - MARGIN), ends[k] + MARGIN) for i, k in zip(firsts, last, strict=True))
    return [AudioClip(samples[part], OF_ESPEAK) for part in parts]


def _run(text: str, voice: str, speed: int, pitch: int, *flags: str) -> np.ndarray:
    command = ["espeak-ng", "-v", voice, "-s", str(speed), "-p", str(pitch), *flags, "--stdin", "--stdout"]
    try:
        done = subprocess.run(command, input=text.encode(), capture_output=True, timeout=PATIENCE)
    except FileNotFoundError as error:
        raise missing() from error
    except subprocess.TimeoutExpired as error:
        raise T2IError(f"espeak-ng took more than {PATIENCE:g} seconds to speak {text[:40]!r}") from error
    if done.returncode:
        raise T2IError(f"espeak-ng cannot speak with voice {voice!r}: {done.stderr.decode(errors='replace').strip()}")
    integers = np.frombuffer(done.stdout[HEADER : HEADER + (len(done.stdout) - HEADER) // 2 * 2], "<i2")
    samples: np.ndarray = integers.astype(np.float32) / np.float32(32768)
    return samples if (np.abs(samples) > QUIET).any() else samples[:0]


def check() -> None:
    if shutil.which("espeak-ng") is None:
        raise missing()


def missing() -> T2IError:
    return T2IError(
        "captions are spoken by espeak-ng, which is not installed",
        "run: sudo apt install espeak-ng (macOS: brew install espeak-ng); or use data with sounds",
    )


def is_wanted(text: str, how: Speech) -> bool:
    """Whether the voice reads the language of a text."""
    return how.language is None or languages.language(text) == how.language


def variant(how: Speech, chance: Random, usual: Sequence[str] = VARIANTS) -> str:
    """A voice of those wanted, or of the usual ones."""
    return f"{how.voice}+{chance.choice(how.variants or usual)}"


def spoken(text: str, how: Speech, chance: Random) -> np.ndarray:
    """A random rendering at `RATE`."""
    clip = speak(text, variant(how, chance), chance.randint(*how.speed), chance.randint(*how.pitch))
    return disturbed(resampled(clip, RATE), how.noise, chance)


def disturbed(samples: np.ndarray, share: float, chance: Random) -> np.ndarray:
    """With an echo and noise, each in so many of the cases, and some silence around; at `RATE`."""
    if chance.random() < share:
        length = chance.randint(400, 3200)
        echo = np.exp(-np.arange(length) / (length / 4)) * _normal(length, chance) * 0.15
        echo[0] = 1.0
        n = len(samples) + length
        samples = np.fft.irfft(np.fft.rfft(samples, n) * np.fft.rfft(echo, n), n)[: len(samples) + length // 4]
    samples = np.pad(samples, (chance.randint(0, 3200), chance.randint(0, 3200)))
    if chance.random() < share:
        loudness = float(np.sqrt((samples**2).mean())) * 10 ** (-chance.uniform(10, 40) / 20)
        samples = samples + _normal(len(samples), chance) * loudness
    return samples.astype(np.float32)


def _normal(n: int, chance: Random) -> np.ndarray:
    return np.random.default_rng(chance.getrandbits(63)).standard_normal(n)
