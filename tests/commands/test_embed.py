from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import pyarrow.feather as feather
import pytest
from PIL import Image

from t2icli.contract.entries import Entry
from t2icli.contract.hookspecs import hookimpl
from t2icli.contract.kinds import AudioClip, Embedder
from t2icli.data import shards
from t2icli.data.dataset import SourceRow
from t2icli.sounds.clips import save_wave
from t2icli.testing import Runner, toys
from t2icli.testing.toys import Colours, ColoursSettings

COLOURS = ("blue", "green", "orange", "red", "yellow")


class Plugin:
    @hookimpl
    def t2i_embedders(self) -> list[Entry[Embedder]]:
        return [Entry("colour-vectors", "mean colours", ColoursSettings, Colours, embeds_audio=True)]


@pytest.fixture
def photos(t2i: Runner, tmp_path: Path) -> Path:
    t2i.use(Plugin())
    (tmp_path / "photos").mkdir()
    for colour in COLOURS:
        Image.new("RGB", (8, 8), colour).save(tmp_path / "photos" / f"{colour}.png")
    (tmp_path / "photos/red.txt").write_text("a red square\n")
    return tmp_path / "photos"


EMBED = ("-m", "colour-vectors", "--output", "vectors", "--shard-rows", 2)


def rows(folder: Path = Path("vectors")) -> list[dict[str, object]]:
    return [row for path in sorted(folder.glob("shards/*")) for row in feather.read_table(path).to_pylist()]


def test_pictures_become_shards_of_vectors_with_their_keys(t2i: Runner, photos: Path) -> None:
    Colours.loaded = 0
    result = t2i.ok("embed", photos, *EMBED, "--json").json()
    assert result == {"output": "vectors", "vectors": 5, "shards": 3, "unreadable": []}
    assert [row["key"] for row in rows()] == [str(photos / f"{colour}.png") for colour in COLOURS]
    assert rows()[3] == {
        "key": str(photos / "red.png"),
        "captions": ["a red square"],
        "problem": None,
        "vector": [1, 0, 0],
    }
    assert Colours.loaded == 1
    t2i.ok("embed", photos, *EMBED)
    assert Colours.loaded == 1


def test_a_missing_shard_alone_is_made_again(t2i: Runner, photos: Path) -> None:
    t2i.ok("embed", photos, *EMBED)
    first, second, third = sorted(Path("vectors/shards").iterdir())
    before = first.stat().st_ino, third.stat().st_ino
    content = second.read_bytes()
    second.unlink()
    t2i.ok("embed", photos, *EMBED)
    assert second.read_bytes() == content
    assert (first.stat().st_ino, third.stat().st_ino) == before


def test_the_settings_of_a_run_give_the_same_vectors_again(t2i: Runner, photos: Path) -> None:
    t2i.ok("embed", photos, *EMBED, "-o", "shift=3")
    t2i.ok("embed", photos, "--config", "vectors/settings.toml", "--output", "again")
    assert rows(Path("again")) == rows()
    assert len(list(Path("again/shards").iterdir())) == 3


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("-o", "shift=1"), "was started with identity"),
        (("--shard-rows", 3), "was started with shard_rows = 2, now it is 3"),
        (("--of", "texts"), "was started with of = pictures, now it is texts"),
    ],
)
def test_other_settings_are_refused(t2i: Runner, photos: Path, words: tuple[object, ...], says: str) -> None:
    t2i.ok("embed", photos, *EMBED)
    t2i.fails("embed", photos, *EMBED, *words, says=says)


def test_another_batch_size_is_no_other_setting_but_another_picture_is(t2i: Runner, photos: Path) -> None:
    t2i.ok("embed", photos, *EMBED)
    t2i.ok("embed", photos, *EMBED, "--batch-size", 2)
    Image.new("RGB", (8, 8), "black").save(photos / "black.png")
    t2i.fails("embed", photos, *EMBED, says="was started with rows = 5, now it is 6")


def test_a_file_that_is_no_picture_keeps_its_row_and_is_reported(t2i: Runner, photos: Path) -> None:
    (photos / "bad.png").write_bytes(b"<html>")
    t2i.fails("embed", photos, *EMBED, code=3, says="skipped: ")
    assert "bad.png" in str(rows()[0]["problem"]) and np.isnan(rows()[0]["vector"]).all()
    found = t2i.ok("search", "blue", "vectors", "--top", 9, "--json").json()["results"]
    assert len(found) == 5


def test_texts_and_sounds_are_embedded_and_searched(t2i: Runner, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("green\n\nred\n")
    t2i.ok("embed", tmp_path / "names.txt", "-m", "colour-vectors", "--output", "texts")
    assert [(row["key"], row["captions"]) for row in rows(Path("texts"))] == [("0", ["green"]), ("1", ["red"])]
    assert t2i.ok("search", "orange", "texts", "--top", 1).stdout == "red\n"
    (tmp_path / "sounds").mkdir()
    for name, loud in (("loud", 1.0), ("soft", 0.01)):
        save_wave(AudioClip(np.full(4000, loud, np.float32), 8000), tmp_path / "sounds" / f"{name}.wav")
    t2i.ok("embed", tmp_path / "sounds", "--of", "sounds", "--output", "sounds")
    assert "soft.wav" in t2i.ok("search", "blue", "sounds", "--top", 1).stdout
    assert "loud.wav" in t2i.ok("search", "red", "sounds", "--top", 1).stdout
    t2i.fails("search", "red", "sounds", "--copy", "here", says="holds vectors of sounds, not of pictures")
    found = t2i.ok("search", "--audio", tmp_path / "sounds/loud.wav", "texts", "--top", 1)
    assert found.stdout == "red\n"


class Wide(msgspec.Struct, frozen=True):
    width: int


class NoneByDefault:
    """An embedder of sounds that is not complete without a setting."""

    @hookimpl
    def t2i_embedders(self) -> list[Entry[Embedder]]:
        return [Entry("wide", "random vectors", Wide, toys.AudioEmbedder, embeds_audio=True)]


def test_an_embedder_of_sounds_that_is_named_is_the_one(t2i: Runner, tmp_path: Path) -> None:
    t2i.use(NoneByDefault())
    save_wave(AudioClip(np.full(4000, 0.5, np.float32), 8000), tmp_path / "it.wav")
    words = ("embed", tmp_path, "--of", "sounds", "-o", "width=4", "--output", "vectors")
    t2i.fails(*words, says="there is no model for wide")
    t2i.ok(*words, "-m", "wide")
    assert len(rows()[0]["vector"]) == 4


def test_captions_of_a_dataset_are_shown_and_its_pictures_copied(t2i: Runner, photos: Path) -> None:
    listed = [SourceRow(path.stem, path, (f"all {path.stem}", "x")) for path in sorted(photos.glob("*.png"))]
    shards.write("prepared", listed)
    t2i.ok("embed", "prepared", *EMBED)
    found = t2i.ok("search", "yellow", "vectors", "--top", 2, "--copy", "best")
    assert found.stdout.splitlines() == ["yellow\tall yellow; x", "orange\tall orange; x"]
    assert Image.open("best/001-yellow.png").getpixel((0, 0)) == (255, 255, 0)


def test_vectors_are_searched_with_the_model_that_made_them(t2i: Runner, photos: Path) -> None:
    t2i.ok("embed", photos, *EMBED, "-o", "shift=3")
    assert t2i.ok("search", "red", "vectors", "--top", 1).stdout.startswith(str(photos / "red.png"))
    t2i.fails("search", "red", "vectors", "-r", "colour-vectors", says="are of another model or other settings")
    t2i.ok("search", "red", "vectors", "-r", "colour-vectors", "-o", "shift=3")
    t2i.fails("search", "red", "vectors", "--cache", "cache", says="embedded already")


def test_vectors_are_measured_as_their_source_is(t2i: Runner, photos: Path) -> None:
    listed = [SourceRow(path.stem, path, (path.stem, "white")) for path in sorted(photos.glob("*.png"))]
    shards.write(
        "prepared", [*listed, SourceRow("again", photos / "red.png", ("red",)), SourceRow("mute", photos / "red.png")]
    )
    plain = t2i.ok("evaluate", "retrieval", "prepared", "-r", "colour-vectors", "--json").json()
    t2i.ok("embed", "prepared", *EMBED)
    assert t2i.ok("evaluate", "retrieval", "vectors", "--json").json() == plain
    assert plain["results"][0]["images"] == 5
    t2i.fails("evaluate", "retrieval", "vectors", "--cache", "c", says="holds vectors of one model")
    Path("vectors/shards/000002.arrow").unlink()
    t2i.fails("evaluate", "retrieval", "vectors", says="is not finished: 1 shards are missing")


def test_retrieval_with_an_engine_measures_as_it_does_without(t2i: Runner, photos: Path) -> None:
    listed = [SourceRow(path.stem, path, (path.stem, "white")) for path in sorted(photos.glob("*.png"))]
    shards.write(
        "prepared", [SourceRow("mute", photos / "red.png"), *listed, SourceRow("z", photos / "red.png", ("red",))]
    )
    (photos / "gray.jpg").write_text("<html>")
    for data, code in (("prepared", 0), (photos, 3)):
        words = ("evaluate", "retrieval", data, "-r", "colour-vectors")
        if code:
            for path in [*photos.glob("*.png"), photos / "gray.jpg"]:
                path.with_suffix(".txt").write_text(f"{path.stem}\n")
        job = (*words, "--engine", "here", "--output", f"job{code}", "--shard-rows", 2)
        plain, once, again = (t2i.run(*each, "--json") for each in (words, job, job))
        assert (plain.code, once.code, again.code) == (code, code, code)
        assert plain.json() == once.json() == again.json()
        assert plain.json()["results"][0]["images"] == len(listed)
    t2i.fails("search", "red", "job0", "-r", "colour-vectors", says="there is no picture in 'job0'")
    t2i.fails(*job, "--cache", "c", says="--engine embeds the pictures of data")
    t2i.fails(*job, "--limit", 2, says="was started with rows")


def test_a_folder_that_is_not_finished_is_searched_with_a_warning(t2i: Runner, photos: Path) -> None:
    t2i.ok("embed", photos, *EMBED)
    Path("vectors/shards/000002.arrow").unlink()
    found = t2i.ok("search", "yellow", "vectors", "--top", 1)
    assert "1 shards are missing" in found.stderr and "orange" in found.stdout


def test_a_damaged_shard_is_named(t2i: Runner, photos: Path) -> None:
    t2i.ok("embed", photos, *EMBED)
    shard = Path("vectors/shards/000001.arrow")
    shard.write_bytes(shard.read_bytes()[:100])
    t2i.fails("search", "red", "vectors", code=1, says="000001.arrow' is damaged")


def test_what_is_missing_on_the_command_line_is_named(t2i: Runner, photos: Path) -> None:
    t2i.fails("embed", photos, says="--output is missing")
    t2i.fails("embed", "nowhere", *EMBED, says="there is no data at 'nowhere'")
    t2i.fails("embed", photos, *EMBED, "--of", "sounds", says="has no sounds")
    t2i.fails("embed", photos, *EMBED, "--address", "head:6379", says="are for a cluster")


def test_an_address_nobody_answers_is_an_error(t2i: Runner, photos: Path) -> None:
    pytest.importorskip("ray")
    pytest.importorskip("daft")
    words = ("--engine", "ray", "--address", "127.0.0.1:1")
    t2i.fails("embed", photos, *EMBED, *words, code=1, says="no Ray cluster answers at 127.0.0.1:1")


def test_a_run_that_is_killed_ends_with_the_same_bytes(t2i: Runner, photos: Path) -> None:
    """Killed is the program itself, in a process of its own, with the embedder that comes with it."""
    t2i.use(pytest.importorskip("t2i_brivl"), pytest.importorskip("t2i_starter"))
    for i in range(60):
        Image.effect_noise((40, 30), 40 + i).convert("RGB").save(photos / f"{i:02d}.png")
    words = ["embed", str(photos), "-m", "brivl", "--shard-rows", "4", "--output"]
    killed = subprocess.Popen([sys.executable, "-m", "t2icli", *words, "killed"], stderr=subprocess.DEVNULL)
    while len(list(Path("killed").glob("shards/*.arrow"))) < 3 and killed.poll() is None:
        time.sleep(0.01)
    os.kill(killed.pid, signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    for name in ("killed", "whole"):
        t2i.ok(*words, name)
    assert [path.name for path in sorted(Path("killed/shards").iterdir())] == [f"{i:06d}.arrow" for i in range(17)]
    for path in Path("whole/shards").iterdir():
        assert path.read_bytes() == (Path("killed/shards") / path.name).read_bytes()
