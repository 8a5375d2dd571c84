"""Sounds in place of prompts, with toys: a sound of s seconds is heard as the text "s seconds"."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from t2icli.contract.entries import Entry
from t2icli.contract.hookspecs import hookimpl
from t2icli.contract.kinds import AudioClip
from t2icli.data import shards
from t2icli.data.dataset import SourceRow
from t2icli.ground import toml
from t2icli.pictures import images
from t2icli.sounds import clips
from t2icli.testing import Runner, check_audio_embedder, toys

OUT = ("--seed", 5, "--output", "out")
PAINTER = ("-m", "toy-painter", *OUT)


def sound(path: str, seconds: float) -> None:
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, int(8000 * seconds)).astype(np.float32)
    clips.save_wave(AudioClip(samples, 8000), Path(path))


@pytest.fixture
def hearing(t2i: Runner) -> Runner:
    t2i.use(toys)
    sound("a.wav", 0.5)
    sound("b.wav", 1)
    toys.pictures(Path("photos"), "red", "green", "blue")
    return t2i


def green(file: str) -> object:
    pixel = images.open_image(Path("out", file)).getpixel((0, 0))
    assert isinstance(pixel, tuple)
    return pixel[1]


def wanted(seconds: float) -> int:
    vector = toys.Embedder(toys.EmbedderSettings()).embed_texts([f"{seconds:g} seconds"])[0]
    return round(abs(float(vector[0])) * 255)


def test_the_toy_keeps_the_promises_of_an_embedder_that_hears() -> None:
    (entry,) = (entry for entry in toys.t2i_embedders() if entry.embeds_audio)
    check_audio_embedder(entry)


def test_pictures_are_drawn_from_the_sound_and_say_so(hearing: Runner) -> None:
    row = hearing.ok("generate", "--audio", "a.wav", "-n", 1, *PAINTER, "--json").json()["results"][0]
    assert green(row["file"]) == wanted(0.5) != wanted(1)
    record = images.read_record(Path("out", row["file"]))
    for each in (row, record):
        assert each["prompt"] == "heard in a.wav" and Path(each["audio"]).name == "a.wav"
        assert each["audio_sha256"] == clips.samples_sha256(clips.open_clip(Path("a.wav")))
        assert each["weights"] == {"audio": 1} and each["listener"] == "toy-audio"
    hearing.ok("replay", f"out/{row['file']}")
    sound("a.wav", 1)
    hearing.fails("replay", f"out/{row['file']}", code=1, says="has changed since it was given as --audio")


def test_without_a_model_the_first_that_can_draws(hearing: Runner) -> None:
    def drawn(*words: object) -> object:
        return hearing.ok("generate", *words, "-n", 1, *OUT, "--json").json()["results"][0]["model"]

    assert drawn("a") == "toy"
    assert drawn("--audio", "a.wav") == drawn("--like", "photos/red.png") == "toy-painter"


def test_words_and_sound_are_mixed_by_their_weights(hearing: Runner) -> None:
    def drawn(*words: object) -> object:
        row = hearing.ok("generate", *words, "--audio", "a.wav", "-n", 1, *PAINTER, "--json").json()["results"][0]
        hearing.ok("replay", f"out/{row['file']}")
        return green(row["file"])

    assert drawn("1 seconds", "--weights", "words=0,audio=2") == wanted(0.5)
    assert drawn("1 seconds", "--weights", "words=2,audio=0") == wanted(1)
    embed = toys.Embedder(toys.EmbedderSettings()).embed_texts(["1 seconds", "0.5 seconds"])
    mixed = 0.7 * embed[0] + 0.3 * embed[1]
    expected = round(abs(float(mixed[0] / mixed.norm())) * 255)
    assert drawn("1 seconds", "--weights", "words=0.7,audio=0.3") == expected


def test_pictures_drawn_from_a_sound_are_ranked_by_it(hearing: Runner) -> None:
    rows = hearing.ok("generate", "--audio", "a.wav", "-n", 4, *PAINTER, "--rerank", "toy-audio", "--json").json()
    scores = [row["score"] for row in rows["results"]]
    assert scores == sorted(scores, reverse=True) and len(set(scores)) == 4


def test_a_picture_alone_may_have_a_weight(hearing: Runner) -> None:
    hearing.ok("generate", "--like", "photos/red.png", "--weights", "like=1", "-n", 1, *PAINTER)
    vector = toys.Embedder(toys.EmbedderSettings()).embed_images([images.open_image(Path("photos/red.png"))])[0]
    assert green("000.png") == round(abs(float(vector[0])) * 255)


def test_rerank_and_search_take_a_sound(hearing: Runner) -> None:
    ranked = hearing.ok("rerank", "--audio", "a.wav", "photos", "--json").json()
    found = hearing.ok("search", "--audio", "a.wav", "photos", "--json").json()
    assert ranked["prompt"] == found["prompt"] == "heard in a.wav"
    assert [row["score"] for row in ranked["results"]] == pytest.approx([row["score"] for row in found["results"]])
    by_words = hearing.ok("rerank", "0.5 seconds", "photos", "-r", "toy-audio", "--json").json()
    assert [row["score"] for row in ranked["results"]] == [row["score"] for row in by_words["results"]]


class DeviceSettings(toys.EmbedderSettings, frozen=True):
    device: str = "auto"


class DeviceEmbedders:
    """An embedder of sounds that notes on which device it is loaded."""

    def __init__(self) -> None:
        self.devices: list[str] = []

    def load(self, settings: DeviceSettings) -> toys.AudioEmbedder:
        self.devices.append(settings.device)
        return toys.AudioEmbedder(toys.EmbedderSettings(settings.width))

    @hookimpl
    def t2i_embedders(self) -> list[Entry[Any]]:
        return [Entry("device-audio", "sounds by their length", DeviceSettings, self.load, embeds_audio=True)]


@pytest.mark.parametrize("command", ["rerank", "search"])
def test_without_a_ranker_the_embedder_of_the_sound_is_loaded_once_on_the_device(hearing: Runner, command: str) -> None:
    embedders = DeviceEmbedders()
    hearing.use(toys, embedders)
    words = (command, "--audio", "a.wav", "photos", "--audio-embedder")
    expected, rows = (
        hearing.ok(*words, *more, "--json").json()["results"]
        for more in [("toy-audio",), ("device-audio", "--device", "cpu")]
    )
    assert [row["score"] for row in rows] == [row["score"] for row in expected]
    assert embedders.devices == ["cpu"]
    hearing.ok(*words, "device-audio", "-o", "width=8")  # a setting of the only model there is
    hearing.fails(*words, "device-audio", "-o", "audio.width=8", "-r", "toy-vectors", says="cannot")


@pytest.mark.parametrize("ranker", [(), ("-r", "toy-audio")])
def test_a_job_loads_the_embedder_of_the_sound_once(hearing: Runner, ranker: tuple[str, ...]) -> None:
    embedders = DeviceEmbedders()
    hearing.use(toys, embedders)
    words = ("rerank", "--audio", "a.wav", "photos", "--audio-embedder", "device-audio", *ranker, "--json")
    expected = hearing.ok(*words).json()["results"]
    rows = hearing.ok(*words, "--engine", "here", "--output", "job", "--shard-rows", 2).json()["results"]
    assert [row["score"] for row in rows] == [row["score"] for row in expected]
    assert len(embedders.devices) == 2, "once in each run"


def test_a_run_from_a_sound_alone_has_no_prompt_in_its_settings(hearing: Runner) -> None:
    hearing.ok("generate", "--audio", "a.wav", "-n", 2, *PAINTER, "--rerank", "toy-audio")
    assert "prompt" not in toml.read(Path("out/settings.toml"))
    hearing.ok("generate", "--config", "out/settings.toml", "--output", "again")
    assert Path("again/results.jsonl").read_bytes() == Path("out/results.jsonl").read_bytes()


def test_search_says_what_was_heard(hearing: Runner) -> None:
    Path("may-be.txt").write_text("a dog\n1 seconds\n0.5 seconds\n", encoding="utf-8")
    assert hearing.ok("search", "--audio", "b.wav", "may-be.txt").stdout.splitlines()[0] == "1 seconds"
    found = hearing.ok("search", "1 seconds", "may-be.txt", "-r", "toy-vectors", "--top", 1, "--json").json()["results"]
    assert [(row["rank"], row["text"]) for row in found] == [(1, "1 seconds")]


def test_sounds_look_for_their_sentences_and_pictures(hearing: Runner) -> None:
    seconds = {"red": 0.25, "green": 0.5, "blue": 1.0}
    rows = []
    for colour, length in seconds.items():
        sound("it.wav", length)
        rows.append(
            SourceRow(colour, toys.picture(colour), (f"{length:g} seconds",), audio=Path("it.wav").read_bytes())
        )
    shards.write(Path("data"), rows, val=0.0)
    (result,) = hearing.ok("evaluate", "retrieval", "data", "--audio", "-r", "toy-audio", "--json").json()["results"]
    assert result["sounds"] == 3 and result["audio_to_text"]["recall@1"] == 100
    assert 0 <= result["audio_to_image"]["recall@1"] <= 100
    assert "audio to text" in hearing.ok("evaluate", "retrieval", "data", "--audio", "-r", "toy-audio").stdout
    hearing.fails("evaluate", "retrieval", "data", "--audio", "-r", "toy-vectors", says="does not embed sounds")
    toys.prepared(Path("mute"), {"red": ("a red one",)}, val=0.0)
    hearing.fails("evaluate", "retrieval", "mute", "--audio", "-r", "toy-audio", says="the data has no sounds")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["generate", "--audio", "none.wav", *PAINTER], "there is no file"),
        (["generate", "--audio", "photos/red.png", *PAINTER], "not a"),
        (["generate", "--audio", "a.wav", "-m", "toy", *OUT], "draws only from prompts"),
        (["generate", "--audio", "a.wav", "--audio-embedder", "toy-vectors", *PAINTER], "does not embed sounds"),
        (["generate", "--audio", "a.wav", "--rerank", "toy", *PAINTER], "cannot compare pictures with the sound"),
        (["generate", "--audio", "a.wav", "-o", "audio.width=8", *PAINTER], "cannot be compared"),
        (["generate", "--audio", "a.wav", "--weights", "words=1", *PAINTER], "there is no prompt"),
        (["generate", "x", "--weights", "words=1,audio=1", *PAINTER], "there is no --audio"),
        (["generate", "x", "--audio", "a.wav", "--weights", "words=1", *PAINTER], "no weight for --audio"),
        (["generate", "x", "--audio", "a.wav", "--weights", "loud=1", *PAINTER], "is not a weight"),
        (["generate", "x", "--audio", "a.wav", "--weights", "audio=0", *PAINTER], "all weights are 0"),
        (["rerank", "photos"], "there are no pictures to rank"),
        (["search", "--audio", "a.wav", "x", "photos"], "takes only the data"),
        (["search", "--audio", "a.wav", "photos", "-r", "toy-vectors", "-o", "width=8"], "cannot be compared"),
    ],
)
def test_what_cannot_be_done_is_said(line: list[object], message: str, hearing: Runner) -> None:
    hearing.fails(*line, says=message)
    assert not Path("out").exists()
