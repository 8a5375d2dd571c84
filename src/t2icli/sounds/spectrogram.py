"""What a sound looks like: the picture of a row that has none of its own."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from t2icli.contract.kinds import AudioClip
from t2icli.sounds.clips import resampled

RATE, WINDOW, HOP = 16_000, 400, 160
WIDTH, HEIGHT = 256, 128
MOST = 30
"""Seconds that are looked at."""
DECIBELS = 80
"""From black to white."""


def picture(clip: AudioClip) -> bytes:
    """Time from left to right, pitch from below upwards, in grey, as a PNG."""
    samples = resampled(clip, RATE)[: MOST * RATE]
    samples = np.pad(samples, (0, max(0, WINDOW - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP] * np.hanning(WINDOW)
    power = np.abs(np.fft.rfft(frames)).T[::-1] ** 2
    decibels = 10 * np.log10(power + 1e-10)
    grey = (decibels - decibels.max() + DECIBELS).clip(0, DECIBELS) / DECIBELS * 255
    stream = io.BytesIO()
    Image.fromarray(grey.round().astype(np.uint8)).resize((WIDTH, HEIGHT)).save(stream, "PNG")
    return stream.getvalue()
