"""Captions spoken by espeak-ng, each time by another voice, in another tempo, in another room."""

from __future__ import annotations

import random
import shutil
import subprocess

import numpy as np

from t2i_wavbrivl import Speech
from t2icli.contract.kinds import AudioClip
from t2icli.ground.errors import T2IError

VARIANTS = (
    *(f"m{i}" for i in (1, 2, 3, 5, 6, 7, 8)),
    *(f"f{i}" for i in (1, 2, 4, 5)),
    *("Alex", "Andrea", "Annie", "Diogo", "Gene", "Jacky", "Lee", "Mario", "Mike", "Tweaky"),
    *("belinda", "quincy", "robert", "steph"),
)
"""For training; m4, f3, Linda and Paul are left for tests."""
RATE, HEADER = 22_050, 44
PATIENCE = 20.0


def speak(text: str, voice: str, speed: int, pitch: int) -> AudioClip:
    """One text in one voice, which may name a variant: `cmn-latn-pinyin+f3`."""
    command = ["espeak-ng", "-v", voice, "-s", str(speed), "-p", str(pitch), "--stdin", "--stdout"]
    try:
        done = subprocess.run(command, input=text.encode(), capture_output=True, timeout=PATIENCE)
    except FileNotFoundError as error:
        raise missing() from error
    samples = np.frombuffer(done.stdout[HEADER : HEADER + (len(done.stdout) - HEADER) // 2 * 2], "<i2")
    if done.returncode or not len(samples):
        raise T2IError(f"espeak-ng cannot speak {text[:40]!r} with voice {voice!r}: {done.stderr.decode().strip()}")
    return AudioClip(samples.astype(np.float32) / np.float32(32768), RATE)


def check() -> None:
    if shutil.which("espeak-ng") is None:
        raise missing()


def missing() -> T2IError:
    return T2IError(
        "captions are spoken by espeak-ng, which is not installed",
        "run: sudo apt install espeak-ng (macOS: brew install espeak-ng); or use data with sounds",
    )


def spoken(text: str, how: Speech) -> AudioClip:
    """A random rendering, from Python's own generator, which the training loop seeds for each sample."""
    variant = random.choice(how.variants or VARIANTS)
    return speak(text, f"{how.voice}+{variant}", random.randint(*how.speed), random.randint(*how.pitch))


def disturbed(samples: np.ndarray, share: float) -> np.ndarray:
    """With an echo and noise, each in so many of the cases, and some silence around."""
    if random.random() < share:
        length = random.randint(400, 3200)
        echo = np.exp(-np.arange(length) / (length / 4)) * _normal(length) * 0.15
        echo[0] = 1.0
        samples = np.convolve(samples, echo)[: len(samples) + length // 4]
    samples = np.pad(samples, (random.randint(0, 3200), random.randint(0, 3200)))
    if random.random() < share:
        loudness = float(np.sqrt((samples**2).mean())) * 10 ** (-random.uniform(10, 40) / 20)
        samples = samples + _normal(len(samples)) * loudness
    return samples.astype(np.float32)


def _normal(n: int) -> np.ndarray:
    return np.random.default_rng(random.getrandbits(63)).standard_normal(n)
