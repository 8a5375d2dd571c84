"""Pictures of sounds, with toys: a sound of s seconds is heard as the text "s seconds"."""

from __future__ import annotations

import base64
import io
import json
import shlex
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from t2icli.contract.entries import Entry
from t2icli.contract.hookspecs import hookimpl
from t2icli.contract.kinds import AudioClip
from t2icli.pictures import images
from t2icli.sounds import clips
from t2icli.testing import Runner, toys

PATH = "/v1/images/generations"


def sound(seconds: float) -> bytes:
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, int(8000 * seconds)).astype(np.float32)
    clips.save_wave(AudioClip(samples, 8000), Path("made.wav"))
    return Path("made.wav").read_bytes()


def b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def vector(text: str) -> Any:
    return toys.Embedder(toys.EmbedderSettings()).embed_texts([text])[0]


def green(content: bytes) -> int:
    pixel = Image.open(io.BytesIO(content)).getpixel((0, 0))
    assert isinstance(pixel, tuple)
    return int(pixel[1])


def asked(server: Any, **fields: Any) -> dict[str, Any]:
    body = {"prompt": "", "model": "toy-painter", "audio_embedder": "toy-audio", "seed": 5, **fields}
    answer = server.post(PATH, json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_a_sound_is_drawn_as_t2i_generate_draws_it_and_is_replayed(serve: Any, t2i: Runner) -> None:
    server, content = serve(), sound(0.5)
    answer = server.client().images.generate(
        prompt="",
        model="toy-painter",
        n=2,
        extra_body={"audio": b64(content), "audio_embedder": "toy-audio", "seed": 5},
    )
    album = server.folder / answer.album
    kept = album / "audio.wav"
    assert kept.read_bytes() == content
    line = ("--audio", kept, "--audio-embedder", "toy-audio", "-m", "toy-painter", "-n", 2, "--seed", 5)
    t2i.ok("generate", *line, "--output", "here")
    for index in range(2):
        served, own = album / f"{index:03d}.png", Path(f"here/{index:03d}.png")
        assert green(served.read_bytes()) == round(abs(float(vector("0.5 seconds")[0])) * 255)
        written = images.read_record(served)
        assert written == images.read_record(own)
        assert written["prompt"] == "heard in audio.wav" and written["weights"] == {"audio": 1}
        assert written["audio_sha256"] == clips.samples_sha256(clips.open_clip(kept))
        assert "agrees in every pixel" in t2i.ok("replay", served).stdout
    kept.write_bytes(sound(1))
    t2i.fails("replay", album / "000.png", code=1, says="has changed since it was given as --audio")


@pytest.mark.parametrize("form", ["plain", "address", "input_audio"])
def test_the_ways_to_send_a_sound(form: str, serve: Any) -> None:
    word = b64(sound(0.5))
    sent = {"plain": word, "address": f"data:audio/wav;base64,{word}", "input_audio": {"data": word, "format": "wav"}}
    (picture,) = asked(serve(), audio=sent[form])["data"]
    assert green(base64.b64decode(picture["b64_json"])) == round(abs(float(vector("0.5 seconds")[0])) * 255)


def test_words_and_sound_are_mixed_and_the_command_draws_the_same(serve: Any, t2i: Runner) -> None:
    server = serve()
    answer = asked(server, prompt="1 seconds", audio=b64(sound(0.5)), weights={"words": 0.7, "audio": 0.3})
    mixed = 0.7 * vector("1 seconds") + 0.3 * vector("0.5 seconds")
    content = base64.b64decode(answer["data"][0]["b64_json"])
    assert green(content) == round(abs(float(mixed[0] / mixed.norm())) * 255)
    Path("served.png").write_bytes(content)
    assert "agrees in every pixel" in t2i.ok("replay", "served.png").stdout
    t2i.ok(*shlex.split(answer["command"])[1:], "--output", "typed")
    t2i.ok("generate", "--config", server.folder / answer["album"] / "settings.toml", "--output", "kept")
    served = images.read_record(Path("served.png"))
    for folder in ("typed", "kept"):
        assert images.read_record(Path(folder, "000.png")) == served


def test_sounds_and_words_share_a_wave(serve: Any) -> None:
    server, word = serve(), b64(sound(0.5))
    with ThreadPoolExecutor(2) as pool:
        heard = pool.submit(asked, server, n=8, audio=word)
        read = pool.submit(asked, server, n=8, prompt="x", audio=word, weights={"words": 1, "audio": 0})
        greens = [{green(base64.b64decode(each["b64_json"])) for each in job.result()["data"]} for job in (heard, read)]
    assert greens == [{round(abs(float(vector(text)[0])) * 255)} for text in ("0.5 seconds", "x")]


def test_pictures_of_a_sound_are_ranked_by_it_and_those_of_words_by_these(serve: Any, t2i: Runner) -> None:
    server, word = serve(), b64(sound(0.5))
    answer = asked(server, audio=word, n=4, rerank="toy-audio", top=2)
    line = ("--audio", server.folder / answer["album"] / "audio.wav", "--audio-embedder", "toy-audio", "--seed", 5)
    own = t2i.ok("generate", *line, "-m", "toy-painter", "-n", 4, "--rerank", "toy-audio", "--json").json()["results"]
    assert [each["score"] for each in answer["candidates"]] == pytest.approx([each["score"] for each in own])
    assert [each["seed"] for each in answer["data"]] == [each["seed"] for each in own[:2]]
    described = asked(server, prompt="0.5 seconds", audio=word, n=4, rerank="toy-vectors")
    assert [each["score"] for each in described["candidates"]] == pytest.approx([each["score"] for each in own])


@pytest.mark.parametrize("form", ["file", "base64"])
def test_a_picture_a_sound_and_words_are_mixed(form: str, serve: Any, t2i: Runner) -> None:
    server, heard = serve(), sound(0.5)
    weights = {"words": 0.2, "like": 0.5, "audio": 0.3}
    fields = {"prompt": "x", "model": "toy-painter", "use": "like", "audio_embedder": "toy-audio", "seed": "5"}
    files: dict[str, Any] = {"image": ("a.png", toys.picture("red"))}
    if form == "file":
        files["audio"] = ("a.wav", heard)
    else:
        fields["audio"] = b64(heard)
    answer = server.post("/v1/images/edits", data={**fields, "weights": json.dumps(weights)}, files=files)
    assert answer.status_code == 200, answer.text
    album = answer.json()
    red = toys.Embedder(toys.EmbedderSettings()).embed_images([Image.open(io.BytesIO(toys.picture("red")))])[0]
    mixed = 0.2 * vector("x") + 0.5 * red + 0.3 * vector("0.5 seconds")
    assert green(base64.b64decode(album["data"][0]["b64_json"])) == round(abs(float(mixed[0] / mixed.norm())) * 255)
    served = server.folder / album["album"] / "000.png"
    assert images.read_record(served)["weights"] == weights
    assert "agrees in every pixel" in t2i.ok("replay", served).stdout
    t2i.ok(*shlex.split(album["command"])[1:], "--output", "typed")
    assert images.read_record(Path("typed/000.png")) == images.read_record(served)


@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        ({"weights": '{"audio": 1}'}, "weights", "no weight for like"),
        ({"weights": '{"audio": 1, "like": 1}', "use": "source"}, "weights", "use is not like"),
        ({"weights": "words"}, "weights", "Invalid JSON"),
        ({"audio": "%%"}, "audio", "is not base64"),
    ],
)
def test_mistakes_in_edits(fields: dict[str, str], param: str, message: str, serve: Any) -> None:
    good = {"model": "toy-painter", "audio_embedder": "toy-audio", "audio": b64(sound(0.5)), "use": "like"}
    files = {"image": ("a.png", toys.picture("red"))}
    answer = serve().post("/v1/images/edits", data={**good, **fields}, files=files)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, param) and message in error["message"]


def test_the_sound_of_an_album_is_had_again(serve: Any) -> None:
    server, content = serve(), sound(0.5)
    album = asked(server, audio=b64(content))["album"]
    (row,) = server.get(f"/v1/history/{album}").json()["rows"]
    assert server.get(row["sound"]).content == content
    words = server.post(PATH, json={"prompt": "x", "model": "toy"}).json()["album"]
    assert server.get(f"/v1/history/{words}").json()["rows"][0]["sound"] is None
    for name in (words, "..", "none"):
        assert server.get(f"/v1/history/{name}/sound").status_code == 404


class Apart(toys.AudioEmbedder):
    """Sounds in a space of its own."""

    def __init__(self, settings: toys.EmbedderSettings) -> None:
        super().__init__(settings)
        self.space = "apart"


class Others:
    @hookimpl
    def t2i_embedders(self) -> list[Entry[Any]]:
        return [Entry("apart", "hears elsewhere", toys.EmbedderSettings, Apart, embeds_audio=True)]


@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        ({"audio": "%%"}, "audio", "is not base64"),
        ({"audio": ""}, "audio", "is empty"),
        ({"audio": b64(b"RIFF")}, "audio", "the sound"),
        ({"audio": b64(toys.picture("red"))}, "audio", "the sound is not a"),
        ({"audio": {"format": "wav"}}, "audio.str", "valid string"),
        ({"model": "toy"}, "audio", "draws only from prompts"),
        ({"audio_embedder": "toy-vectors"}, "audio_embedder", "does not embed sounds"),
        ({"audio_embedder": "apart"}, "audio", "their vectors cannot be compared"),
        ({"rerank": "toy"}, "rerank", "cannot compare pictures with the sound"),
        ({"weights": {"words": 1, "audio": 1}}, "prompt", "the prompt is empty"),
        ({"weights": {"words": 1}, "prompt": "x"}, "weights", "no weight for audio"),
        ({"weights": {"audio": 0}}, "weights", "all weights are 0"),
        ({"weights": {"audio": -1}}, "weights.audio", "greater than or equal to 0"),
        ({"audio": None, "prompt": "x", "audio_embedder": None, "weights": {"audio": 1}}, "weights", "needs audio"),
        ({"audio": None, "prompt": "x"}, "audio_embedder", "needs audio"),
    ],
)
def test_mistakes(fields: dict[str, Any], param: str, message: str, serve: Any, stepped: Any, t2i: Runner) -> None:
    t2i.use(stepped, toys, Others())
    good = {"prompt": "", "model": "toy-painter", "audio": b64(sound(0.5)), "audio_embedder": "toy-audio"}
    server = serve()
    answer = server.post(PATH, json={**good, **fields})
    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["param"]) == (400, "invalid_request_error", param)
    assert message in error["message"] and not list(server.folder.iterdir())


def test_an_unknown_embedder_is_refused(serve: Any) -> None:
    body = {"prompt": "", "model": "toy-painter", "audio": b64(sound(0.5)), "audio_embedder": "../ears"}
    answer = serve().post(PATH, json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (404, "audio_embedder")


def test_a_sound_that_is_too_long_for_the_server_is_refused(serve: Any) -> None:
    answer = serve().post(PATH, json={"prompt": "", "audio": "A" * (33 << 20)})
    assert answer.status_code == 413
