"""Captions spoken when they are read: `t2i prepare spoken`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import t2i_wavbrivl
from t2i_wavbrivl import SpokenSettings, speech
from t2i_wavbrivl.spoken import SpokenSource
from t2icli.data.dataset import PreparedDataset
from t2icli.ground.errors import T2IError
from t2icli.testing import Runner, toys

NAMES = "红烧肉\n\n西瓜\n清炒西兰花\n"
pytestmark = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed: apt install it")


def prepared(t2i: Runner, *words: object, source: object = "names.txt") -> PreparedDataset:
    t2i.use(toys, t2i_wavbrivl)
    Path("names.txt").write_text(NAMES, encoding="utf-8")
    t2i.ok("prepare", "spoken", source, "--output", "data", *words)
    return PreparedDataset.open("data")


def test_each_line_of_a_file_is_spoken_so_often_and_every_time_otherwise(t2i: Runner) -> None:
    data = prepared(t2i, "-o", "copies=2")
    assert [data.captions(i) for i in range(3)] == [data.captions(i) for i in range(3, 6)]
    assert [data.captions(i)[0] for i in range(3)] == ["红烧肉", "西瓜", "清炒西兰花"]
    assert len({data.audio_bytes(i) for i in range(6)}) == 6
    assert all(0.4 < clip.seconds < 4 for i in range(6) if (clip := data.clip(i)))
    assert data.size(0) == (256, 128)  # the spectrogram


def test_the_same_rows_are_spoken_alike_and_other_seeds_otherwise(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text(NAMES, encoding="utf-8")

    def once(seed: int) -> list[bytes | None]:
        return [row.read_audio() for row in SpokenSource(SpokenSettings(seed=seed)).rows(tmp_path / "names.txt")]

    assert once(1) == once(1)
    assert not set(once(1)) & set(once(2))


def test_a_dataset_keeps_its_pictures_and_its_splits(t2i: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"red": ("红烧肉", "braised pork"), "blue": ("西瓜",), "green": ("清炒西兰花",)}
    toys.prepared(Path("before"), names, val=0.0, test=0.5)
    voices: dict[str, str] = {}

    def speak_all(texts: tuple[str, ...], voice: str, speed: int, pitch: int) -> list[object]:
        voices.update(dict.fromkeys(texts, voice.partition("+")[2]))
        return [speech.speak(text, voice, speed, pitch) for text in texts]

    monkeypatch.setattr(speech, "speak_all", speak_all)
    data = prepared(t2i, "-o", "language=zh", source="before")
    before = PreparedDataset.open("before")
    assert sorted(voices) == sorted(["红烧肉", "西瓜", "清炒西兰花"])
    pictures = {before.captions(i)[0]: before.image_sha256(i) for i in range(len(before))}
    assert {data.captions(i)[0]: data.image_sha256(i) for i in range(len(data))} == pictures
    for split in ("train", "test"):
        of_split = {name for part in [before.split(split)] for i in range(len(part)) for name in part.captions(i)[:1]}
        found = {name for part in [data.split(split)] for i in range(len(part)) for name in part.captions(i)}
        assert found == of_split
        assert all((voices[name] in speech.UNSEEN) == (split == "test") for name in found)


def test_what_cannot_be_spoken_is_reported(t2i: Runner) -> None:
    t2i.use(toys, t2i_wavbrivl)
    Path("names.txt").write_text("汤\n。\n", encoding="utf-8")
    t2i.fails("prepare", "spoken", "names.txt", "--output", "data", code=3, says="not-spoken")
    assert len(PreparedDataset.open("data")) == 1
    with pytest.raises(T2IError, match="neither a prepared dataset nor a file"):
        list(SpokenSource(SpokenSettings()).rows(Path("nowhere")))
