"""Sounds in files, good and bad."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from t2icli.contract.kinds import AudioClip
from t2icli.ground.errors import T2IError
from t2icli.sounds import clips


def tone(rate: int = 16_000, seconds: float = 0.5, hertz: float = 440) -> AudioClip:
    return AudioClip((0.5 * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)).astype(np.float32), rate)


def write(path: Path, frames: bytes, *, channels: int = 1, width: int = 2, rate: int = 16_000) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(frames)
    return path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    clips.save_wave(tone(), tmp_path / "a.wav")
    clip = clips.open_clip(tmp_path / "a.wav")
    assert clip.rate == 16_000 and clip.seconds == 0.5
    assert np.abs(clip.samples - tone().samples).max() < 1e-4


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_integers_of_every_width_are_the_same_sound(width: int, tmp_path: Path) -> None:
    wanted = tone().samples
    whole = np.round(wanted.astype(np.float64) * (2 ** (8 * width - 1) - 1)).astype(np.int64) + (
        128 if width == 1 else 0
    )
    frames = b"".join(int(x).to_bytes(width, "little", signed=width > 1) for x in whole)
    found = clips.open_clip(write(tmp_path / "a.wav", frames, width=width)).samples
    assert np.abs(found - wanted).max() < 2.0 ** (2 - 8 * width) + 1e-6


def test_channels_are_averaged(tmp_path: Path) -> None:
    frames = np.array([[1000, 3000], [-2000, 0]] * 800, "<i2").tobytes()
    found = clips.open_clip(write(tmp_path / "a.wav", frames, channels=2)).samples
    assert np.allclose(found[:2] * 32768, [2000, -1000])


def test_the_hash_is_of_the_sound_and_not_of_the_file(tmp_path: Path) -> None:
    clips.save_wave(tone(), tmp_path / "a.wav")
    padded = (tmp_path / "a.wav").read_bytes() + b"LIST\x04\x00\x00\x00note"
    hashes = {clips.samples_sha256(clips.decode(each, "it")) for each in ((tmp_path / "a.wav").read_bytes(), padded)}
    assert len(hashes) == 1
    assert clips.samples_sha256(tone()) != clips.samples_sha256(tone(hertz=441))


@pytest.mark.parametrize(("rate", "to"), [(22_050, 16_000), (44_100, 16_000), (48_000, 16_000), (8_000, 16_000)])
def test_a_resampled_tone_is_the_same_tone(rate: int, to: int) -> None:
    found, wanted = clips.resampled(tone(rate), to), tone(to).samples
    assert len(found) == len(wanted)
    assert np.abs(found - wanted)[400:-400].max() < 2e-3


def test_resampling_removes_what_the_new_rate_cannot_hold() -> None:
    found = clips.resampled(tone(44_100, hertz=12_000), 16_000)
    assert np.abs(found)[400:-400].max() < 2e-3


BAD = {
    "empty": (b"", "is empty"),
    "text": (b"not a sound at all" * 10, "not a"),
    "header alone": (b"RIFF\x04\x00\x00\x00WAVE", "not a"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_sound_is_refused(name: str) -> None:
    content, reason = BAD[name]
    with pytest.raises(T2IError, match=reason):
        clips.decode(content, "'it'")


def test_a_file_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    clips.save_wave(tone(), tmp_path / "a.wav")
    content = (tmp_path / "a.wav").read_bytes()
    with pytest.raises(T2IError, match="is truncated"):
        clips.decode(content[:-1000], "it")


@pytest.mark.parametrize(
    ("frames", "how", "reason"),
    [
        (b"\0\0" * 16_000, {}, "is silent"),
        (b"", {}, "too short: 0 seconds"),
        (b"\1\1" * 100, {}, "too short"),
        (b"\1\1" * 16_000, {"rate": 1_000_000}, "samples a second"),
        (b"\1\1" * 16_000, {"channels": 9}, "9 channels"),
    ],
)
def test_unusual_sounds_are_refused(frames: bytes, how: dict[str, int], reason: str, tmp_path: Path) -> None:
    with pytest.raises(T2IError, match=reason):
        clips.open_clip(write(tmp_path / "a.wav", frames, **how))


def test_ten_hours_are_refused_by_the_header_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", b"\1\1" * 16_000)
    content = bytearray(path.read_bytes())
    content[40:44] = (10 * 3600 * 16_000 * 2).to_bytes(4, "little")
    with pytest.raises(T2IError, match="too long: 36,000 seconds") as error:
        clips.decode(bytes(content), "it")
    assert "ffmpeg" in (error.value.hint or "")


def test_compressed_sounds_need_soundfile(tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile", reason="needs t2icli[audio]")
    for suffix, error in (("flac", 1e-4), ("ogg", 0.1), ("mp3", 0.1)):
        soundfile.write(tmp_path / f"a.{suffix}", tone().samples, 16_000)
        found = clips.open_clip(tmp_path / f"a.{suffix}")
        assert found.rate == 16_000
        assert np.abs(found.samples[2000:6000] - tone().samples[2000:6000]).max() < error
    with pytest.raises(T2IError, match="not a sound"):
        clips.decode(b"OggS" + b"x" * 100, "it")
