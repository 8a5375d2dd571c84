"""Sounds beside pictures: where they come from, and how a prepared dataset keeps them."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest

from t2icli.contract.kinds import AudioClip
from t2icli.data.dataset import PreparedDataset
from t2icli.sounds import clips
from t2icli.testing import Runner, toys


def sound(path: Path, seconds: float = 0.2) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(len(path.name)).uniform(-0.5, 0.5, int(16_000 * seconds)).astype(np.float32)
    clips.save_wave(AudioClip(samples, 16_000), path)
    return path


def prepared(t2i: Runner, *words: object) -> PreparedDataset:
    result = t2i.run("prepare", *words, "--output", "data")
    assert result.code in (0, 3), result.stderr
    return PreparedDataset.open("data")


def test_a_folder_of_sounds_becomes_a_dataset(t2i: Runner) -> None:
    for name in ("a/one.wav", "a/two.wav", "b/three.wav"):
        sound(Path("sounds", name))
    Path("sounds/a/one.txt").write_text("第一个\nthe first\n", encoding="utf-8")
    toys.pictures(Path("sounds/a"), "red", size=(64, 64))
    Path("sounds/a/red.png").rename("sounds/a/two.png")
    Path("sounds/b/no.wav").write_bytes(b"nothing")
    data = prepared(t2i, "audio-folder", "sounds", "-o", "captions=class")
    captions = {data.key(i): data.captions(i) for i in range(len(data))}
    assert captions == {"a/one.wav": ("第一个", "the first"), "a/two.wav": ("a",), "b/three.wav": ("b",)}
    for i in range(len(data)):
        clip, own = data.clip(i), clips.open_clip(Path("sounds", data.key(i)))
        assert clip is not None and clips.samples_sha256(clip) == clips.samples_sha256(own)
    sizes = {data.key(i): data.size(i) for i in range(len(data))}
    assert sizes["a/two.wav"] == (64, 64) and sizes["a/one.wav"] == sizes["b/three.wav"] == (256, 128)
    assert data.card.counts["failed bad-audio"] == 1
    t2i.ok("prepare", "data", "--check")


def test_a_damaged_sound_is_noticed(t2i: Runner) -> None:
    sound(Path("sounds/one.wav"))
    data = prepared(t2i, "audio-folder", "sounds")
    t2i.ok("prepare", "data", "--check")
    shard = Path("data/000000.tar")
    with tarfile.open(shard) as tar:
        member = next(member for member in tar if member.name.endswith(".wav"))
    content = bytearray(shard.read_bytes())
    content[member.offset_data + 100] ^= 1
    shard.write_bytes(bytes(content))
    t2i.fails("prepare", "data", "--check", code=1)
    assert data.audio_bytes(0) != Path("sounds/one.wav").read_bytes()


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_table_may_name_a_sound_for_each_picture(kind: str, t2i: Runner) -> None:
    toys.pictures(Path("photos"), "red", "green", "blue", size=(64, 64))
    sound(Path("photos/red.wav"))
    rows = [
        ("red.png", "a red one", "red.wav"),
        ("green.png", "a green one", ""),
        ("blue.png", "a blue one", "../x.wav"),
    ]
    if kind == "csv":
        lines = ["image,caption,audio", *(",".join(row) for row in rows)]
    else:
        lines = [f'{{"image": "{image}", "caption": "{text}", "audio": "{audio}"}}' for image, text, audio in rows]
    Path(f"photos/table.{kind}").write_text("\n".join(lines), encoding="utf-8")
    data = prepared(t2i, kind, f"photos/table.{kind}")
    heard = {data.captions(i)[0]: data.has_audio(i) for i in range(len(data))}
    assert heard == {"a red one": True, "a green one": False}
    assert data.card.counts["failed outside-root"] == 1


def test_without_sounds_a_shard_is_as_ever(t2i: Runner, tmp_path: Path) -> None:
    data = toys.prepared(tmp_path / "plain", {"red": ("a red one",)})
    assert not data.has_audio(0) and data.audio_bytes(0) is None
    import pyarrow.parquet as parquet

    assert not [name for name in parquet.read_schema(tmp_path / "plain/000000.parquet").names if "audio" in name]


def test_tables_of_vggsound_and_audiocaps(t2i: Runner) -> None:
    sound(Path("vgg/abc_000030.wav"))
    Path("vgg/vggsound.csv").write_text('abc,30,"frying food",test\nxyz,5,dog barking,train\n')
    data = prepared(t2i, "vggsound", "vgg/vggsound.csv")
    assert [(data.key(0), data.captions(0), data.extra(0)["split"])] == [("abc_000030", ("frying food",), "test")]
    assert data.card.counts["failed no-audio-file"] == 1
    shutil.rmtree("data")
    sound(Path("caps/103.flac")).rename("caps/103.wav")
    Path("caps/train.csv").write_text("audiocap_id,youtube_id,start_time,caption\n103,xyz,70,Food sizzles\n")
    data = prepared(t2i, "audiocaps", "caps/train.csv")
    assert (data.key(0), data.captions(0), data.has_audio(0)) == ("103", ("Food sizzles",), True)
    t2i.fails("prepare", "audiocaps", "vgg/vggsound.csv", "--output", "other", says="is not a table of AudioCaps")
