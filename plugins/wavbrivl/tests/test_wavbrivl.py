from __future__ import annotations

import math
import os
import shutil
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch

import t2i_wavbrivl
from t2i_wavbrivl import Speech, TowerShape, speech
from t2i_wavbrivl.embed import pieces
from t2i_wavbrivl.model import RATE, Tower, spectrogram
from t2i_wavbrivl.train import RECENT, AudioRecipe, Distillation
from t2icli import load
from t2icli.contract.kinds import AudioClip
from t2icli.data import dataset, shards
from t2icli.data.dataset import PreparedDataset
from t2icli.ground.errors import T2IError
from t2icli.registry import configure, parts
from t2icli.sounds import clips
from t2icli.testing import Runner, check_audio_embedder, check_recipe, toys

SMALL = {"width": 16, "blocks": 1, "heads": 2, "pools": 2}
TOY = {"name": "toy-vectors"}
needs_espeak = pytest.mark.skipif(
    shutil.which("espeak-ng") is None, reason="espeak-ng is not installed: apt install it"
)


def tone(hertz: float, seconds: float = 0.4, rate: int = RATE) -> AudioClip:
    return AudioClip(
        (0.5 * np.sin(2 * math.pi * hertz * np.arange(int(rate * seconds)) / rate)).astype(np.float32), rate
    )


def heard(clip: AudioClip, folder: Path) -> bytes:
    clips.save_wave(clip, folder / "it.wav")
    return (folder / "it.wav").read_bytes()


@pytest.fixture
def data(tmp_path: Path, t2i: Runner) -> PreparedDataset:
    """Eight plain pictures, each with a tone of its own."""
    t2i.use(toys, t2i_wavbrivl)
    colours = ("red", "green", "blue", "yellow", "purple", "black", "white", "orange")
    rows = [
        dataset.SourceRow(
            colour, toys.picture(colour), (f"a {colour} one",), audio=heard(tone(300 + 250 * i), tmp_path)
        )
        for i, colour in enumerate(colours)
    ]
    return shards.write(tmp_path / "data", rows, val=0.0)


def test_recipe_and_embedder_keep_their_promises(data: PreparedDataset, tmp_path: Path) -> None:
    check_recipe(t2i_wavbrivl.t2i_recipes()[0], data, tmp_path / "model", shape=SMALL, space=TOY)
    check_audio_embedder(t2i_wavbrivl.t2i_embedders()[0], model=str(tmp_path / "model"))


def test_pictures_may_be_the_targets(data: PreparedDataset, tmp_path: Path) -> None:
    recipe = t2i_wavbrivl.t2i_recipes()[0]
    check_recipe(recipe, data, tmp_path / "model", shape=SMALL, space=TOY, targets="images")


def test_a_tower_learns_to_tell_sounds_apart(data: PreparedDataset, t2i: Runner) -> None:
    line = ("--max-steps", 60, "--batch-size", 8, "--lr", 5e-3, "--output", "run", "--device", "cpu")
    options = ("space=toy-vectors", "speech.noise=0", "shape.width=16", "shape.blocks=1", "loop.ema=0", "loop.warmup=0")
    done = t2i.ok("train", "wavbrivl", "--train-data", data.folder, *(w for o in options for w in ("-o", o)), *line)
    assert "next: t2i search --audio SOUND PICTURES --audio-embedder run" in done.stderr
    captions = [data.captions(i)[0] for i in range(len(data))]
    embedder = load("embedder", "run/model")
    found = embedder.embed_audio([data.clip(i) for i in range(len(data))]) @ embedder.embed_texts(captions).T
    assert (found.argmax(dim=1) == torch.arange(len(data))).sum() >= 7
    Path("names.txt").write_text("\n".join(captions), encoding="utf-8")
    Path("it.wav").write_bytes(data.audio_bytes(2) or b"")
    line = ("search", "--audio", "it.wav", "names.txt", "--audio-embedder", "run/model", "--top", 1)
    assert t2i.ok(*line).stdout.strip() == captions[int(found[2].argmax())]


def test_what_is_added_to_fill_a_batch_changes_nothing() -> None:
    torch.manual_seed(0)
    tower = Tower(TowerShape(**SMALL), 8).eval()
    mel = torch.randn(1, 64, 40)
    filled = torch.cat([mel, torch.full((1, 64, 30), 9.0)], dim=2)
    with torch.no_grad():
        alone, together = tower(mel, torch.tensor([40])), tower(filled, torch.tensor([40]))
    torch.testing.assert_close(alone, together, atol=1e-5, rtol=0)


def test_a_spectrogram_shows_a_tone_where_it_is() -> None:
    low, high = (spectrogram(torch.from_numpy(tone(hertz).samples), 64).mean(dim=1).argmax() for hertz in (300, 3000))
    assert low < 20 < 40 < high
    assert spectrogram(torch.zeros(10), 64).shape == (64, 25)


def test_long_sounds_are_heard_in_pieces() -> None:
    def lengths(seconds: float, shortest: float = 0.25) -> list[int]:
        return [len(piece) for piece in pieces(tone(440, seconds), RATE, 1.0, shortest)]

    assert lengths(2.5) == [RATE, RATE, RATE // 2]
    assert lengths(2.1) == [RATE, RATE] and lengths(0.1) == [RATE // 10]
    assert lengths(2.1, 0.0) == [RATE, RATE, RATE // 10]
    assert len(pieces(tone(440, 1.0, 44_100), RATE, 10.0)[0]) == RATE


def answers(model: Distillation, vectors: torch.Tensor) -> None:
    """Let the tower say `vectors[i]` of a sound whose spectrogram is i everywhere."""
    model.tower.features = lambda mel, frames: vectors[mel[:, 0, 0].long()]  # type: ignore[method-assign]
    model.tower.vector = lambda features: features  # type: ignore[method-assign]


def test_equal_targets_share_and_a_perfect_tower_has_found_all() -> None:
    model = Distillation(Tower(TowerShape(**SMALL), 4))
    targets = torch.eye(4)[[0, 1, 1, 2]]
    answers(model, targets)
    mel = torch.arange(4.0)[:, None, None].expand(4, 64, 8)
    batch = {"mel": mel, "frames": torch.tensor([8, 5, 7, 6]), "target": targets}
    _, figures = model(batch, 1.0)
    assert float(figures["accuracy"]) == float(figures["cosine"]) == 1
    answers(model, targets.roll(1, 0))
    _, figures = model(batch, 1.0)
    assert float(figures["accuracy"]) == 0.25  # the second of the equal ones still is right


def test_a_sound_is_told_from_the_targets_of_other_rows_too(data: PreparedDataset) -> None:
    model = Distillation(Tower(TowerShape(**SMALL), 4))
    targets = torch.eye(4)
    answers(model, targets)
    mel = torch.arange(4.0)[:, None, None].expand(4, 64, 8)
    batch = {"mel": mel, "frames": torch.full((4,), 8), "target": targets}
    alone, _ = model(batch, 1.0)
    model.others = torch.nn.functional.normalize(targets + 0.3, dim=1)
    loss, figures = model(batch, 1.0)
    assert loss.item() > alone.item() + 0.1 and figures["accuracy"].item() == 1
    recipe = configured(others=5)
    recipe.dataset(data, "train", {"targets": torch.eye(8)})
    assert recipe.model.others.shape == (5, 8) and recipe.model.others.sum() == 5


def configured(**settings: object) -> AudioRecipe:
    entry, chosen = configure.configure("recipe", "wavbrivl", {"space": TOY, "shape": SMALL, **settings})
    recipe = entry.load(chosen)
    assert isinstance(recipe, AudioRecipe)
    return recipe


def test_the_loss_is_the_same_in_16_bits() -> None:
    torch.manual_seed(0)
    model = Distillation(Tower(TowerShape(**SMALL), 160))
    targets = torch.nn.functional.normalize(torch.randn(8, 160), dim=1)
    batch = {"mel": torch.randn(8, 64, 40), "frames": torch.full((8,), 40), "target": targets}
    exact, _ = model(batch, 1.0)
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = model(batch, 1.0)
    torch.testing.assert_close(loss, exact, atol=0.05, rtol=0)


def test_least_squares_are_summed_in_32_bits() -> None:
    model = Distillation(Tower(TowerShape(**SMALL), 160), least_squares=True)
    assert model.least_squares is not None
    features, targets = torch.randn(8, model.tower.last.in_features), torch.randn(8, 160)
    model.tower.features = lambda mel, frames: features[mel[:, 0, 0].long()]  # type: ignore[method-assign]
    mel = torch.arange(8.0)[:, None, None].expand(8, 64, 40)
    with torch.autocast("cpu", torch.bfloat16):
        model({"mel": mel, "frames": torch.full((8,), 40), "target": targets}, 1.0)
    expected = features.T @ targets / 8 / RECENT
    torch.testing.assert_close(model.least_squares.wanted[:-1], expected, atol=1e-6, rtol=1e-5)


def test_least_squares_leaves_out_what_a_sound_does_not_tell() -> None:
    """Of the targets the features tell the first half; the second is noise around a mean."""
    torch.manual_seed(0)
    model = Distillation(Tower(TowerShape(**SMALL), 8), least_squares=True)
    size = model.tower.last.in_features
    told = torch.randn(size, 4)

    def batch(n: int) -> tuple[torch.Tensor, torch.Tensor]:
        features = torch.randn(n, size)
        return features, torch.cat([features @ told, 3 + torch.randn(n, 4)], dim=1)

    assert model.least_squares is not None and model.to_save() is model.tower  # nothing seen yet
    for _ in range(300):
        model.least_squares.see(*batch(64))
    fitted, (features, targets) = model.to_save(), batch(500)
    with torch.no_grad():
        found = fitted.last(features)
    torch.testing.assert_close(found[:, :4], targets[:, :4], atol=0.1, rtol=0.05)
    assert (found[:, 4:] - 3).abs().mean() < 0.2
    assert not torch.equal(model.tower.last.weight, fitted.last.weight)  # what is trained stays as it is


def test_a_fitted_tower_finds_what_it_has_learnt(data: PreparedDataset, tmp_path: Path) -> None:
    recipe = t2i_wavbrivl.t2i_recipes()[0]
    check_recipe(recipe, data, tmp_path / "model", shape=SMALL, space=TOY, least_squares=True)
    check_audio_embedder(t2i_wavbrivl.t2i_embedders()[0], model=str(tmp_path / "model"))


def test_a_tower_refuses_another_space(data: PreparedDataset, tmp_path: Path) -> None:
    check_recipe(t2i_wavbrivl.t2i_recipes()[0], data, tmp_path / "model", shape=SMALL, space=TOY)
    own = load("embedder", "wavbrivl", model=str(tmp_path / "model"))
    assert own.space == parts.space("toy-vectors", toys.EmbedderSettings())
    with pytest.raises(T2IError, match="was distilled from another embedder"):
        load("embedder", "wavbrivl", model=str(tmp_path / "model"), space={"name": "toy-vectors", "width": 8})


def test_without_a_model_it_says_what_trains_one(t2i: Runner, tmp_path: Path) -> None:
    t2i.use(t2i_wavbrivl)
    clips.save_wave(tone(440), tmp_path / "it.wav")
    t2i.fails("search", "--audio", tmp_path / "it.wav", tmp_path, says="train one: t2i train wavbrivl")


def test_data_without_sounds_is_refused(t2i: Runner, tmp_path: Path) -> None:
    t2i.use(toys, t2i_wavbrivl)
    toys.prepared(tmp_path / "mute", {"red": ("a red one",), "blue": ("a blue one",)}, val=0.0)
    line = ("--max-steps", 1, "-o", "space=toy-vectors", "-o", "sounds=data", "--output", "run")
    t2i.fails("train", "wavbrivl", "--train-data", tmp_path / "mute", *line, says="the data has no sounds")


def test_without_espeak_it_says_how_to_get_it(t2i: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(T2IError, match="espeak-ng, which is not installed") as error:
        speech.check()
    assert "apt install espeak-ng" in (error.value.hint or "")


def test_an_espeak_that_hangs_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one does that was stopped with the process that asked it."""
    (tmp_path / "espeak-ng").write_text("#!/bin/sh\nexec sleep 60\n")
    (tmp_path / "espeak-ng").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(speech, "PATIENCE", 0.2)
    with pytest.raises(T2IError, match="espeak-ng took more than"):
        speech.speak("红烧牛肉面", "cmn-latn-pinyin", 170, 50)


def test_disturbed_speech_is_the_same_for_the_same_seed() -> None:
    def once() -> np.ndarray:
        return speech.disturbed(tone(440).samples, 1.0, Random(3))

    assert np.array_equal(once(), once()) and len(once()) > len(tone(440).samples)


@needs_espeak
def test_every_voice_speaks() -> None:
    voices = (*speech.VARIANTS, *speech.UNSEEN)
    lengths = {v: speech.speak("红烧牛肉面", f"cmn-latn-pinyin+{v}", 170, 50).seconds for v in voices}
    assert all(0.5 < seconds < 4 for seconds in lengths.values()) and len(set(lengths.values())) > 15
    chance = Random(0)
    one, other = (speech.spoken("红烧牛肉面", Speech(), chance) for _ in range(2))
    assert one.shape != other.shape


@needs_espeak
@pytest.mark.parametrize("speed", [120, 220])
def test_texts_that_are_spoken_together_are_told_apart(speed: int) -> None:
    texts = ["红烧肉", "西瓜汁，少冰。不加糖！", "<b>汤</b>&饭", "一碗美味的番茄牛腩面的照片", "面"]
    together = speech.speak_all(texts, "cmn-latn-pinyin+f3", speed, 50)
    alone = [speech.speak(text, "cmn-latn-pinyin+f3", speed, 50) for text in texts]

    def seconds(clip: AudioClip) -> float:
        loud = np.flatnonzero(np.abs(clip.samples) > 0.01)
        return float(loud[-1] - loud[0]) / clip.rate

    for one, other in zip(together, alone, strict=True):
        assert abs(seconds(one) - seconds(other)) < 0.05


@needs_espeak
def test_a_text_that_says_nothing_is_empty_and_spoils_no_other() -> None:
    lengths = [len(clip.samples) for clip in speech.speak_all(["汤", "。", "面"], "cmn-latn-pinyin", 170, 50)]
    assert lengths[1] == 0 < min(lengths[0], lengths[2])
    with pytest.raises(T2IError, match="cannot speak '。'"):
        speech.speak("。", "cmn-latn-pinyin", 170, 50)
    with pytest.raises(T2IError, match="cannot speak with voice 'nobody'"):
        speech.speak("汤", "nobody", 170, 50)


@needs_espeak
def test_captions_of_another_language_are_not_spoken(t2i: Runner, tmp_path: Path) -> None:
    t2i.use(toys, t2i_wavbrivl)
    toys.prepared(tmp_path / "data", {"red": ("a red one",), "blue": ("a blue one",)}, val=0.0)
    line = ("--max-steps", 1, "-o", "space=toy-vectors", "-o", "speech.language=zh", "--output", "run")
    t2i.fails("train", "wavbrivl", "--train-data", tmp_path / "data", *line, says="no captions in the language 'zh'")


@needs_espeak
def test_captions_are_spoken_where_the_data_has_no_sounds(t2i: Runner, tmp_path: Path) -> None:
    t2i.use(toys, t2i_wavbrivl)
    names = {"red": ("红烧肉",), "blue": ("西瓜",), "green": ("清炒西兰花",), "white": ("一碗白米饭",)}
    data = toys.prepared(tmp_path / "data", names, val=0.0)
    check_recipe(t2i_wavbrivl.t2i_recipes()[0], data, tmp_path / "model", shape=SMALL, space=TOY)
